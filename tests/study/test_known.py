"""Preferences known before round 1: they count into V, train, and cost no budget.

`test_resume` kills a study that has some.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from duelist import Label, Study, load_recipe, parse_recipe
from duelist.data.prompts import PromptSet
from duelist.errors import DataError, RecipeError
from duelist.preflight.examination import examine
from duelist.recipe.recipe import recipe_content
from duelist.report.page import write_report
from duelist.report.status import status
from duelist.store.artifacts import read_jsonl
from duelist.study.known import known_preferences, plain_encode
from duelist.types import Features, GivenResponses, Preference, Prompt, Question

Row = dict[str, Any]


def user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def preference(i: int, chosen: str = "w1 w2", rejected: str = "w3 w4 w5", **more: Any) -> Row:
    """A preference on the i-th prompt of the tests' file."""
    answers = {k: [{"role": "assistant", "content": v}] for k, v in (("chosen", chosen), ("rejected", rejected))}
    return {"prompt": user(f"w{i} w{7 * i % 40}"), **answers, **more}


def written(path: Path, rows: Sequence[Row]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def held_out(recipe: dict[str, Any]) -> set[int]:
    """The numbers of the prompts that a recipe holds out."""
    from duelist.data.prompts import load_prompts

    parsed = parse_recipe(recipe)
    found = load_prompts(parsed.prompts, parsed.seed).held_out
    return {int(p.messages[0]["content"].split()[0][1:]) for p in found}


@pytest.fixture
def training(tiny_recipe: dict[str, Any]) -> list[int]:
    """Numbers of prompts that are trained on."""
    return sorted(set(range(30)) - held_out(tiny_recipe))


@pytest.fixture
def rows(training: list[int]) -> list[Row]:
    """Eight preferences: seven on prompts of the study, one on a prompt of its own."""
    texts = [(f"w{i} w{i + 3}", f"w{2 * i} w9 w{i + 1}") for i in range(7)]
    known = [preference(training[i], chosen, rejected) for i, (chosen, rejected) in enumerate(texts)]
    return [*known, {**preference(0), "prompt": user("w39 w38")}]


@pytest.fixture
def recipe(tiny_recipe: dict[str, Any], rows: list[Row], tmp_path: Path) -> dict[str, Any]:
    return {**tiny_recipe, "known": {"path": written(tmp_path / "known.jsonl", rows)}}


def round_one(study: Study) -> tuple[list[Question], Features]:
    """The candidates and features of round 1, before its selection."""
    stages = study.stages
    stages.measure_initial_model()
    past = [x.question for x in study.store.asked()]
    candidates = stages.pair(1, stages.sample(1, stages.prompts(1)), past)
    return candidates, stages.featurize(1, candidates, past)


def greedy(phi_ND: NDArray[Any], past_PD: NDArray[Any], budget: int, relative: float = 0.01) -> list[int]:
    """The largest ‖φ‖ in the inverse of V = λI + Σφφᵀ over past pairs and picks, each V made anew."""
    phi, past = phi_ND.astype(float), list(past_PD.astype(float))
    regularizer, picks = relative * (phi**2).sum(1).mean(), list[int]()
    for _ in range(budget):
        every = np.array([*past, *(phi[i] for i in picks)]).reshape(-1, phi.shape[1])
        inverse = np.linalg.inv(regularizer * np.eye(phi.shape[1]) + every.T @ every)
        scores = np.einsum("nd,de,ne->n", phi, inverse, phi)
        scores[picks] = -np.inf
        picks.append(int(scores.argmax()))
    return picks


def test_known_pairs_count_into_V(recipe: dict[str, Any], tmp_path: Path) -> None:
    small = {**recipe, "featurizers": {"margin": {}, "gradient": {"dimension": 64}}}
    with Study.create(tmp_path / "with", parse_recipe(small)) as study:
        candidates, features = round_one(study)
        known = [x.question for x in study.store.asked(0)]
        assert len(known) == 8 and features.past is not None
        assert features.gradient_ND is not None and features.past.gradient_ND is not None
        assert features.past.pair_id_N.tolist() == [q.id for q in known]
        assert np.abs(features.past.gradient_ND).sum(1).min() > 0, "also of the prompt that is not the study's"
        asked = [q.id for q in study.ask().questions]
    expected = greedy(features.gradient_ND, features.past.gradient_ND, 6)
    assert asked == [candidates[i].id for i in expected]
    without = greedy(features.gradient_ND, features.past.gradient_ND[:0], 6)
    assert asked != [candidates[i].id for i in without], "the known pairs change what is asked"
    with Study.create(tmp_path / "without", parse_recipe({**small, "known": None})) as study:
        assert [q.id for q in study.ask().questions] == [candidates[i].id for i in without]


def given(i: int) -> Row:
    return {"prompt": f"w{i} ", "chosen": f"w{i + 1} w3", "rejected": f"w9 w{i + 2}"}


def test_nothing_is_asked_that_is_known(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    """Ten given pairs, of which four are known: a round of six asks exactly the others."""
    data = [given(i) for i in range(10)]
    known = [{**data[0], "annotator": "ann"}, *data[3:6]]
    recipe = tiny_recipe | {
        "rounds": 1,
        "prompts": {"path": written(tmp_path / "data.jsonl", data)},
        "known": {"path": written(tmp_path / "known.jsonl", known)},
        "sampler": {"name": "dataset"},
        "pairing": {"name": "as_given"},
        "acquisition": {"name": "random"},
        "evaluation": {},
    }
    with Study.create(tmp_path / "study", parse_recipe(recipe)) as study:
        batch = study.ask()
        asked = {batch.prompts[q.a.prompt_id].as_trl() for q in batch.questions}
        assert asked == {row["prompt"] for row in data} - {row["prompt"] for row in known}
        assert {x.annotator for x in study.store.labels()} == {"ann", "known"}


@pytest.mark.parametrize("accumulate", ["all", pytest.param("round", marks=pytest.mark.full)])
def test_the_trainer_trains_on_them_and_they_cost_nothing(
    recipe: dict[str, Any], rows: list[Row], accumulate: str, tmp_path: Path
) -> None:
    recipe = {**recipe, "acquisition": {"name": "random"}}
    recipe["trainer"] = {**recipe["trainer"], "accumulate": accumulate}
    seen: list[list[Preference]] = []
    folder = tmp_path / "study"
    with Study.create(folder, parse_recipe(recipe)) as study:
        trainer = study.stages.components.trainer
        train = trainer.train

        def watched(model: Any, data: Sequence[Preference], *args: Any) -> Any:
            seen.append(list(data))
            return train(model, data, *args)

        trainer.train = watched  # type: ignore[method-assign]
        study.run()
        first, second = ({p.pair_id: (p.chosen.text, p.rejected.text) for p in items} for items in seen)
        known = {x.question.id for x in study.store.asked(0)}
        texts = {(r["chosen"][0]["content"], r["rejected"][0]["content"]) for r in rows}
        assert {first[i] for i in known} == texts and len(first) == len(study.store.decisions(0)) + len(
            study.store.decisions(1)
        )
        assert second.keys() == {p.pair_id for p in study.store.decisions(None if accumulate == "all" else 2)}
        decided = len(study.store.decisions())  # ties make none
        assert {x.margin for x in study.store.asked(0)} == {0.0}, "the implicit reward of the reference itself"
    preferences = read_jsonl(folder / "preferences.jsonl")
    assert len(preferences) == decided > 16
    assert [rows[7]["prompt"]] == [r["prompt"] for r in preferences if r["prompt"] == user("w39 w38")]
    metrics = read_jsonl(folder / "metrics.jsonl")
    assert [(m["labels"], m["asked"], m["responses"]) for m in metrics] == [(0, 0, 0), (6, 6, 12), (12, 12, 24)]
    assert status(folder)["labels"] == 12
    page = write_report(folder).read_text()
    assert "8 preferences" in page and "12 labels" in page


@pytest.mark.full
def test_margins_are_those_of_the_model_that_round_one_begins_with(
    recipe: dict[str, Any], tiny_recipe: dict[str, Any], tmp_path: Path
) -> None:
    with Study.create(tmp_path / "first", parse_recipe(tiny_recipe)) as study:
        study.run()
    start = {**recipe["policy"], "initial_adapter": str(tmp_path / "first" / "adapter")}
    with Study.create(tmp_path / "second", parse_recipe({**recipe, "policy": start})) as study:
        study.ask()
        assert all(x.margin != 0 for x in study.store.asked(0))


@pytest.mark.full
def test_they_are_part_of_the_first_step_online_and_of_its_replay(
    tiny_recipe: dict[str, Any], rows: list[Row], tmp_path: Path
) -> None:
    train = {k: v for k, v in tiny_recipe["trainer"]["train"].items() if k != "num_train_epochs"}
    recipe = tiny_recipe | {
        "trainer": {"name": "dpo", "accumulate": "round", "train": {**train, "learning_rate": 1.0e-2}},
        "online": True,
        "checkpoint_every": 2,
        "known": {"path": written(tmp_path / "known.jsonl", rows)},
    }
    weights = []
    for name in ("undisturbed", "reopened"):
        study = Study.create(tmp_path / name, parse_recipe(recipe))
        batch = study.ask()
        study.tell([Label(q.id, "x", "a", id=q.id) for q in batch.questions])
        assert study.update().training["preferences"] == 8 + 6
        if name == "reopened":  # the step since the checkpoint is taken again
            study.close()
            study = Study.open(tmp_path / name)
        study.run()
        study.close()
        weights.append((tmp_path / name / "adapter/adapter_model.safetensors").read_bytes())
    assert weights[0] == weights[1]


def test_a_reward_model_trains_on_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUELIST_CACHE", str(tmp_path / "cache"))
    small = ["rounds=1", "budget=12", "prepare.settings={prompts: 30, responses: 4, held_out: 8}"]
    recipe = load_recipe("reward-quickstart", small)
    with Study.create(tmp_path / "first", recipe) as study:
        data = read_jsonl(Path(study.stages.components.recipe.prompts.path))
    known = [{"prompt": r["prompt"], "chosen": r["responses"][0], "rejected": r["responses"][1]} for r in data[:9]]
    content = recipe_content(recipe) | {"known": {"path": written(tmp_path / "known.jsonl", known)}}
    with Study.create(tmp_path / "study", parse_recipe(content)) as study:
        batch = study.ask()
        of_known = {x.question.id: x for x in study.store.asked(0)}
        assert len(of_known) == 9 and not of_known.keys() & {q.id for q in batch.questions}
        study.run()
        assert study.folder.stage(1, "train").info["preferences"] == 9 + 12  # type: ignore[union-attr]


TRAINED, HELD = (Prompt.of(user(text)) for text in ("w1 w7", "w2 w14"))
PROMPTS = PromptSet((TRAINED,), (HELD,), GivenResponses({}, {}))
WRONG: dict[str, tuple[Row, str]] = {
    "held out": ({"prompt": HELD.as_trl()}, "held out for the evaluation"),
    "plain": ({"prompt": "w1", "chosen": "w1", "rejected": "w2"}, "prompts are messages, but this one is plain"),
    "contradiction": (preference(1, "w3 w4 w5", "w1 w2"), "'known' prefers the other response"),
    "equal": (preference(1, "w1", "w1"), "must differ"),
    "no rejected": ({"rejected": None}, "needs `chosen` and `rejected`"),
    "weight": ({"weight": -1}, "positive number"),
    "annotator": ({"annotator": "half a pair \ud83d"}, "annotator"),
    "another weight": ({"weight": 2}, "has one weight"),
    "share": ({"share": 0.7}, "share of the votes is 0.7"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_rows_that_cannot_be_used_are_named_and_the_others_kept(wrong: str) -> None:
    change, message = WRONG[wrong]
    rows = [("line 1", preference(1)), ("line 2", {**preference(1), **change}), ("line 3", preference(1, "w8", "w9"))]
    found = known_preferences(rows, PROMPTS, plain_encode)
    (problem,) = found.problems
    assert problem.where == "line 2" and message in problem.message
    assert len(found.pairs) == len(found.labels) == 2
    assert {(q.round, q.weight, q.drawn_from) for q in found.pairs} == {(0, 1.0, ("dataset", "dataset"))}


def test_a_prompt_of_the_study_keeps_its_columns() -> None:
    """Reward functions read them; the known rows have others."""
    own = Prompt.of(user("w1 w7"), {"kind": 3})
    prompts = PromptSet((own,), (), GivenResponses({}, {}))
    found = known_preferences([("line 1", preference(1, source="x"))], prompts, plain_encode)
    assert found.prompts[own.id].columns == {"kind": 3}


def test_the_preflight_names_them_too(tiny_recipe: dict[str, Any], training: list[int], tmp_path: Path) -> None:
    rows = [preference(training[0]), preference(training[0], chosen=" ".join(["w1"] * 80))]
    recipe = {**tiny_recipe, "known": {"path": written(tmp_path / "known.jsonl", rows)}}
    with pytest.raises(DataError, match=r"1 of .* are not: line 2 .* context of 64 tokens"):
        examine(parse_recipe(recipe))


def test_a_study_that_only_read_them_begins_anew_with_another_recipe(
    recipe: dict[str, Any], rows: list[Row], tmp_path: Path
) -> None:
    """They are read again; what was imported otherwise is there alone, and is not thrown away."""
    fewer = {**recipe, "known": {"path": written(tmp_path / "fewer.jsonl", rows[:3])}}
    with Study.create(tmp_path / "study", parse_recipe(recipe)) as study:
        study.stages.measure_initial_model()
    with Study.create(tmp_path / "study", parse_recipe(fewer)) as study:
        assert study.store.asked() == []
        assert study.import_labels(rows[3:4]).known == 1
        assert len(study.store.asked(0)) == 4
    with pytest.raises(RecipeError, match="has asked 0 pairs, with 1 labels"):
        Study.create(tmp_path / "study", parse_recipe(recipe))


def test_an_empty_file_is_refused(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="at least one row"):
        examine(parse_recipe({**tiny_recipe, "known": {"path": written(tmp_path / "known.jsonl", [])}}))


def test_weights_ties_and_repeated_rows(tiny_recipe: dict[str, Any], training: list[int], tmp_path: Path) -> None:
    rows = [
        preference(training[0], weight=3, annotator="ann"),
        preference(training[0], weight=3, annotator="ann"),
        preference(training[0], weight=3, annotator="bob", chosen="w3 w4 w5", rejected="w1 w2"),
        preference(training[1], share=0.5),
    ]
    recipe = {**tiny_recipe, "known": {"path": written(tmp_path / "known.jsonl", rows)}}
    with Study.create(tmp_path / "study", parse_recipe(recipe)) as study:
        study.ask()
        asked = study.store.asked(0)
        assert sorted(x.question.weight for x in asked) == [1, 3]
        assert sorted((x.annotator, x.outcome == "tie") for x in study.store.labels()) == [
            ("ann", False),
            ("bob", False),
            ("known", True),
        ]
    ipo = {**recipe, "trainer": {"name": "dpo", "train": {"loss_type": "ipo"}}}
    with Study.create(tmp_path / "ipo", parse_recipe(ipo)) as study, pytest.raises(RecipeError, match="loss weights"):
        study.ask()
