"""`duelist plan`, and what a dry run says of a cached probe."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_results import Command, WriteRecipe

from duelist.preflight.cost_model import CostModel
from duelist.preflight.probe_cache import keep_probe
from duelist.recipe.reading import load_recipe

EXAMPLE = Path(__file__).parents[2] / "docs" / "machine.yaml"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUELIST_CACHE", str(tmp_path / "cache"))


def test_a_described_machine_is_priced_and_what_does_not_fit_ends_in_one(
    duelist: Command, write_recipe: WriteRecipe
) -> None:
    recipe = write_recipe(prompts__limit=24)
    done = duelist("plan", recipe, "--machine", EXAMPLE)
    assert done.code == 0 and "one H100 of 80 GB" in done.out and "money, USD" in done.out
    assert "a projection" in done.out
    Path("small.yaml").write_text(EXAMPLE.read_text().replace("memory_gib: 80", "memory_gib: 0.000001"))
    done = duelist("plan", recipe, "--machine", "small.yaml", "--json")
    assert done.code == 1 and json.loads(done.out)["changes"][0].startswith("Memory: ")
    assert "leave one out" in duelist("plan", recipe, "--machine", EXAMPLE, "--probe").error
    assert not Path("studies").exists()


def test_a_dry_run_tells_what_the_last_probe_measured(duelist: Command, write_recipe: WriteRecipe) -> None:
    recipe = write_recipe()
    assert "CPU seconds" not in duelist("run", recipe, "--dry-run").err
    model = CostModel({"train": {"decisions": 2.0}}, {}, 1.0, "cpu", "here", "2026-01-02", 4.0, 5.0, 1, 24)
    keep_probe(load_recipe(recipe), model)
    shown = duelist("run", recipe, "--dry-run")
    assert "CPU seconds, whole study" in shown.err and "a probe of here on 2026-01-02" in shown.err
    found = json.loads(duelist("run", recipe, "--dry-run", "--json", "--set", "rounds=1").out)
    assert found["estimate"]["seconds"] == 2.0 * 6 + 1.0


@pytest.mark.full
def test_a_probe_is_kept_and_a_run_says_its_plan_first(duelist: Command, write_recipe: WriteRecipe) -> None:
    recipe = write_recipe(rounds=1)
    done = duelist("plan", recipe, "--probe")
    assert done.code == 0 and "CPU seconds, whole study" in done.out, done.err
    done = duelist("run", recipe)
    first = done.out.splitlines()[0]
    assert first.startswith("Plan: 6 labels, ") and "CPU seconds" in first
