"""Covers `check`, by which each component refuses a recipe that it cannot work in (duelist.study.components)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from duelist import Study
from duelist.acquisition.random import Random
from duelist.annotators.base import Annotator
from duelist.errors import DuelistError, ModelError, RecipeError
from duelist.featurizers.margin import Margin, MarginFeaturizerConfig
from duelist.models.rewards.functions import ModelReward, ModelRewardConfig, Reward
from duelist.pairing.base import Pairing
from duelist.pairing.in_prompt import InPrompt
from duelist.preflight.examination import examine
from duelist.recipe.reading import parse_recipe
from duelist.samplers.vanilla import Vanilla, VanillaConfig
from duelist.settings.context import Context
from duelist.trainers.dpo import DPO
from duelist.trainers.dpo_settings import DPOTrainerConfig


class Refuses:
    def check(self, context: Context) -> None:
        raise RecipeError(f"{type(self).__name__} must be alone, but stands beside {context.names['acquisition']}.")


class OwnSampler(Refuses, Vanilla):
    def __init__(self, config: VanillaConfig) -> None:
        super().__init__(config)


class OwnPairing(Refuses, InPrompt):
    pass


class OwnFeaturizer(Refuses, Margin):
    def __init__(self, config: MarginFeaturizerConfig) -> None:
        super().__init__(config)


class OwnRule(Refuses, Random):
    pass


class OwnAnnotator(Refuses, Annotator):
    def annotate(self, batch: Any, seed: int, progress: Any) -> list[Any]:
        return []


class OwnTrainer(Refuses, DPO):
    def __init__(self, config: DPOTrainerConfig) -> None:
        super().__init__(config)


class OwnReward(Refuses, Reward):
    def score(self, prompts: Any, responses: Any) -> Any:
        raise NotImplementedError


class Fails(InPrompt):
    def check(self, context: Context) -> None:
        raise KeyError("no such fact")


class Crosses(Pairing):
    crosses_prompts = True

    def pairs(self, draws: Any, given: Any, round: int, seed: int = 0) -> list[Any]:
        return []


OWN = [
    ("sampler", "OwnSampler"),
    ("pairing", "OwnPairing"),
    ("featurizers", "OwnFeaturizer"),
    ("acquisition", "OwnRule"),
    ("annotator", "OwnAnnotator"),
    ("trainer", "OwnTrainer"),
    ("reward", "OwnReward"),
]


def with_own(tiny_recipe: dict[str, Any], kind: str, name: str) -> dict[str, Any]:
    own: Any = {"name": f"{__name__}:{name}"}
    if kind == "featurizers":
        own = {**tiny_recipe[kind], own["name"]: {}}
    return {**tiny_recipe, kind: own}


@pytest.mark.parametrize(("kind", "name"), OWN)
def test_a_component_of_ones_own_refuses_like_the_shipped_ones(
    kind: str, name: str, tiny_recipe: dict[str, Any]
) -> None:
    rule = f"{__name__}:OwnRule" if kind == "acquisition" else "activedpo"
    with pytest.raises(RecipeError, match=f"{name} must be alone, but stands beside {rule}"):
        examine(parse_recipe(with_own(tiny_recipe, kind, name)))


def test_a_check_of_ones_own_that_fails_is_told_with_its_place(tiny_recipe: dict[str, Any]) -> None:
    with pytest.raises(DuelistError, match=r"Fails must return without an error.*no such fact.*test_check\.py"):
        examine(parse_recipe(with_own(tiny_recipe, "pairing", "Fails")))


def test_what_a_class_declares_is_held_to_whoever_wrote_it(tiny_recipe: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match=r"Trainer 'dpo' needs two responses to one prompt, but pairing .*Crosses"):
        examine(parse_recipe(with_own(tiny_recipe, "pairing", "Crosses")))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"pairing": "cross_prompt"}, "crosses prompts: use pairing `in_prompt`"),
        ({"trainer": {"name": "dpo", "loss": "xpo"}}, "'vanilla' draws none"),
        ({"online": True}, "`trainer.accumulate` must be `round`"),
        ({"sampler": {"name": "vanilla", "max_new_tokens": 6, "temperature": 0}}, "draws the same response"),
        ({"trainer": {"name": "dpo", "train": {"optim": "adma"}}}, "must be arguments of trl.DPOConfig"),
    ],
)
def test_a_study_that_nobody_examined_refuses_before_it_draws_anything(
    change: dict[str, Any], said: str, tiny_recipe: dict[str, Any], tmp_path: Path
) -> None:
    with Study.create(tmp_path / "study", parse_recipe({**tiny_recipe, **change})) as study:
        with pytest.raises(RecipeError, match=said):
            study.ask()
        assert study.folder.stage(0, "train") is None and not list((tmp_path / "study").rglob("*.safetensors"))


def test_a_study_that_has_begun_is_not_locked_out_by_what_is_refused_since(
    tiny_recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Study.create(tmp_path / "study", parse_recipe({**tiny_recipe, "acquisition": "random"})) as study:
        study.ask()
    monkeypatch.setattr(InPrompt, "check", Refuses.check)
    with pytest.raises(RecipeError, match="InPrompt must be alone"):
        examine(parse_recipe(tiny_recipe))
    with Study.open(tmp_path / "study") as study:
        study.run()
        assert study.rounds_left == 0


def test_judges_by_a_model_are_made_without_loading_it(tiny_recipe: dict[str, Any]) -> None:
    reward = ModelReward(ModelRewardConfig(model="/nowhere/at-all"))
    with pytest.raises(ModelError, match="/nowhere/at-all"):
        reward.score([], [])
    for kind, name in (("annotator", "reward_model"), ("reward", "model")):
        judge = {kind: {"name": name, "model": "/nowhere/at-all"}}
        with pytest.raises(ModelError, match=rf"{kind}\.model must be a folder that exists"):
            examine(parse_recipe({**tiny_recipe, **judge}))


def test_full_training_is_refused_to_the_featurizer_that_needs_an_adapter(
    tiny_recipe: dict[str, Any], tiny_model: Path
) -> None:
    whole = {**tiny_recipe, "policy": {"model": str(tiny_model), "adapter": "none"}}
    for rule in ("activedpo", "d_opt", "information", "policy_gap"):
        with pytest.raises(RecipeError, match=f"which the acquisition '{rule}' needs, but `policy.adapter` is none"):
            examine(parse_recipe({**whole, "acquisition": rule}))
    examine(parse_recipe({**whole, "acquisition": "margin"}))
