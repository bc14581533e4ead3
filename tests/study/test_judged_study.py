"""A study with a judge beside people: the control slice, the judged pool, the training, and the acquisition."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from duelist import Label, Study, parse_recipe
from duelist.errors import RecipeError, RewardError
from duelist.store import codecs
from duelist.store.artifacts import digest, read_jsonl
from duelist.store.export import csv_text, label_rows
from duelist.trainers.dpo import DPO
from duelist.types import Question

FAILING = """
import json, pathlib

FAILS = pathlib.Path(__file__).with_name("fails")

def judge(prompts, first, second, **columns):
    if FAILS.exists():
        raise ConnectionError("the judge is down")
    found = []
    for one, other in zip(first, second):
        if len(one) == len(other):
            found.append(None)  # no verdict
        else:
            found.append((0.8, 0.2, 0.0) if len(one) > len(other) else (0.1, 0.7, 0.2))
    return found
"""


@pytest.fixture
def judge(tmp_path: Path) -> Path:
    path = tmp_path / "judge.py"
    path.write_text(FAILING, encoding="utf-8")
    return path


@pytest.fixture
def judged_recipe(tiny_recipe: dict[str, Any], judge: Path) -> dict[str, Any]:
    return {
        **tiny_recipe,
        "annotator": None,
        "control_fraction": 0.5,
        "judged_pool": {"judge": {"function": f"{judge}:judge"}, "pairs": 20},
        "trainer": {**tiny_recipe["trainer"], "restart": "from_reference"},
    }


def answer(study: Study, outcome: Any = "a") -> None:
    study.tell([Label(i, "ann", outcome, id=f"label {i}") for i in study.unanswered()])


def finished(folder: Path, recipe: dict[str, Any]) -> list[dict[str, Any]]:
    """Run the study, answering a each time; the training's reports."""
    reports = []
    with Study.create(folder, parse_recipe(recipe)) as study:
        while study.rounds_left:
            study.ask()
            answer(study)
            reports.append(dict(study.update().training))
    return reports


def verdict_of(row: dict[str, Any]) -> np.ndarray:
    """The judge's probabilities of a and of b in a row of judged.jsonl, from both orders; zeros without a verdict."""
    if not (row["a_first"] and row["b_first"]):
        return np.zeros(2)
    p = sum(row[name][0] + row[name][2] / 2 for name in ("a_first", "b_first")) / 2
    return np.array([p, 1 - p])


def coefficients(items: list[Any], pool: list[Question]) -> dict[str, np.ndarray]:
    """What each item of a training puts on −log σ(m) and −log σ(−m), where m is the margin of a over b."""
    a_of = {q.id: q.a.id for q in pool}
    found = {}
    for x in items:
        both = np.array([x.share, 1 - x.share]) * x.weight / len(items)
        found[x.pair_id] = both if x.chosen.id == a_of[x.pair_id] else both[::-1]
    return found


