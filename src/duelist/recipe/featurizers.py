"""The featurizers of a recipe: in the file a mapping from names to settings, here components."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import GetPydanticSchema
from pydantic_core import core_schema

from duelist.featurizers.base import Featurizer
from duelist.recipe.component import Component


def featurizers_of(settings: dict[str, dict[str, Any]]) -> dict[str, Component[Featurizer]]:
    """Return the featurizers that a recipe names, by name."""
    return {name: Component.of(Featurizer, {"name": name, **own}) for name, own in settings.items()}


def _settings(featurizers: dict[str, Component[Featurizer]]) -> dict[str, dict[str, Any]]:
    contents = {name: featurizer.content() for name, featurizer in featurizers.items()}
    return {name: {k: v for k, v in own.items() if k != "name"} for name, own in contents.items()}


Featurizers = Annotated[
    dict[str, Component[Featurizer]],
    GetPydanticSchema(
        lambda _, handler: core_schema.no_info_after_validator_function(
            featurizers_of,
            handler.generate_schema(dict[str, dict[str, Any]]),
            serialization=core_schema.plain_serializer_function_ser_schema(_settings),
        )
    ),
]
