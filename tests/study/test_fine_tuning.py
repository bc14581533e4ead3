"""Studies that begin with supervised fine-tuning: its result is round 0's policy and the reference."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from duelist.errors import DataError, RecipeError
from duelist.preflight.examination import examine
from duelist.preflight.plan import plan
from duelist.recipe.reading import parse_recipe
from duelist.recipe.recipe import recipe_content
from duelist.store.artifacts import read_jsonl
from duelist.study import fine_tuning
from duelist.study.study import Study

TRAIN = {"learning_rate": 1e-2, "num_train_epochs": 8, "per_device_train_batch_size": 4}


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    path = tmp_path / "labelled.jsonl"
    rows = [{"prompt": [{"role": "user", "content": f"w{i} w{i + 3}"}],
             "chosen": [{"role": "assistant", "content": f"w{24 + 2 * i} w{38 - i} w{30 + i}"}],
             "rejected": [{"role": "assistant", "content": "w9 w8"}]} for i in range(8)]  # fmt: skip
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def with_sft(tiny_recipe: dict[str, Any], path: Path | None, **initial: Any) -> dict[str, Any]:
    given = {"train": TRAIN, **({} if path is None else {"path": str(path)})}
    return {**tiny_recipe, "rounds": 1, "initial": {"sft": given, **initial}}


def test_the_fine_tuned_model_is_the_start_and_the_reference(
    tiny_recipe: dict[str, Any], labelled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, folder = parse_recipe(with_sft(tiny_recipe, labelled)), tmp_path / "study"
    with Study.create(folder, recipe) as study:
        study.ask()
        policy = study.stages._learner.models(0).policy_for("The test")
        made, base = load_file(folder / "rounds/000/sft/model.safetensors"), policy.model.get_base_model().state_dict()
        same = {n: v for n, v in base.items() if n.replace(".base_layer", "") in made and "lora" not in n}
        assert len(same) == len(made)
        assert all(torch.equal(v, made[n.replace(".base_layer", "")]) for n, v in same.items())
        old = load_file(Path(tiny_recipe["policy"]["model"]) / "model.safetensors")
        assert all(not torch.equal(made[n], old[n]) for n in old)
        assert policy.reference_folder is None and study.store.metrics()[0]["kl"] == 0
        assert all(x.margin == 0 for x in study.store.asked())  # π_θ = π_ref, as DPO begins
        info = study.folder.stage(0, "sft").info  # type: ignore[union-attr]
        assert info["demonstrations"] == 8 and info["optimizer_steps"] == 16
        begun = study.folder.stage(0, "train").info["base_model"]  # type: ignore[union-attr]
    monkeypatch.setattr(fine_tuning, "derived_seed", None)  # would fail: the stage is not run again
    with Study.open(folder) as study:
        study.run()
        assert study.stages._learner.models(1).policy_for("The test").fingerprint(trained=False) == begun
    metrics = read_jsonl(folder / "metrics.jsonl")
    assert metrics[1]["kl"] != 0 and metrics[0]["seconds"]["sft"] >= 0


def test_offline_dpo_follows_on_the_fine_tuned_reference_and_its_preferred_responses_are_the_demonstrations(
    tiny_recipe: dict[str, Any], labelled: Path, tmp_path: Path
) -> None:
    recipe = with_sft(tiny_recipe, None, labelled=str(labelled))
    recipe["trainer"] = {**recipe["trainer"], "train": {**recipe["trainer"]["train"], "learning_rate": 1e-2}}
    with Study.create(tmp_path / "study", parse_recipe(recipe)) as study:
        study.ask()
        assert study.folder.stage(0, "sft").info["demonstrations"] == 8  # type: ignore[union-attr]
        assert study.folder.stage(0, "train").info["preferences"] == 8  # type: ignore[union-attr]
        policy = study.stages._learner.models(0).policy_for("The test")
        assert policy.reference_folder is None and policy.name == str(tmp_path / "study/rounds/000/sft")
        assert study.store.metrics()[0]["kl"] != 0 and all(x.margin != 0 for x in study.store.asked())


def test_workers_in_another_working_folder_find_the_fine_tuned_model(
    tiny_recipe: dict[str, Any], labelled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made = fine_tuning.with_fine_tuned(parse_recipe(with_sft(tiny_recipe, labelled)), Path("study"))
    assert made.policy is not None and made.policy.model == str(tmp_path / "study/rounds/000/sft")


@pytest.mark.full
def test_known_preferences_are_demonstrations_too_and_equal_studies_are_equal(
    tiny_recipe: dict[str, Any], labelled: Path, tmp_path: Path
) -> None:
    recipe = {**with_sft(tiny_recipe, None), "known": {"path": str(labelled)}}
    kept = []
    for name in ("one", "two"):
        with Study.create(tmp_path / name, parse_recipe(recipe)) as study:
            study.stages.measure_initial_model()
            kept.append(load_file(tmp_path / name / "rounds/000/sft/model.safetensors"))
            assert study.folder.stage(0, "sft").info["demonstrations"] == 8  # type: ignore[union-attr]
    assert all(torch.equal(value, kept[1][name]) for name, value in kept[0].items())


def test_a_dry_run_reads_the_demonstrations_and_settings(
    tiny_recipe: dict[str, Any], labelled: Path, tmp_path: Path
) -> None:
    recipe = with_sft(tiny_recipe, labelled)
    without = plan(parse_recipe({**recipe, "initial": None}))
    found = plan(parse_recipe(recipe))
    assert found.memory_bytes == max(without.memory_bytes or 0, 16 * found.base_parameters)  # type: ignore[operator]
    assert found.disk_bytes == without.disk_bytes + 4 * found.base_parameters  # type: ignore[operator]
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"prompt": "w1", "answer": "w2"}\n', encoding="utf-8")
    with pytest.raises(DataError, match="only prompt, answer"):
        examine(parse_recipe(with_sft(tiny_recipe, bad)))
    recipe["initial"]["sft"]["train"] = {"optim": "none such"}
    with pytest.raises(RecipeError, match=r"initial\.sft\.train"):
        examine(parse_recipe(recipe))


def test_what_cannot_be_fine_tuned_is_refused(tiny_recipe: dict[str, Any], labelled: Path) -> None:
    with pytest.raises(RecipeError, match=r"needs demonstrations.* set `initial\.sft\.path`"):
        parse_recipe(with_sft(tiny_recipe, None))
    with pytest.raises(RecipeError, match="it must have `sft` or `labelled`"):
        parse_recipe({**tiny_recipe, "initial": {}})
    recipe = with_sft(tiny_recipe, labelled)
    for key, value in (("initial_adapter", "there"), ("load", {"quantization_config": {}})):
        with pytest.raises(RecipeError, match=r"initial\.sft"):
            parse_recipe({**recipe, "policy": {**recipe["policy"], key: value}})
    content = recipe_content(parse_recipe(recipe))
    assert recipe_content(parse_recipe(content)) == content