def test_a_study_with_a_judge(judged_recipe: dict[str, Any], judge: Path, tmp_path: Path, monkeypatch: Any) -> None:
    """Asked with a control slice, judged, trained; stopped by a judge that is down, it goes on to the same weights."""
    trained: list[list[Any]] = []
    train = DPO.train

    def watched(self: DPO, policy: Any, preferences: Any, *rest: Any) -> Any:
        trained.append(list(preferences))
        return train(self, policy, preferences, *rest)

    monkeypatch.setattr(DPO, "train", watched)
    recipe = {**judged_recipe, "rounds": 1, "trainer": {**judged_recipe["trainer"], "omega": 0.5}}
    (report,) = finished(tmp_path / "whole", recipe)
    with Study.create(tmp_path / "stopped", parse_recipe(recipe)) as study:
        study.ask()
        answer(study)
        judge.with_name("fails").touch()
        with pytest.raises(RewardError, match="the judge is down"):
            study.update()
    judge.with_name("fails").unlink()
    with Study.open(tmp_path / "stopped") as study:
        study.update()
    for name in ("rounds/001/judged.jsonl", "rounds/001/selection.json", "rounds/001/adapter"):
        assert digest(tmp_path / "stopped" / name) == digest(tmp_path / "whole" / name)

    with Study.open(tmp_path / "whole") as study:
        asked = study.store.asked(1)
        pool = study.folder.read(1, "pair", codecs.questions(study.folder.read(1, "sample", codecs.DRAWS)))
        certain = [x for x in asked if x.inclusion == 1]
        assert 3 <= len(certain) < 6 and sum(bool(x.control) for x in asked) in (3, 2)
        others = {x.inclusion for x in asked} - {1.0}
        assert others == {(6 - len(certain)) / (len(pool) - len(certain))}
        assert all(x.score == 0 for x in asked if x.inclusion != 1)
        rows = list(label_rows(study.store))
        assert [(r["inclusion"], r["control"]) for r in rows[:6]] == [(x.inclusion, x.control) for x in asked]
        assert csv_text(study.store).splitlines()[0].endswith("inclusion,control,propensity,candidates_left")

        head, *judged = read_jsonl(tmp_path / "whole/rounds/001/judged.jsonl")
        assert head["pool"] == len(pool) and len(judged) == 26
        assert [r["pair_id"] for r in judged[:6]] == [x.question.id for x in asked]
        assert {r["pair_id"] for r in judged[6:]} <= {q.id for q in pool} - {x.question.id for x in asked}
        stage = study.folder.stage(1, "judge")
        assert stage is not None and stage.info["judged"] == 26
        assert stage.info["unusable"] == sum(r["a_first"] is None for r in judged) > 0

    # The loss written out, as coefficients of −log σ(m) and −log σ(−m) a label; everybody said a.
    n, size, t, c, r = 6, len(pool), len(certain), 6 - len(certain), 20
    chance = {x.question.id: 1.0 if x.inclusion is None else x.inclusion for x in asked}
    expected = {}
    for row in judged:
        verdict = verdict_of(row)
        believed = 0.5 * (1 - c / (size - t)) * (size - t) / size  # ω, where C leaves something to be judged
        people = np.array([1.0, 0.0]) / (size * chance[row["pair_id"]]) if row["asked"] else np.zeros(2)
        own = believed / r if not row["asked"] else -believed / c if chance[row["pair_id"]] < 1 else 0.0
        expected[row["pair_id"]] = people + own * verdict
    found = coefficients(trained[0], pool)
    assert found.keys() == {i for i, both in expected.items() if both.any()}
    for i, both in found.items():
        assert both == pytest.approx(expected[i], rel=1e-6, abs=1e-9)
    outside = [i for i, both in found.items() if min(both) < -1e-9]
    assert report["targets_outside"] == len(outside) > 0 and report["preferences"] == n
    penalised = {x.pair_id: x.penalty for x in trained[0] if x.penalty}
    assert penalised.keys() == {
        r["pair_id"] for r in judged if r["asked"] and chance[r["pair_id"]] < 1 and r["a_first"]
    }
    assert set(outside) <= penalised.keys()
    assert list(penalised.values()) == pytest.approx([0.1 * believed / c * len(found)] * len(penalised))


def test_pairs_drawn_by_their_gains_correct_the_judge_with_their_weights(
    judged_recipe: dict[str, Any], tmp_path: Path, monkeypatch: Any
) -> None:
    """No pair is taken for certain: people's labels weigh v, and the judge's part of one is ω(v − |C|/U)."""
    seen: list[Any] = []
    monkeypatch.setattr(DPO, "train", lambda self, policy, items, *rest: seen.append(list(items)) or {})
    recipe = {**judged_recipe, "rounds": 1, "acquisition": {"name": "activedpo", "lure": {"uniform": 0.2}}}
    recipe["trainer"] = {**recipe["trainer"], "omega": 0.5}
    (report,) = finished(tmp_path / "study", recipe)
    with Study.open(tmp_path / "study") as study:
        asked = {x.question.id: x for x in study.store.asked(1)}
        pool = study.folder.read(1, "pair", codecs.questions(study.folder.read(1, "sample", codecs.DRAWS)))
    head, *judged = read_jsonl(tmp_path / "study/rounds/001/judged.jsonl")
    size, c = head["pool"], len(asked)
    expected = {}
    for row in judged:
        verdict = verdict_of(row)
        if row["asked"]:
            x = asked[row["pair_id"]]
            left, q = x.candidates_left, x.propensity
            assert left is not None and q is not None
            v = 1 + (size - c) / (left - 1) * (1 / (left * q) - 1)
            expected[row["pair_id"]] = np.array([v, 0.0]) / c - 0.5 * (v - c / size) / c * verdict
        else:
            expected[row["pair_id"]] = 0.5 * (1 - c / size) / 20 * verdict
    found = coefficients(seen[0], pool)
    assert found.keys() == {i for i, both in expected.items() if both.any()}
    for i, both in found.items():
        assert both == pytest.approx(expected[i], rel=1e-6, abs=1e-9)
    assert report["effective_sample_size"] < 6 and all(item.penalty >= 0 for item in seen[0])


