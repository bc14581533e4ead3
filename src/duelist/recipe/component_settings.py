"""Components from their names and settings: what a recipe names becomes a configuration, and an object.

A component is named by its short name (components.py) or by a dotted path to a class of yours; its settings are the
class' own, found by the annotation of its constructor's `config` parameter.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from duelist.acquisition.options import AcquisitionOptions
from duelist.errors import RecipeError, user_code
from duelist.recipe.components import COMPONENTS, INTERFACES
from duelist.recipe.values import require_plain
from duelist.settings.credentials import with_credentials
from duelist.settings.importing import import_object
from duelist.settings.validation import explain_invalid, nearest

Component = dict[str, Any]
T = TypeVar("T")
# The parameters of a constructor that have to be given, where they have no default.
NAMED = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def parse_component(kind: str, value: str | Mapping[str, Any]) -> Component:
    """A component from its bare name, or from its name and settings, every default filled in.

    Raises:
        RecipeError: if there is no such component, or a setting is not usable.
    """
    component = {"name": value} if isinstance(value, str) else dict(value)
    require_plain(component, kind)
    return with_defaults(kind, component)


def build(kind: str, component: Component, interface: type[T]) -> T:
    """Make a component from its name and settings.

    Raises:
        RecipeError: if its class does not implement the interface, or a setting is not usable.
    """
    name = str(component["name"])
    cls, config_type = resolve(kind, name)
    if not issubclass(cls, interface):
        raise _no_subclass(kind, name, f"{interface.__module__}:{interface.__qualname__}")
    make: Callable[..., T] = cls
    own, _ = _split_options(kind, component)
    config = () if config_type is None else (with_credentials(_configuration(kind, own, config_type)),)
    with user_code(cls):
        return make(*config)


def acquisition_options(component: Component) -> AcquisitionOptions:
    """What an acquisition's component says beside the rule's own settings.

    Raises:
        RecipeError: if a value is not usable.
    """
    _, options = _split_options("acquisition", component)
    try:
        return AcquisitionOptions.model_validate(options)
    except ValidationError as error:
        raise RecipeError(explain_invalid(error, AcquisitionOptions, "`acquisition`")) from error


def _split_options(kind: str, component: Component) -> tuple[Component, Component]:
    """A component's own settings, and those that every acquisition has."""
    common = AcquisitionOptions.model_fields if kind == "acquisition" else {}
    own = {k: v for k, v in component.items() if k not in common}
    return own, {k: v for k, v in component.items() if k in common}


def resolve(kind: str, name: str) -> tuple[type, type[BaseModel] | None]:
    """A component's class, and the class of its settings if it has any.

    Raises:
        RecipeError: if there is no such class.
    """
    table = COMPONENTS[kind]
    if name not in table and ":" not in name:
        raise RecipeError(
            f"`{kind}.name` must be one of {', '.join(table)}, or a dotted path `package.module:Class`, but got "
            f"{name!r}.{nearest(name, table)}"
        )
    cls = import_object(table.get(name, name))
    if not inspect.isclass(cls):
        raise RecipeError(
            f"`{kind}.name` must name a class, but {name} is a {type(cls).__name__}: name a class instead."
        )
    try:
        config_type = typing.get_type_hints(cls.__init__).get("config")
    except NameError as error:
        raise RecipeError(
            f"The annotations of {name}'s constructor must be readable, but {error}: import it outside `TYPE_CHECKING`."
        ) from error
    _require_usable(kind, name, cls, config_type)
    return cls, config_type


def _require_usable(kind: str, name: str, cls: type, config_type: Any) -> None:
    """Hold a class of the user's to what it takes to make an object of it.

    Raises:
        RecipeError: saying what is missing.
    """
    if not issubclass(cls, import_object(INTERFACES[kind])):
        raise _no_subclass(kind, name, INTERFACES[kind])
    missing = sorted(getattr(cls, "__abstractmethods__", ()))
    if missing:
        raise RecipeError(f"`{kind}.name` must name a complete class, but {name} lacks {', '.join(missing)}: add it.")
    known = {"config"} if inspect.isclass(config_type) and issubclass(config_type, BaseModel) else set()
    takes = [p.name for p in inspect.signature(cls).parameters.values() if p.default is p.empty and p.kind in NAMED]
    if set(takes) - known or (config_type is not None and not known):
        raise RecipeError(
            "A component must be made from `config`, annotated with a pydantic model of its settings, or from nothing, "
            f"but {name} is made from {', '.join(takes)}: move its settings to such a model."
        )


def _no_subclass(kind: str, name: str, interface: str) -> RecipeError:
    return RecipeError(f"`{kind}.name` must name a subclass of {interface}, but {name} is none: derive it from that.")


def _configuration(kind: str, component: Component, config_type: type[BaseModel]) -> BaseModel:
    settings = {k: v for k, v in component.items() if k != "name"}
    try:
        return config_type.model_validate(settings)
    except ValidationError as error:
        raise RecipeError(explain_invalid(error, config_type, f"{kind} {component['name']!r}")) from error


def with_defaults(kind: str, component: Component) -> Component:
    """A component with every default filled in.

    Raises:
        RecipeError: if it has no name, there is none of that name, or a setting is not usable.
    """
    if "name" not in component:
        raise RecipeError(
            f"`{kind}` must say its `name`, but has only {', '.join(component) or 'no key'}: add one of "
            f"{', '.join(COMPONENTS[kind])}."
        )
    _, config_type = resolve(kind, str(component["name"]))
    own, _ = _split_options(kind, component)
    options: Component = {}
    if kind == "acquisition":
        options = acquisition_options(component).model_dump(mode="json", exclude_defaults=True)
    if config_type is None:
        extra = sorted(set(own) - {"name"})
        if extra:
            raise RecipeError(f"`{kind}` {component['name']!r} has no settings, but got {', '.join(extra)}: remove it.")
        return {**own, **options}
    config = _configuration(kind, own, config_type)
    return {"name": component["name"], **config.model_dump(mode="json", by_alias=True), **options}
