"""docs/reference/recipe has every key of a recipe and every setting of a component, with its meaning and default."""

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
from duelist.recipe.reading import parse_recipe
from duelist.recipe.recipe import Recipe
from duelist.settings.validation import read_yaml

GUIDE = Path(__file__).parents[2] / "docs" / "recipe.md"
REFERENCE = GUIDE.parent / "reference" / "recipe"
FROM_CODE = "<!-- From the code: `python tests/recipe/test_recipe_documentation.py` writes this page. -->"
INDENT = "    "
TITLES = {
    "sampler": "Samplers",
    "pairing": "Pairings",
    "featurizer": "Featurizers",
    "acquisition": "Acquisition rules",
    "annotator": "Annotators",
    "trainer": "Trainers",
    "reward": "Rewards of the evaluation and of RLHF",
    "engine": "Engines",
}


def pages() -> dict[str, str]:
    """The text of every reference page, by the name of its file."""
    return {"keys.md": page("Keys of a recipe", keys())} | {
        f"{kind}.md": page(f"{TITLES[kind]}: settings", settings(kind, table)) for kind, table in COMPONENTS.items()
    }


def page(title: str, parts: list[str]) -> str:
    return "\n\n".join([f"# {title}", FROM_CODE, *parts]) + "\n"


def keys() -> list[str]:
    """The keys in one list, and a section for each that has keys of its own; components have their own pages."""
    top, sections = [], []
    for line, *inner in entries(Recipe):
        key = line.split("`")[1]
        kind = next((kind for kind in COMPONENTS if key in (kind, f"{kind}s")), None)
        line = line.replace("(keys below", f"([keys below](#{key})", 1)
        top.append(line if kind is None else line.replace("(mapping", f"([component]({kind}.md)", 1))
        if inner:
            sections.append("\n".join([f"## `{key}`", "", *(deeper.removeprefix(INDENT) for deeper in inner)]))
    return ["\n".join(top), *sections]


def settings(kind: str, table: dict[str, str]) -> list[str]:
    """A section for each component of a kind."""
    parts = []
    if kind == "acquisition":
        parts.append("## Settings of every acquisition\n\n" + "\n".join(described(AcquisitionOptions)))
    for name in table:
        cls, config = resolve(kind, name)
        lines = [f"## `{name}`", "", inspect.cleandoc(cls.__doc__ or "").split("\n\n")[0], ""]
        parts.append("\n".join([*lines, *(described(config) if config is not None else ["No settings."])]))
    return parts


def described(config: type[BaseModel], prefix: str = "", python: bool = False) -> list[str]:
    """A line for every field, and for every field of those that are settings classes themselves."""
    return [line for entry in entries(config, prefix, python) for line in entry]


def entries(config: type[BaseModel], prefix: str = "", python: bool = False) -> Iterator[list[str]]:
    """A field's line, followed by those of its own fields if it is a settings class.

    With `python`, fields have the names of the class's attributes (`lambda_`), not those of a recipe (`lambda`).
    """
    for name, field in config.model_fields.items():
        key = f"{prefix}{name if python else field.alias or name}"
        entry = [f"- `{key}` ({typed(field)}): {field.description}"]
        for inner in settings_classes(field.annotation):
            entry += [INDENT + line for line in described(inner, f"{key}.", python)]
        yield entry


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
    written = {path.name: path.read_text(encoding="utf-8") for path in REFERENCE.iterdir()}
    assert written == pages(), "Write it anew with `python tests/recipe/test_recipe_documentation.py`."


def test_the_recipes_of_the_guide_are_recipes() -> None:
    blocks = [block.partition("```")[0] for block in GUIDE.read_text(encoding="utf-8").split("```yaml\n")[1:]]
    recipes = [parse_recipe(read_yaml(block)) for block in blocks if block.startswith("name:")]
    assert recipes[0].acquisition.name == "information" and recipes[0].acquisition.setting("lambda_") == 0.1


def test_every_key_and_setting_says_what_it_means() -> None:
    missing = [line for text in pages().values() for line in text.splitlines() if line.endswith(": None")]
    assert missing == []


if __name__ == "__main__":
    REFERENCE.mkdir(parents=True, exist_ok=True)
    for file, text in pages().items():
        (REFERENCE / file).write_text(text, encoding="utf-8")
