"""Evaluation between the optimizer steps of a round: the right policy is measured, and training does not notice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from duelist.errors import RecipeError
from duelist.preflight.examination import examine
from duelist.recipe.reading import parse_recipe
from duelist.report.page import write_report
from duelist.store.artifacts import read_jsonl
from duelist.study.study import Study
from tiers import first_rows


def recipe_of(tiny_recipe: dict[str, Any], adapter: str, reference: str, **train: Any) -> dict[str, Any]:
    """Two rounds of 8 labels in batches of 2: 4 steps each, or as many as `max_steps` says."""
    settings = {
        "learning_rate": 1e-2,
        "per_device_train_batch_size": 2,
        "num_train_epochs": 1,
        "lr_scheduler_type": "constant",  # so that a training of k steps is the beginning of a longer one
        **train,
    }
    whole = {"model": tiny_recipe["policy"]["model"], "adapter": "none"}
    policy = tiny_recipe["policy"] if adapter == "lora" else whole
    trainer = {**tiny_recipe["trainer"], "reference": reference, "accumulate": "round", "train": settings}
    return {**tiny_recipe, "policy": policy, "budget": 8, "trainer": trainer, "acquisition": "random"}


def with_steps(recipe: dict[str, Any], every: int | None) -> dict[str, Any]:
    return {**recipe, "evaluation": {**recipe["evaluation"], "every_steps": every}}


def run(recipe: dict[str, Any], folder: Path) -> list[dict[str, Any]]:
    with Study.create(folder, parse_recipe(recipe)) as study:
        study.run()
    return read_jsonl(folder / "metrics.jsonl")


WAYS = [("lora", "previous"), ("none", "previous"), ("lora", "initial"), ("none", "initial")]


@pytest.mark.parametrize(("adapter", "reference"), first_rows(1, WAYS))
def test_what_is_measured_after_k_steps_is_what_a_training_of_k_steps_ends_with(
    tiny_recipe: dict[str, Any], adapter: str, reference: str, tmp_path: Path
) -> None:
    recipe = recipe_of(tiny_recipe, adapter, reference)
    measured, plain = run(with_steps(recipe, 1), tmp_path / "steps"), run(recipe, tmp_path / "plain")
    artifact = ("adapter", "adapter_model") if adapter == "lora" else ("model", "model")
    last, undisturbed = (
        load_file(tmp_path / name / "rounds/002" / artifact[0] / f"{artifact[1]}.safetensors")
        for name in ("steps", "plain")
    )
    assert all(torch.equal(value, undisturbed[name]) for name, value in last.items())
    numbers = [[m["mean_reward"] for m in rows] for rows in (measured, plain)]
    assert numbers[0] == numbers[1]
    rows = read_jsonl(tmp_path / "steps/rounds/001/steps.jsonl")
    assert [row["step"] for row in rows] == [1, 2, 3]
    short = run({**recipe_of(tiny_recipe, adapter, reference, max_steps=2), "rounds": 1}, tmp_path / "short")
    for name in ("mean_reward", "kl", "mean_length", "win_rate"):
        assert rows[1][name] == pytest.approx(short[1][name], abs=1e-6)
    assert len({row["kl"] for row in rows}) == 3
    if reference == "previous":  # the KL is from the base model all the same
        later = read_jsonl(tmp_path / "steps/rounds/002/steps.jsonl")
        assert min(row["kl"] for row in later) != 0


def test_only_every_kth_step_is_measured_and_the_curve_has_it(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    run(with_steps(recipe_of(tiny_recipe, "lora", "initial"), 3), tmp_path / "study")
    for t in (1, 2):
        assert [row["step"] for row in read_jsonl(tmp_path / f"study/rounds/00{t}/steps.jsonl")] == [3]
    write_report(tmp_path / "study")
    header, *lines = (tmp_path / "study" / "reward_kl.csv").read_text(encoding="utf-8").splitlines()
    assert header == "arm,round,labels,kl,mean_reward,j,step"
    points = [line.split(",") for line in lines]
    assert [(p[1], p[-1]) for p in points] == [("0", ""), ("1", "3"), ("1", ""), ("2", "3"), ("2", "")]
    within = read_jsonl(tmp_path / "study/rounds/001/steps.jsonl")[0]
    assert float(points[1][3]) == within["kl"] and float(points[1][4]) == within["mean_reward"]
    (tmp_path / "study/rounds/001/steps.jsonl").write_text("damaged", encoding="utf-8")
    write_report(tmp_path / "study")
    lines = (tmp_path / "study" / "reward_kl.csv").read_text(encoding="utf-8").splitlines()[1:]
    assert [line.split(",")[1] for line in lines] == ["0", "1", "2", "2"]


def test_a_policy_that_cannot_be_measured_between_steps_is_refused(tiny_recipe: dict[str, Any]) -> None:
    recipe = with_steps(recipe_of(tiny_recipe, "lora", "initial"), 2)
    examine(parse_recipe(recipe))
    with pytest.raises(RecipeError, match="'rlhf' does not tell them"):
        examine(parse_recipe({**recipe, "trainer": {"name": "rlhf"}}))
    with pytest.raises(RecipeError, match="'dpo' does not tell them: use `dpo` with `processes: 1`"):
        examine(parse_recipe({**recipe, "trainer": {**recipe["trainer"], "processes": 2}}))
    online = {"accumulate": "round", "restart": "continue", "reference": "initial", "name": "dpo"}
    with pytest.raises(RecipeError, match="a round is one optimizer step"):
        examine(parse_recipe({**recipe, "online": True, "trainer": online}))
