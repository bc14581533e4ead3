"""docs/recipe.md has every key of a recipe and every setting of a component, with its meaning and default."""

from __future__ import annotations

import inspect
import json
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from duelist.acquisition.options import AcquisitionOptions
from duelist.recipe.component import Component, resolve
from duelist.recipe.components import COMPONENTS
from duelist.recipe.recipe import Recipe, parse_recipe
from duelist.settings.validation import read_yaml

DOCS = Path(__file__).parents[2] / "docs" / "recipe.md"
MARK = "what follows. -->\n"


def reference() -> str:
    """Every key and setting, in Markdown."""
    parts = ["## Keys\n\n" + "\n".join(described(Recipe))]
    for kind, table in COMPONENTS.items():
        parts.append(f"## `{kind}`")
        if kind == "acquisition":
            parts.append("Settings of every acquisition:\n\n" + "\n".join(described(AcquisitionOptions)))
        for name in table:
            cls, config = resolve(kind, name)
            lines = [f"### `{kind}.name: {name}`", "", inspect.cleandoc(cls.__doc__ or "").split("\n\n")[0], ""]
            parts.append("\n".join([*lines, *(described(config) if config is not None else ["No settings."])]))
    return "\n" + "\n\n".join(parts) + "\n"


def described(config: type[BaseModel], prefix: str = "") -> list[str]:
    """A line for every field, and for every field of those that are settings classes themselves."""
    lines = []
    for name, field in config.model_fields.items():
        key = f"{prefix}{field.alias or name}"
        lines.append(f"- `{key}` ({typed(field)}): {field.description}")
        for inner in settings_classes(field.annotation):
            lines += ["  " + line for line in described(inner, f"{key}.")]
    return lines


def settings_classes(annotation: Any) -> Iterator[type[BaseModel]]:
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        yield annotation
    elif isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union:
        for member in typing.get_args(annotation):
            yield from settings_classes(member)


def typed(field: FieldInfo) -> str:
    """What a value must be, and what it is by default."""
    words = [word(field.annotation)]
    for limit in field.metadata:
        for name, sign in (("gt", ">"), ("ge", ">="), ("lt", "<"), ("le", "<=")):
            if getattr(limit, name, None) is not None:
                words.append(f"{sign} {getattr(limit, name)}")
    default = field.get_default(call_default_factory=True)
    if default is PydanticUndefined:
        words.append("required")
    elif not isinstance(default, BaseModel):
        words.append(f"default `{json.dumps(default, ensure_ascii=False)}`")
    return ", ".join(words)


def word(annotation: Any) -> str:
    """A type as YAML has it."""
    if typing.get_origin(annotation) is Literal:
        return " | ".join(f"`{value}`" for value in typing.get_args(annotation))
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union:
        return " | ".join(map(word, typing.get_args(annotation)))
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return "keys below"
    named = {str: "text", int: "integer", float: "number", bool: "true | false", type(None): "null"}
    origin = typing.get_origin(annotation) or annotation
    return named.get(origin) or {dict: "mapping", Component: "mapping", list: "list", tuple: "list"}.get(origin, "any")


def test_the_documentation_has_every_key_and_setting() -> None:
    _, _, written = DOCS.read_text(encoding="utf-8").partition(MARK)
    assert written == reference(), "Write it anew with `python tests/recipe/test_recipe_documentation.py`."


def test_the_recipe_on_the_page_is_one() -> None:
    _, _, after = DOCS.read_text(encoding="utf-8").partition("```yaml\n")
    recipe = parse_recipe(read_yaml(after.partition("```")[0]))
    assert recipe.acquisition.name == "information" and recipe.acquisition.setting("lambda_") == 0.1


def test_every_key_and_setting_says_what_it_means() -> None:
    missing = [line for line in reference().splitlines() if line.endswith(": None")]
    assert missing == []


if __name__ == "__main__":
    head, mark, _ = DOCS.read_text(encoding="utf-8").partition(MARK)
    DOCS.write_text(head + mark + reference(), encoding="utf-8")
