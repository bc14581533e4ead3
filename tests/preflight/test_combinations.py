"""Settings that are valid alone but incompatible together are refused before anything is drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from duelist.errors import RecipeError
from duelist.evaluation.held_out import EvaluationConfig
from duelist.preflight.examination import examine
from duelist.recipe.reading import parse_recipe


@pytest.mark.parametrize("greedy", [{"temperature": 0}, {"top_k": 1}, {"temperature": 0.0, "top_k": 50}])
@pytest.mark.parametrize("pairing", ["in_prompt", "as_drawn"])
@pytest.mark.parametrize("sampler", ["vanilla", "best_of_n", "pilaf", "hybrid"])
def test_greedy_responses_make_no_pair(
    tiny_recipe: dict[str, Any], sampler: str, pairing: str, greedy: dict[str, Any]
) -> None:
    tiny_recipe |= {"sampler": {"name": sampler, "max_new_tokens": 6, **greedy}, "pairing": pairing}
    with pytest.raises(RecipeError, match=r"responses of a pair must be able to differ.*sample at a temperature above"):
        examine(parse_recipe(tiny_recipe))
    tiny_recipe["sampler"] |= {"temperature": 0.1, "top_k": 50}
    examine(parse_recipe(tiny_recipe))


def test_greedy_responses_of_two_models_may_differ(tiny_recipe: dict[str, Any], tiny_model: Path) -> None:
    policy = {"model": str(tiny_model), "adapter": "none", "initial_model": str(tiny_model)}
    tiny_recipe |= {"policy": policy, "acquisition": "random", "pairing": "as_drawn"}
    for sampler in ("pilaf", "hybrid"):
        examine(parse_recipe({**tiny_recipe, "sampler": {"name": sampler, "max_new_tokens": 6, "temperature": 0}}))
    with pytest.raises(RecipeError, match="draws the same response"):
        examine(parse_recipe({**tiny_recipe, "sampler": {"name": "vanilla", "max_new_tokens": 6, "temperature": 0}}))


def test_greedy_responses_make_no_target(tiny_recipe: dict[str, Any]) -> None:
    tiny_recipe |= {"acquisition": "policy_gap", "sampler": {"name": "vanilla", "max_new_tokens": 6, "temperature": 0}}
    with pytest.raises(RecipeError, match="target's responses"):
        examine(parse_recipe(tiny_recipe))


def test_responses_to_different_prompts_differ_though_each_is_greedy(tiny_recipe: dict[str, Any]) -> None:
    """For a reward model, one greedy response to each prompt is a pool."""
    sampler = {"name": "vanilla", "responses_per_prompt": 1, "max_new_tokens": 6, "temperature": 0}
    tiny_recipe |= {"sampler": sampler, "pairing": "cross_prompt", "trainer": "bradley_terry", "acquisition": "d_opt"}
    del tiny_recipe["featurizers"]
    examine(parse_recipe(tiny_recipe))


@pytest.mark.parametrize("greedy", [{"temperature": 0}, {"top_k": 1}])
def test_a_greedy_evaluation_draws_one_response(tiny_recipe: dict[str, Any], greedy: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match=r"`responses_per_prompt` must be 1 with greedy decoding.*but is 4"):
        parse_recipe({**tiny_recipe, "evaluation": {"responses_per_prompt": 4, **greedy}})
    assert EvaluationConfig.model_validate(greedy).decoding.greedy
