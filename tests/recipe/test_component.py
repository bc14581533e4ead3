"""Covers duelist.recipe.component: a component is resolved once, and is a typed value from then on."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic import BaseModel, ConfigDict, field_validator

from duelist import Acquisition, load_recipe, parse_recipe
from duelist.acquisition.activedpo import ActiveDPO, ActiveDPOConfig
from duelist.acquisition.options import AcquisitionOptions
from duelist.acquisition.random import Random
from duelist.errors import RecipeError
from duelist.recipe.component import Component
from duelist.recipe.components import COMPONENTS, INTERFACES
from duelist.recipe.reading import with_prepared
from duelist.recipe.recipe import recipe_content
from duelist.recipe.shipped import shipped_recipes
from duelist.samplers.base import Sampler
from duelist.settings.importing import import_object

LEAST: dict[str, Any] = {
    "name": "least",
    "rounds": 2,
    "budget": 3,
    "prompts": {"path": "prompts.jsonl"},
    "policy": {"model": "model"},
}


class CountedConfig(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    validated: ClassVar[int] = 0
    folder: str = "{prepared}/x"

    @field_validator("folder")
    @classmethod
    def _counted(cls, folder: str) -> str:
        CountedConfig.validated += 1
        if "bad" in folder:
            raise ValueError(f"folder must be good, but is {folder!r}: give another.")
        return folder


class Counted(Random):
    made: ClassVar[int] = 0

    def __init__(self, config: CountedConfig) -> None:
        Counted.made += 1
        self.config = config


def test_a_component_is_its_class_and_its_validated_settings() -> None:
    component = Component.of(Acquisition, {"name": "activedpo", "lambda": 2, "candidates": 5})
    assert (component.kind, component.name, component.cls) == ("acquisition", "activedpo", ActiveDPO)
    assert component.config == ActiveDPOConfig.model_validate({"lambda": 2})
    assert component.options == AcquisitionOptions(candidates=5)
    assert component.setting("lambda_") == 2 and component.setting("no_such") is None
    expected = {"name": "activedpo", "lambda": 2.0, "lambda_relative": True, "certificate": False, "readings": None}
    expected |= {"candidates": 5}
    assert component.content() == expected and list(component.content()) == list(expected)
    rule = component.build()
    assert isinstance(rule, ActiveDPO) and rule.config is not component.config and rule.config == component.config


@pytest.mark.parametrize("kind", COMPONENTS)
def test_every_component_is_read_back_from_its_content(kind: str) -> None:
    function, model = {"function": "x:y"}, {"model": "x"}
    required: dict[str, dict[str, Any]] = {
        "reward_function": function, "function": function, "reward_model": model, "model": model, "judge": model,
        "dataset_labels": {"path": "x"}, "cascade": {"judge": function, "people": {"name": "people"}},
    }  # fmt: skip
    for name in COMPONENTS[kind]:
        component = Component.of(import_object(INTERFACES[kind]), {"name": name, **required.get(name, {})})
        again = Component.of(import_object(INTERFACES[kind]), component.content())
        assert again == component and hash(again) == hash(component) and component.is_shipped
        assert list(again.content().items()) == list(component.content().items())
    assert Component.of(Sampler, "vanilla") != Component.of(Sampler, {"name": "vanilla", "batch_size": 3})
    assert not Component.of(Sampler, "duelist.samplers.vanilla:Vanilla").is_shipped


def test_settings_are_validated_once_as_written_and_once_when_prepared(tmp_path: Path) -> None:
    CountedConfig.validated = Counted.made = 0
    written = parse_recipe({**LEAST, "acquisition": {"name": f"{__name__}:Counted", "folder": "{prepared}/y"}})
    assert (CountedConfig.validated, Counted.made) == (1, 0)
    assert recipe_content(written)["acquisition"]["folder"] == "{prepared}/y"
    ready = with_prepared(written, tmp_path)
    assert (CountedConfig.validated, Counted.made) == (2, 0)
    assert ready.acquisition.setting("folder") == f"{tmp_path}/y"
    ready.acquisition.build()
    ready.acquisition.build()
    assert (CountedConfig.validated, Counted.made) == (2, 2)
    with pytest.raises(RecipeError, match="folder must be good, but is '/bad/y'"):
        with_prepared(written, Path("/bad"))


def test_a_fault_of_a_component_stands_beside_the_recipes_own() -> None:
    with pytest.raises(RecipeError) as caught:
        parse_recipe({**LEAST, "rounds": 0, "sampler": {"top_q": 1}, "acquisition": "activedop"})
    lines = str(caught.value).splitlines()
    assert [line[:30] for line in lines] == [
        "`rounds` in the recipe: Input ",
        "Unknown key `top_q` in sampler",
        "`acquisition.name` must be one",
    ]


@pytest.mark.parametrize("own", ["margin", 3, ["dimension"], None])
def test_a_featurizers_settings_are_a_mapping(own: Any) -> None:
    with pytest.raises(RecipeError, match=r"`featurizers\.gradient` in the recipe: Input should be a valid dictionary"):
        parse_recipe({**LEAST, "featurizers": {"gradient": own}})


@pytest.mark.parametrize("kind", ["sampler", "pairing", "acquisition", "annotator", "trainer", "reward"])
@pytest.mark.parametrize("own", [3, True, ["vanilla"], 0.5])
def test_a_component_is_a_name_or_a_mapping(kind: str, own: Any) -> None:
    with pytest.raises(RecipeError, match=f"`{kind}` in the recipe: Input should be a valid dictionary, but got"):
        parse_recipe({**LEAST, kind: own})


@pytest.mark.parametrize("name", shipped_recipes())
def test_a_shipped_recipes_content_is_that_recipe_in_the_same_order(name: str) -> None:
    recipe = load_recipe(name)
    again = parse_recipe(recipe_content(recipe))
    assert again == recipe
    assert str(recipe_content(again)) == str(recipe_content(recipe))
