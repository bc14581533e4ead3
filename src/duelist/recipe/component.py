"""Component of a recipe, resolved once from its name and settings to a class and its validated configuration.

The name is a short name (components.py) or a dotted path to your own class. The annotation of the constructor's
`config` parameter gives the class of the settings.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any, Final, Generic, TypeVar, final

from pydantic import BaseModel, GetCoreSchemaHandler, ValidationError
from pydantic_core import CoreSchema, PydanticKnownError, core_schema

from duelist.acquisition.options import AcquisitionOptions
from duelist.errors import RecipeError, user_code
from duelist.recipe.components import COMPONENTS, INTERFACES
from duelist.recipe.values import require_plain
from duelist.settings.credentials import with_credentials
from duelist.settings.importing import import_object
from duelist.settings.validation import explain_invalid, nearest

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)
# Kinds of constructor parameters that must be given if they have no default.
NAMED = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


@final
class Component(Generic[T]):
    """Component of a recipe with interface T. A pydantic field of this type takes a name or a mapping.

    Attributes:
        kind: key in a recipe.
        name: short name or dotted path.
        cls: class of the component.
        config: settings with every default filled in; None for a class without settings.
        options: options common to all acquisitions; the defaults for other kinds.
    """

    # Not a dataclass: pydantic would read its fields from a recipe.
    def __init__(
        self, kind: str, name: str, cls: type[T], config: BaseModel | None, options: AcquisitionOptions
    ) -> None:
        """Store the parts. Use `Component.of` to create a component."""
        self.kind: Final = kind
        self.name: Final = name
        self.cls: Final = cls
        self.config: Final = config
        self.options: Final = options

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Component) and self.cls is other.cls and self.content() == other.content()

    def __hash__(self) -> int:
        return hash((self.kind, self.name))

    @staticmethod
    def of(interface: type[T], value: str | Mapping[str, Any]) -> Component[T]:
        """Resolve a bare name, or a name with settings.

        Raises:
            RecipeError: if there is no name, no such component, or an invalid setting.
        """
        kind = next(k for k, path in INTERFACES.items() if path == f"{interface.__module__}:{interface.__qualname__}")
        settings = {"name": value} if isinstance(value, str) else dict(value)
        require_plain(settings, kind)
        if "name" not in settings:
            raise RecipeError(
                f"`{kind}` must say its `name`, but has only {', '.join(settings) or 'no key'}: add one of "
                f"{', '.join(COMPONENTS[kind])}."
            )
        name = str(settings.pop("name"))
        cls, config_type = resolve(kind, name)
        common = AcquisitionOptions.model_fields if kind == "acquisition" else {}
        told = {k: settings.pop(k) for k in list(settings) if k in common}
        options = _validated(AcquisitionOptions, told, "`acquisition`")
        if config_type is None and settings:
            extra = ", ".join(sorted(settings))
            raise RecipeError(f"`{kind}` {name!r} has no settings, but got {extra}: remove it.")
        config = None if config_type is None else _validated(config_type, settings, f"{kind} {name!r}")
        return Component(kind, name, cls, config, options)

    @property
    def is_shipped(self) -> bool:
        """Whether the name is the short name of a shipped component."""
        return self.name in COMPONENTS[self.kind]

    def setting(self, key: str) -> Any:
        """Return a setting by its name; None if the class has no such setting."""
        return getattr(self.config, key, None)

    def content(self) -> dict[str, Any]:
        """Return the component as plain data with every default filled in; `of` reads it back."""
        config = {} if self.config is None else self.config.model_dump(mode="json", by_alias=True)
        return {"name": self.name, **config, **self.options.model_dump(mode="json", exclude_defaults=True)}

    def build(self) -> T:
        """Create the object; `${NAME}` in its settings is filled in now.

        Raises:
            RecipeError: if an environment variable that the settings name is not set.
            DuelistError: if the constructor of a user class fails.
        """
        make: Callable[..., T] = self.cls
        arguments = () if self.config is None else (with_credentials(self.config),)
        with user_code(self.cls):
            return make(*arguments)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        (interface,) = typing.get_args(source)

        def parse(value: Any) -> Component[Any]:
            if not isinstance(value, str | Mapping):
                raise PydanticKnownError("dict_type")
            return cls.of(interface, value)

        as_plain = core_schema.plain_serializer_function_ser_schema(cls.content)
        return core_schema.no_info_plain_validator_function(parse, serialization=as_plain)


def resolve(kind: str, name: str) -> tuple[type, type[BaseModel] | None]:
    """Return a component's class, and the class of its settings; None for a class without settings.

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
    """Check that a class can be used as a component.

    Raises:
        RecipeError: if it cannot; the message says what is missing.
    """
    interface = INTERFACES[kind]
    if not issubclass(cls, import_object(interface)):
        raise RecipeError(
            f"`{kind}.name` must name a subclass of {interface}, but {name} is none: derive it from that."
        )
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


def _validated(model: type[M], settings: Mapping[str, Any], where: str) -> M:
    try:
        return model.model_validate(settings)
    except ValidationError as error:
        raise RecipeError(explain_invalid(error, model, where)) from error
