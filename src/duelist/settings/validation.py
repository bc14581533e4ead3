"""Readable errors about settings: the key, its value, and the nearest valid key."""

from __future__ import annotations

import dataclasses
import difflib
import re
import typing
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from yaml.constructor import ConstructorError

from duelist.errors import DuelistError

DEEPEST = 32  # maximum nesting levels of a YAML text
LARGEST = 50_000  # maximum number of values, with aliases expanded; every hundred characters of text count as one more
_TAG = "tag:yaml.org,2002:"
# The core schema of YAML 1.2 (section 10.3.2), and merge keys. In version 1.1, the default of PyYAML, `1:30` is 90,
# `010` is 8, `no` is false, `2024-01-01` is a date, and `1e-5` is text.
_PLAIN = {
    "null": r"~|null|Null|NULL|",
    "bool": r"true|True|TRUE|false|False|FALSE",
    "int": r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+",
    "float": r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
    "merge": "<<",
}


class _Loader(yaml.SafeLoader):
    """Loader of YAML 1.2 that rejects repeated keys in a mapping."""

    def construct_integer(self, node: yaml.ScalarNode) -> int:
        """Return the integer value of a scalar."""
        text = str(self.construct_scalar(node))
        if len(text) > 100:  # beyond some thousand digits, Python raises its own error
            raise ConstructorError(None, None, f"an integer of {len(text)} digits", node.start_mark)
        return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return the mapping of a node; raise an error for a repeated key."""
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in seen:
                    raise ConstructorError(None, None, f"the key {key.value!r} stands there twice", key.start_mark)
                seen.add((key.tag, key.value))
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {}  # remove those of version 1.1
_Loader.add_constructor(f"{_TAG}int", _Loader.construct_integer)


class _Dumper(yaml.SafeDumper):
    """Dumper that writes text so that YAML 1.1 and 1.2 both read it as text."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


for _name, _pattern in _PLAIN.items():
    for _kind in (_Loader, _Dumper):
        _kind.add_implicit_resolver(_TAG + _name, re.compile(f"^(?:{_pattern})$"), None)


def read_yaml(text: str) -> Any:
    """Return the value of a YAML text, by the core schema of YAML 1.2.

    Raises:
        yaml.YAMLError: if it is not YAML, has a repeated key or a tag, or is deeper or larger than any recipe.
    """
    require_moderate(text)
    return yaml.load(text, Loader=_Loader)


def write_yaml(value: Any) -> str:
    """Return a value as YAML; `read_yaml` reads it back."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def require_moderate(text: str) -> None:
    """Reject a YAML text with too many values or levels, without building them: aliases can expand to billions.

    Raises:
        yaml.YAMLError: if it has; the message gives the position.
    """
    around = [_Extent()]  # the document, and the open collections
    known: dict[str | None, _Extent] = {}
    event: Any
    for event in yaml.parse(text, Loader=_Loader):
        if getattr(event, "tag", None) is not None:
            raise ConstructorError(None, None, f"the tag {event.tag!r}: remove it, and quote text", event.start_mark)
        found: _Extent | None = None
        if isinstance(event, yaml.CollectionStartEvent):
            around.append(_Extent(event.anchor))
        elif isinstance(event, yaml.ScalarEvent):
            found = _Extent(event.anchor, 1 + len(event.value) // 100)
        elif isinstance(event, yaml.CollectionEndEvent):
            found = around.pop()
        elif isinstance(event, yaml.AliasEvent):
            endless = event.anchor in {extent.anchor for extent in around}
            found = _Extent(levels=DEEPEST) if endless else known.get(event.anchor, _Extent())
        if found is not None:
            known[found.anchor] = found
            around[-1].values += found.values
            around[-1].levels = max(around[-1].levels, found.levels + 1)
        if len(around) - 1 + around[-1].levels > DEEPEST:
            raise ConstructorError(None, None, f"more than {DEEPEST} levels", event.start_mark)
        if around[-1].values > LARGEST:
            raise ConstructorError(None, None, f"more than {LARGEST} values", event.start_mark)


@dataclasses.dataclass
class _Extent:
    """Size of a node, with or without an anchor: values (itself included), and levels of collections."""

    anchor: str | None = None
    values: int = 1
    levels: int = 0


def expanded(path: str | Path) -> Path:
    """Return the path with `~` expanded; if the user does not exist, it is unchanged and names no file."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def share_or_tuned(value: float | str) -> float | str:
    """Return a setting that is `tuned` or a number from 0 to 1.

    Raises:
        ValueError: if it is neither.
    """
    if value != "tuned" and not 0 <= float(value) <= 1:
        raise ValueError(f"it must be `tuned`, or a number from 0 to 1, but is {value}: correct it.")
    return value


def nearest(name: str, valid: Iterable[str]) -> str:
    """Return ` Did you mean 'x'?`, or an empty string if no valid name is similar."""
    close = difflib.get_close_matches(name, list(valid), n=1, cutoff=0.5)
    return f" Did you mean {close[0]!r}?" if close else ""


def explain_invalid(error: ValidationError, model: type[BaseModel], where: str) -> str:
    """Return one line per problem: the key, the requirement, the value, and for an unknown key the nearest one."""
    lines = []
    for problem in error.errors(include_url=False):
        path = [str(part) for part in problem["loc"]]
        key = ".".join(path)
        if problem["type"] == "extra_forbidden":
            valid = _keys_at(model, path[:-1])
            hint = nearest(path[-1], valid) or f" Valid keys: {', '.join(valid)}."
            lines.append(f"Unknown key `{key}` in {where}.{hint}")
        elif problem["type"] == "missing":
            lines.append(f"The key `{key}` is required in {where}, but is missing: add it.{_meaning(model, path)}")
        elif isinstance(problem.get("ctx", {}).get("error"), DuelistError):  # a component's error, already complete
            lines.append(str(problem["ctx"]["error"]))
        elif problem["type"] == "value_error":  # from our own validator, whose message is complete
            place = f"`{key}` in {where}" if key else where[:1].upper() + where[1:]
            lines.append(f"{place}: {problem['msg'].removeprefix('Value error, ')}")
        else:
            got = f"{problem['msg']}, but got {problem['input']!r:.200}: change it."
            lines.append(f"`{key}` in {where}: {got}{_meaning(model, path)}")
    return "\n".join(lines)


def _fields(model: type[BaseModel]) -> dict[str, FieldInfo]:
    return {field.alias or name: field for name, field in model.model_fields.items()}


def _keys_at(model: type[BaseModel], path: list[str]) -> list[str]:
    for part in path:
        field = _fields(model).get(part)
        annotation: Any = field.annotation if field else None
        nested = [a for a in (annotation, *typing.get_args(annotation)) if _is_model(a)]
        if not nested:
            return []
        model = nested[0]
    return list(_fields(model))


def _meaning(model: type[BaseModel], path: list[str]) -> str:
    """Return the meaning of the key, from its description."""
    for i, part in enumerate(path):
        field = _fields(model).get(part)
        if field is None:
            return ""
        nested = [a for a in (field.annotation, *typing.get_args(field.annotation)) if _is_model(a)]
        if i == len(path) - 1 or not nested:
            return f" `{part}` is: {field.description}" if field.description else ""
        model = nested[0]
    return ""


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
