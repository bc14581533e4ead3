"""Whether a recipe's labels come from people at the page that this machine serves."""

from __future__ import annotations

from typing import Any

from duelist.annotators.people import People, PeopleConfig
from duelist.recipe.component import Component
from duelist.recipe.recipe import Recipe


def people_at_the_page(recipe: Recipe) -> PeopleConfig | None:
    """Return the settings of the recipe's annotator `people`, or of the one in its cascade; None if it has none."""
    annotator: Any = recipe.annotator
    if annotator is None:
        return None
    inner = annotator.setting("people")
    for component in (annotator, inner):
        if isinstance(component, Component) and issubclass(component.cls, People):
            built = component.build()
            assert isinstance(built, People)
            return built.config
    return None
