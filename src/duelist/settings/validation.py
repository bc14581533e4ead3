"""Errors about settings, in a reader's words: which key, what it had, and the nearest valid one."""

from __future__ import annotations

import dataclasses
import difflib
import re
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from yaml.constructor import ConstructorError

DEEPEST = 32  # levels of a YAML text
LARGEST = 50_000  # its values, with aliases written out; a hundred characters of text count as one more
_TAG = "tag:yaml.org,2002:"
# The core schema of YAML 1.2 (section 10.3.2), and merge keys. In version 1.1, which PyYAML reads by itself, `1:30` is
# 90, `010` is 8, `no` is false, `2024-01-01` is a date, and `1e-5` is text.
_PLAIN = {
    "null": r"~|null|Null|NULL|",
    "bool": r"true|True|TRUE|false|False|FALSE",
    "int": r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+",
    "float": r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
    "merge": "<<",
}


class _Loader(yaml.SafeLoader):
    """YAML 1.2, each key of a mapping once."""

    def construct_integer(self, node: yaml.ScalarNode) -> int:
        """The integer that a scalar stands for."""
        text = str(self.construct_scalar(node))
        if len(text) > 100:  # beyond some thousand digits Python refuses, with an error of its own
            raise ConstructorError(None, None, f"an integer of {len(text)} digits", node.start_mark)
        return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """The mapping that a node stands for; a key that stands in it twice is refused."""
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in seen:
                    raise ConstructorError(None, None, f"the key {key.value!r} stands there twice", key.start_mark)
                seen.add((key.tag, key.value))
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {}  # those of version 1.1
_Loader.add_constructor(f"{_TAG}int", _Loader.construct_integer)


class _Dumper(yaml.SafeDumper):
    """Writes text so that YAML 1.1 and 1.2 both read it as text."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


for _name, _pattern in _PLAIN.items():
    for _kind in (_Loader, _Dumper):
        _kind.add_implicit_resolver(_TAG + _name, re.compile(f"^(?:{_pattern})$"), None)


def read_yaml(text: str) -> Any:
    """The value that a YAML text holds, by the core schema of YAML 1.2.

    Raises:
        yaml.YAMLError: if it is not YAML, has a key twice or a tag, or is deeper or larger than any recipe.
    """
    require_moderate(text)
    return yaml.load(text, Loader=_Loader)


def write_yaml(value: Any) -> str:
    """A value as YAML; `read_yaml` reads it back."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def require_moderate(text: str) -> None:
    """Refuse a YAML text of values that could not be held, without making them: aliases can stand for billions.

    Raises:
        yaml.YAMLError: saying where.
    """
    around = [_Extent()]  # the document, and the collections that are open
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
    """How much stands under an anchor, or under none: values, itself included, and levels of collections."""

    anchor: str | None = None
    values: int = 1
    levels: int = 0


def expanded(path: str | Path) -> Path:
    """The path with `~` filled in; that of a user who does not exist stays as it is, and names no file."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def require_arguments(given: Mapping[str, Any], config: type, ours: Mapping[str, str]) -> None:
    """Hold settings that are handed on to a library's own dataclass to the names that it has.

    Args:
        given: the settings.
        config: the dataclass, such as `trl.DPOConfig`.
        ours: keys that Duelist decides itself, each with what to do instead.

    Raises:
        ValueError: if a key is ours or is unknown; the nearest valid one is named.
    """
    known = [f.name for f in dataclasses.fields(config) if f.init and f.name not in ours]
    for key, value in given.items():
        if key in ours:
            raise ValueError(f"`{key}` must not be set here, but is {value!r}: {ours[key]}.")
        if key not in known:
            raise ValueError(
                f"`{key}` must be an argument of {config.__name__}, but there is none of that name: correct or remove "
                f"it.{nearest(key, known)}"
            )


def nearest(name: str, valid: Iterable[str]) -> str:
    """` Did you mean 'x'?`, or nothing if no valid name is near."""
    close = difflib.get_close_matches(name, list(valid), n=1, cutoff=0.5)
    return f" Did you mean {close[0]!r}?" if close else ""


def explain_invalid(error: ValidationError, model: type[BaseModel], where: str) -> str:
    """One line per problem, each with the key, the requirement, the value, and for an unknown key the nearest."""
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
        elif problem["type"] == "value_error":  # from a validator of ours, which says all there is to say
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
    """What the key is for, in the words of its description."""
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
