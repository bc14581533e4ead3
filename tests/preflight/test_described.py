"""A described machine: its file, and its rates by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from duelist.errors import RecipeError
from duelist.preflight.described import SECONDS_PER_VALUE, MachineConfig, rates_of, read_machine, seconds_on
from duelist.preflight.plan import PROMPT_TOKENS, plan
from duelist.preflight.work import work_of_rounds
from duelist.recipe.reading import parse_recipe

EXAMPLE = Path(__file__).parents[2] / "docs" / "machine.yaml"
MEASURED = {"generation": 100.0, "logprobs": 1000.0, "gradients": 500.0, "training": 250.0}


def test_the_example_is_read_and_its_rates_follow_from_its_flops(tiny_recipe: dict[str, Any]) -> None:
    machine = read_machine(EXAMPLE)
    recipe = parse_recipe(tiny_recipe)
    flops, p, batch = 989e12 * 0.35, 7e9, recipe.sampler.setting("batch_size")
    found = rates_of(machine, recipe, int(p))
    assert found["logprobs"] == pytest.approx(flops / (2 * p))
    assert found["gradients"] == pytest.approx(flops / (4 * p))
    assert found["training"] == pytest.approx(flops / (6 * p))
    assert found["generation"] == pytest.approx(batch / (4 * p / 3350e9 + batch * 2 * p / flops))
    whole = parse_recipe({**tiny_recipe, "policy": {**tiny_recipe["policy"], "adapter": "none"}})
    assert rates_of(machine, whole, int(p))["training"] == pytest.approx(flops / (8 * p))


def test_the_seconds_of_a_round_are_its_tokens_by_the_rates(tiny_recipe: dict[str, Any]) -> None:
    tiny_recipe["prompts"] |= {"limit": 24}
    recipe = parse_recipe(tiny_recipe)
    machine = MachineConfig(name="two", devices=2, memory_gib=1, disk_gib=1, rates=MEASURED)
    work = work_of_rounds(recipe, None)
    assert work is not None
    found = seconds_on(machine, recipe, plan(recipe), work[2])
    sequence = 6 + PROMPT_TOKENS
    assert found == {
        "sample": pytest.approx(72 * 6 / 200),
        "featurize": pytest.approx((72 + 12) * sequence * (1 / 1000 + 2 / 2000)),
        "select": pytest.approx(2 * 72 * 512 * SECONDS_PER_VALUE),
        "train": pytest.approx(2 * 2 * 12 * sequence / 500),
        "evaluate": pytest.approx(6 * 6 / 200 + 2 * 6 * sequence / 2000),
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{name: x, memory_gib: 1, disk_gib: 1, tflop: 3}", "tflops"),
        ("{name: x, memory_gib: 1, disk_gib: 1}", "`tflops` is needed to compute rates.generation"),
        ("{name: x, memory_gib: 1, disk_gib: 1, tflops: 3}", "`bandwidth_gb` is needed"),
        ("{name: [", "readable YAML"),
    ],
)
def test_a_description_that_is_not_usable_is_refused(content: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "machine.yaml"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(RecipeError, match=message):
        read_machine(file)
