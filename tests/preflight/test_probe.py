"""A probe: sizes, what it replaces, what it measures, and what plans then say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from duelist.errors import BudgetError
from duelist.preflight.cost_model import CostModel, predicted
from duelist.preflight.estimate import estimate, estimate_rows, in_a_line
from duelist.preflight.plan import GIB
from duelist.preflight.probe import Size, fewest_decisions, probe, shrunk, sizes
from duelist.preflight.probe_cache import cached_probe, keep_probe
from duelist.preflight.work import work_of_rounds
from duelist.progress import Silent
from duelist.recipe.reading import parse_recipe

MODEL = CostModel(
    seconds={
        "sample": {"responses": 0.5}, "train": {"decisions": 2.0}, "featurize": {"past": 1.0},
        "evaluate": {"responses": 1.0},
    },
    bytes={"train": {"rounds": 1000.0}, "sample": {"responses": 10.0}},
    start_seconds=7.0, device="cpu", machine="here", made="2026-01-02T03:04:05+00:00",
    prompt_tokens=4.0, response_tokens=5.0, peak_bytes=1, most_prompts=12,
)  # fmt: skip


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUELIST_CACHE", str(tmp_path / "cache"))


def test_sizes_grow_threefold_up_to_the_recipe_s_own() -> None:
    found = sizes(100, 50, 20)
    assert found == [Size(2, 1, 1), Size(6, 3, 1), Size(18, 9, 2), Size(54, 27, 5), Size(100, 50, 20)]
    assert sizes(1, 0, 3) == [Size(1, 0, 3)]
    assert [s.budget for s in sizes(100, 50, 20, fewest=4)] == [4, 4, 4, 5, 20]


def test_rl_needs_a_batch_of_prompts(tiny_recipe: dict[str, Any]) -> None:
    of_rl = {"num_generations": 4, "per_device_train_batch_size": 8, "gradient_accumulation_steps": 3}
    assert fewest_decisions(parse_recipe({**tiny_recipe, "trainer": {"name": "rlhf", "train": of_rl}})) == 6
    assert fewest_decisions(parse_recipe(tiny_recipe)) == 1


def test_people_and_judges_are_not_asked_by_a_probe(tiny_recipe: dict[str, Any]) -> None:
    judge = {"model": "m", "base_url": "http://localhost:1/v1", "price_in": 1.0}
    recipe = parse_recipe({**tiny_recipe, "annotator": "people", "initial_random": 6, "compare": {"r": {"rounds": 1}}})
    notes: list[str] = []
    small = shrunk(recipe, Size(4, 2, 3), notes)
    assert small.annotator is not None and small.annotator.name == "reward_function"
    assert (small.prompts.limit, small.prompts.held_out, small.budget, small.initial_random) == (4, 2, 3, 0)
    assert not small.compare and any("made up" in note for note in notes)
    tiny_recipe["evaluation"] |= {"judge": judge}
    notes.clear()
    assert shrunk(parse_recipe(tiny_recipe), Size(4, 2, 3), notes).evaluation.judge is None
    assert notes == ["The probe runs without `evaluation.judge`."]


def test_a_probe_measures_every_stage_and_leaves_nothing(
    tiny_recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    model = probe(parse_recipe(tiny_recipe), Silent(), seconds=0.0)  # one study: of six prompts, for two are too few
    assert not list(tmp_path.glob("duelist-probe-*"))
    assert {"sample", "pair", "featurize", "select", "train", "evaluate", "rest"} <= model.seconds.keys()
    assert all(factor > 0 for units in model.seconds.values() for factor in units.values())
    adapter = model.bytes["train"]["rounds"]
    assert 4 * 3_000 < adapter < 4 * 20_000
    assert model.device == "cpu" and 1 <= model.response_tokens <= 6 and model.peak_bytes > 2**26
    assert any("one small study only" in note for note in model.notes)


@pytest.mark.full
def test_a_probe_predicts_the_bytes_of_the_next_round(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    """Seconds are compared in benchmarks/plan.py."""
    from duelist import Study
    from duelist.preflight.cost_model import PASSING
    from duelist.preflight.probe import record_bytes, size_on_disk

    recipe = parse_recipe(tiny_recipe)
    model = probe(recipe, Silent())
    assert model.most_prompts == 24 and not model.notes
    folder, kept = tmp_path / "study", []
    with Study.create(folder, recipe) as study:
        work = work_of_rounds(recipe, study.stages.components.prompts)
        study.run(on_round=lambda report: kept.append(record_bytes(folder)))
        stages = study.store.stages()
    assert work is not None
    left = sum(size_on_disk(folder / s.artifact) for s in stages if s.round == 2 and s.name not in PASSING)
    told = sum(v for k, v in predicted(model.bytes, work[2]).items() if k not in PASSING)
    assert told == pytest.approx(left + kept[1] - kept[0], rel=0.1)


def test_a_probe_without_enough_questions_is_refused(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    one = tmp_path / "one.jsonl"
    one.write_text(json.dumps({"prompt": "w1 ", "chosen": "w2", "rejected": "w3"}) + "\n", encoding="utf-8")
    recipe = {**tiny_recipe, "prompts": {"path": str(one)}, "sampler": "dataset", "pairing": "as_given"}
    recipe["evaluation"] = {}
    with pytest.raises(BudgetError, match="two questions or more"):
        probe(parse_recipe({**recipe, "rounds": 1, "budget": 1}), Silent())


def test_a_kept_probe_is_found_for_other_amounts_of_work_and_no_other_model(tiny_recipe: dict[str, Any]) -> None:
    recipe = parse_recipe(tiny_recipe)
    assert cached_probe(recipe) is None
    keep_probe(recipe, MODEL)
    more = {**tiny_recipe, "rounds": 5, "budget": 3, "seed": 4, "prompts": {**tiny_recipe["prompts"], "limit": 9}}
    assert cached_probe(recipe) == cached_probe(parse_recipe(more)) == MODEL
    other = {**tiny_recipe, "sampler": {**tiny_recipe["sampler"], "max_new_tokens": 5}}
    assert cached_probe(parse_recipe(other)) is None


def test_an_estimate_sums_the_rounds(tiny_recipe: dict[str, Any]) -> None:
    people = {"name": "people", "labels": 1, "overlap_labels": 3, "overlap_fraction": 0.5, "hourly_wage": 18.0}
    recipe = parse_recipe({**tiny_recipe, "annotator": {**people, "currency": "EUR"}})
    found = estimate(recipe, libraries=False, measured=MODEL)
    rounds = [6.0, 72 * 0.5 + 6 * 2.0 + 0 + 6, 72 * 0.5 + 12 * 2.0 + 12 + 6]  # evaluation; sampling, training, features
    assert [sum(r.seconds.values()) for r in found.rounds] == pytest.approx(rounds)
    assert found.seconds == pytest.approx(sum(rounds) + 7.0)
    # Three folders of weights and the copy of the latest, and the responses; features are counted beside.
    assert found.plan.feature_bytes is not None
    assert found.disk_bytes == pytest.approx(4 * 1000 + 2 * 720 + found.plan.feature_bytes)
    hours = 12 * 2 * (3.37 + 1.63 + 60 / 238 * 0.75 * 14) / 3600  # two answers each; 14 tokens to read
    assert found.people_hours == pytest.approx(hours)
    assert found.money == {"EUR": pytest.approx(18.0 * hours)}
    rows = estimate_rows(found)
    assert rows["CPU seconds, whole study"] == f"{found.seconds:,.0f}"
    assert any("extrapolated from a probe with up to 12 prompts to 24" in note for note in found.plan.notes)
    assert in_a_line(found, "x.yaml").startswith(f"12 labels, {hours:,.1f} hours of people's time, ")
    unknown = estimate(recipe, libraries=False)
    assert unknown.seconds is None and "`duelist plan x.yaml --probe` measures" in in_a_line(unknown, "x.yaml")


def test_what_does_not_fit_says_what_to_change(tiny_recipe: dict[str, Any]) -> None:
    from duelist.preflight.described import MachineConfig

    rates = {"generation": 1.0, "logprobs": 1.0, "gradients": 1.0, "training": 1.0}
    small = {"name": "small", "memory_gib": 1e-6, "disk_gib": 1e-6, "rates": rates, "price_per_hour": 3.0}
    recipe = parse_recipe(tiny_recipe)
    found = estimate(recipe, libraries=True, machine=MachineConfig(**small))
    memory, disk = found.changes
    assert memory.startswith("Memory: ") and "`policy.dtype: bfloat16`" in memory
    assert "per_device_train_batch_size" in memory  # its activations are larger than its weights
    assert disk.startswith("Disk: ") and "fewer rounds" in disk
    assert found.seconds is not None and found.money == {"USD": pytest.approx(3.0 * found.seconds / 3600)}
    assert found.memory_bytes is not None and found.memory_bytes < GIB
    room = {**small, "memory_gib": 1.0, "disk_gib": 1.0}
    assert not estimate(recipe, libraries=True, machine=MachineConfig(**room)).changes
