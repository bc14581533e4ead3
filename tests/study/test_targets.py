"""Rules that aim at prompts that matter get pairs of the current policy's responses to them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import duelist
from duelist import Study, parse_recipe
from duelist.acquisition.base import Acquisition
from duelist.errors import DataError, RecipeError
from duelist.models.policy.policy import Policy
from duelist.models.trained import Models
from duelist.preflight.examination import examine
from duelist.progress import Silent
from duelist.samplers.vanilla import Vanilla
from duelist.seeding import derived_seed
from duelist.store import codecs
from duelist.study.components import StudyComponents, prepared
from duelist.types import Features, Selection


class Aiming(Acquisition):
    """Picks the pairs that lie most in the targets' direction."""

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"gradient_ND", "target_MD", "past"})

    def select(self, features: Features, budget: int, rng: np.random.Generator) -> Selection:
        assert features.gradient_ND is not None and features.target_MD is not None
        score_N = ((features.gradient_ND @ features.target_MD.T) ** 2).sum(axis=1)
        order_N = np.argsort(-score_N, kind="stable")[:budget]
        return Selection(order_N, score_N[order_N], "overlap", {"targets": float(len(features.target_MD))})


@pytest.fixture
def aiming(tiny_recipe: dict[str, Any]) -> dict[str, Any]:
    target = {"prompts": 5, "responses_per_prompt": 4}
    return {**tiny_recipe, "acquisition": {"name": f"{__name__}:Aiming"}, "target": target}


def test_targets_are_drawn_from_the_current_policy_on_the_same_prompts(aiming: dict[str, Any], tmp_path: Path) -> None:
    with Study.create(tmp_path / "study", parse_recipe(aiming)) as study:
        study.run()
        rounds = [study.folder.read(t, "target", codecs.TARGET) for t in (1, 2)]
        prompts = [[*dict.fromkeys(r.prompt_id for r in drawn.responses)] for drawn in rounds]
        assert prompts[0] == prompts[1] and len(prompts[0]) == 5
        assert {*prompts[0]} <= {p.id for p in study.stages.components.prompts.train}
        first, second = (drawn.responses for drawn in rounds)
        assert {r.round for r in second} == {2} and 15 <= len(first) <= 20
        assert {r.id for r in first} != {r.id for r in second}
        for t, drawn in enumerate(rounds, start=1):
            stage = study.folder.stage(t, "select")
            assert stage is not None and stage.info["targets"] == len(study.stages.components.targets.pairs(drawn, t))
        # Drawn from the policy that the round before left.
        parts, policy = study.stages.components, Policy.load(study.recipe.policy, 0)
        policy.load_weights(study.folder.trained(1))
        seed = derived_seed(study.recipe.seed, "target", 2)
        again = parts.targets.sample(parts.target_sampler, Models(policy), 2, 0.5, seed, study.progress)
        assert again.responses == second


def test_targets_are_the_policys_own_whatever_the_sampler(aiming: dict[str, Any]) -> None:
    """PILAF's ± sets are not what the policy says; the decoding settings are the sampler's."""
    sampler = {"name": "pilaf", "max_new_tokens": 6, "temperature": 0.7}
    parts = StudyComponents(prepared(parse_recipe({**aiming, "sampler": sampler}), Silent()))
    assert isinstance(parts.target_sampler, Vanilla)
    config = parts.target_sampler.config
    assert (config.responses_per_prompt, config.max_new_tokens, config.temperature) == (4, 6, 0.7)


def test_targets_may_come_from_a_file(aiming: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "matter.jsonl"
    rows = [{"prompt": [{"role": "user", "content": f"w{i}"}]} for i in (3, 4)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    aiming["target"]["path"] = str(file)
    with Study.create(tmp_path / "study", parse_recipe({**aiming, "rounds": 1})) as study:
        study.run()
        assert [p.messages[0]["content"] for p in study.stages.components.targets.prompts] == ["w3", "w4"]
        assert len(study.store.asked()) == 6
    aiming["target"]["path"] = str(tmp_path / "none.jsonl")
    with pytest.raises(DataError, match=r"none\.jsonl"):
        examine(parse_recipe(aiming))
    examine(parse_recipe({**aiming, "acquisition": "random"}))  # not needed, not looked at


def test_rules_without_targets_draw_none(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    with Study.create(tmp_path / "study", parse_recipe({**tiny_recipe, "rounds": 1})) as study:
        study.run()
        assert study.folder.stage(1, "target") is None and study.folder.stage(1, "select") is not None


def test_select_needs_targets_where_the_rule_does(tiny_model: Path) -> None:
    rows = [{"prompt": "w1 w2", "responses": ["w3", "w4 w5 w6", "w7 w8 w9 w10 w11"]}]
    rule = {"name": f"{__name__}:Aiming"}
    with pytest.raises(RecipeError, match="`targets` is not given"):
        duelist.select(rows, str(tiny_model), budget=1, acquisition=rule)
    aimed = [{"prompt": "w1 w2", "responses": ["w4 w5 w6", "w7 w8 w9 w10 w11"]}]
    picks = duelist.select(rows, str(tiny_model), budget=1, acquisition=rule, targets=aimed, dimension=None)
    assert [{p.response_a, p.response_b} for p in picks] == [{"w4 w5 w6", "w7 w8 w9 w10 w11"}]