def test_without_omega_it_is_people_alone(judged_recipe: dict[str, Any], tmp_path: Path) -> None:
    """Bit by bit, where every pair is as likely to be asked."""
    recipe = {**judged_recipe, "rounds": 1, "acquisition": {"name": "random"}, "control_fraction": 0.0}
    judged = {**recipe, "trainer": {**recipe["trainer"], "omega": 0.0}}
    (report,) = finished(tmp_path / "judged", judged)
    finished(tmp_path / "alone", {**recipe, "judged_pool": None})
    assert report["omega"] == report["judged_pairs"] == report["targets_outside"] == 0
    files = [tmp_path / name / "rounds/001/adapter/adapter_model.safetensors" for name in ("judged", "alone")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_as_people_adds_the_judge_s_labels(judged_recipe: dict[str, Any], tmp_path: Path, monkeypatch: Any) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(DPO, "train", lambda self, policy, items, *rest: seen.append(list(items)) or {})
    recipe = {**judged_recipe, "rounds": 1, "control_fraction": 0.0}
    recipe["trainer"] = {**recipe["trainer"], "judge": "as_people"}
    (report,) = finished(tmp_path / "study", recipe)
    (items,) = seen
    _, *judged = read_jsonl(tmp_path / "study/rounds/001/judged.jsonl")
    usable = [r for r in judged if not r["asked"] and r["a_first"]]
    assert report["judged_pairs"] == len(usable) == len(items) - 6
    assert {x.share for x in items if x.annotator == "ann"} == {1.0}
    # 0.8 when the longer is first, and 0.7 + 0.2/2 when it is second.
    assert [x.share for x in items if x.annotator != "ann"] == pytest.approx([0.8] * len(usable))


def test_judged_pairs_of_earlier_rounds_are_discounted(judged_recipe: dict[str, Any], tmp_path: Path) -> None:
    recipe = {**judged_recipe, "pool": "fixed"}
    recipe["judged_pool"] = {**recipe["judged_pool"], "worth": 0.36}
    with Study.create(tmp_path / "study", parse_recipe(recipe)) as study:
        study.ask()
        answer(study)
        study.update()
        stages = study.stages
        assert stages._judged_pools is not None
        judged, worth = stages._judged_pools.told(1)
        past = [x.question for x in study.store.asked()]
        draws = stages.sample(2, stages.prompts(2))
        candidates = stages.pair(2, draws, past)
        found = stages.choosing.features(2, 1, candidates, past, [])
        worthless = recipe | {"judged_pool": {**recipe["judged_pool"], "worth": 0.0}}
        other = type(stages)(parse_recipe(worthless), study.folder, study.progress)
        plain = other.choosing.features(2, 1, candidates, past, [])
    assert worth == 0.36
    assert found.past is not None and plain.past is not None and found.past.n == plain.past.n + len(judged)
    is_judged = np.array([q.id in judged for q in candidates])
    assert is_judged.any() and not is_judged.all()
    expected = plain.gradient_ND * np.where(is_judged, 0.8, 1.0)[:, None]  # type: ignore[operator]
    assert found.gradient_ND == pytest.approx(expected, rel=1e-5, abs=1e-7)
    by_id = dict(zip((q.id for q in candidates), np.asarray(plain.gradient_ND), strict=True))
    extra = [by_id[i] for i in found.past.pair_id_N[plain.past.n :].tolist()]
    assert found.past.gradient_ND is not None
    assert found.past.gradient_ND[plain.past.n :] == pytest.approx(0.6 * np.array(extra), rel=1e-4, abs=1e-6)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"control_fraction": 0.0}, "control_fraction` is 0: set it to 0.2"),
        ({"trainer": {"name": "dpo", "ties": "rao_kupper"}}, "trainer.ties` is rao_kupper"),
        ({"trainer": {"name": "dpo", "train": {"loss_type": "ipo"}}}, "A judge's labels need TRL's sigmoid loss"),
        ({"pairing": {"name": "in_prompt", "sets_of": 3}}, "questions have up to 3 responses"),
        (
            {"online": True, "trainer": {"name": "dpo", "accumulate": "round"}, "acquisition": "random"},
            "online, a round trains on the labels of one step",
        ),
    ],
)
def test_what_does_not_fit_is_refused(
    judged_recipe: dict[str, Any], tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    with (
        Study.create(tmp_path / "study", parse_recipe(judged_recipe | changes)) as study,
        pytest.raises(RecipeError, match=says),
    ):
        study.ask()


def test_a_recipe_with_a_judge_is_read_back(judged_recipe: dict[str, Any]) -> None:
    from duelist.recipe.recipe import recipe_content

    recipe = parse_recipe(judged_recipe)
    assert parse_recipe(json.loads(json.dumps(recipe_content(recipe)))) == recipe
