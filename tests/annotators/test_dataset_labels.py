"""Labels looked up in a data set: sides, votes, several annotators, missing rows."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from duelist import Study, parse_recipe
from duelist.annotators.dataset_labels import DatasetLabels, DatasetLabelsConfig
from duelist.errors import DataError
from duelist.progress import Silent
from duelist.types import Batch, Label, Prompt, Question, Response, Votes

PROMPT = Prompt.of("which?")


def pair(a: str, b: str) -> Question:
    """The pair with these sides."""
    x, y = (Response.of(PROMPT, text, [1], [ord(text[0]), 2], 1) for text in (a, b))
    return dataclasses.replace(Question.pair(x, y, 1), responses=(x, y))


@pytest.fixture
def labels_of(tmp_path: Path) -> Any:
    """Labels that rows like these give a pair."""

    def look_up(asked: Question, *rows: dict[str, Any]) -> list[Label]:
        path = tmp_path / "labels.jsonl"
        path.write_text("".join(json.dumps({"prompt": "which?", **row}) + "\n" for row in rows))
        annotator = DatasetLabels(DatasetLabelsConfig(path=str(path)))
        return annotator.annotate(Batch(1, (asked,), {PROMPT.id: PROMPT}, (0.0,), ""), 0, Silent())

    return look_up


def ab(label: str | None = None, **rest: Any) -> dict[str, Any]:
    return {"response_a": "x", "response_b": "y", "label": label, **rest}


@pytest.mark.parametrize(
    ("row", "outcome", "votes"),
    [
        ({"chosen": "x", "rejected": "y"}, "a", None),
        ({"chosen": "y", "rejected": "x"}, "b", None),
        ({"chosen": "y", "rejected": "x", "responses": ["x", "y"]}, "b", None),
        ({"chosen": "y", "rejected": "x", "responses": ["x", "z", "y"]}, "b", None),
        (ab("a"), "a", None),
        (ab("b"), "b", None),
        (ab("tie"), "tie", None),
        (ab("skip"), "skip", None),
        (ab("both_bad"), "both_bad", None),
        ({"response_a": "y", "response_b": "x", "label": "a"}, "b", None),
        (ab(n_a=3, n_b=1), "a", Votes(3, 1)),
        (ab(n_a=1, n_b=3, n_eq=2), "b", Votes(1, 3, 2)),
        (ab(n_a=2, n_b=2, n_eq=1), "tie", Votes(2, 2, 1)),
        (ab(n_a=2, n_b=1, n_eq=3), "tie", Votes(2, 1, 3)),
        ({"response_a": "y", "response_b": "x", "n_a": 4, "n_b": 1, "n_eq": 0}, "b", Votes(1, 4, 0)),
    ],
)
def test_what_a_row_says_of_a_pair(labels_of: Any, row: dict[str, Any], outcome: str, votes: Votes | None) -> None:
    (label,) = labels_of(pair("x", "y"), row)
    assert (label.outcome, label.votes, label.annotator) == (outcome, votes, "dataset")
    # Asked the other way round, it says the same of the same texts.
    asked = pair("x", "y")
    (turned,) = labels_of(dataclasses.replace(asked, responses=(asked.b, asked.a)), row)
    assert turned.outcome == {"a": "b", "b": "a"}.get(outcome, outcome)
    assert turned.votes == (votes and Votes(votes.n_b, votes.n_a, votes.n_eq))


def test_several_annotators_each_have_their_label(labels_of: Any) -> None:
    rows = [ab("a", annotator="Ann"), ab("tie", annotator="Bob"), {"chosen": "y", "rejected": "x", "annotator": "Cy"}]
    found = labels_of(pair("x", "y"), *rows)
    assert {(label.annotator, label.outcome) for label in found} == {("Ann", "a"), ("Bob", "tie"), ("Cy", "b")}
    assert len({label.id for label in found}) == 3


def test_of_one_annotator_s_decisions_the_last_row_s_counts(labels_of: Any) -> None:
    changed = [ab("a", annotator="Ann"), {"response_a": "y", "response_b": "x", "label": "a", "annotator": "Ann"}]
    assert [label.outcome for label in labels_of(pair("x", "y"), *changed)] == ["b"]
    assert [label.outcome for label in labels_of(pair("x", "y"), *reversed(changed))] == ["a"]


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [{"chosen": "x", "rejected": "z"}],
        [ab(None)],
        [ab(n_a=0, n_b=0, n_eq=0)],
        [{"prompt": "another", "chosen": "x", "rejected": "y"}],
        [{"responses": ["x", "y"], "label": None}],
    ],
    ids=["nothing", "another response", "no decision", "nobody voted", "another prompt", "no order"],
)
def test_a_label_that_nobody_gave_is_never_invented(labels_of: Any, rows: list[dict[str, Any]]) -> None:
    with pytest.raises(DataError, match=r"must have a label in .*labels\.jsonl, but pair .* \('x' against 'y'\)"):
        labels_of(pair("x", "y"), *rows)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (ab("A"), "must be one of a, b, tie, skip, both_bad, both_good, but that of line 1 of .* is 'A'"),
        (ab(n_a=-1, n_b=2), r"Votes must be counts of people, but those of line 1 .* \[-1, 2, 0\]"),
        (ab(n_a=0.5, n_b=2), "Votes must be counts"),
        (ab(n_a="many", n_b=2), "Votes must be counts"),
    ],
)
def test_what_is_no_decision_is_refused_with_its_row(labels_of: Any, row: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        labels_of(pair("x", "y"), row)


@pytest.fixture
def labelled(tmp_path: Path, tiny_recipe: dict[str, Any]) -> tuple[Path, dict[str, Any]]:
    """A data set of 20 decided pairs, and a recipe that spends 2 x 4 labels on it without drawing a response."""
    path = tmp_path / "labelled.jsonl"
    rows = []
    for i in range(20):
        said = [[{"role": "assistant", "content": f"w{i} w{(3 * i + k) % 40}"}] for k in (1, 2)]
        rows.append({"prompt": [{"role": "user", "content": f"w{i}"}], "chosen": said[0], "rejected": said[1]})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = tiny_recipe | {
        "budget": 4,
        "prompts": {"path": str(path), "held_out": 4},
        "sampler": "dataset",
        "pairing": "as_given",
        "annotator": {"name": "dataset_labels", "path": str(path)},
        "evaluation": {"max_new_tokens": 4},
    }
    return path, recipe


def test_a_study_on_labels_that_exist_already(labelled: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    path, recipe = labelled
    with Study.create(tmp_path / "study", parse_recipe(recipe)) as study:
        study.run()
        asked = study.store.asked()
        # Which of the two is called a says nothing of who was chosen: it must not be one side always.
        outcomes = {label.outcome for label in study.store.labels()}
    assert len({x.question.id for x in asked}) == 8
    assert outcomes == {"a", "b"}
    assert {x.question.drawn_from for x in asked} == {("dataset", "dataset")}
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    exported = [json.loads(line) for line in (tmp_path / "study" / "preferences.jsonl").read_text().splitlines()]
    assert len(exported) == 8
    assert all(row in rows for row in exported)


def test_a_missing_label_stops_the_study_until_it_is_there(
    labelled: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    path, recipe = labelled
    labels = tmp_path / "labels.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    labels.write_text("".join(lines[:2]))
    recipe["annotator"]["path"] = str(labels)
    with Study.create(tmp_path / "study", parse_recipe(recipe)) as study:
        with pytest.raises(DataError, match="must have a label"):
            study.run()
        assert study.store.labels() == []
        assert len(study.unanswered()) == 4
    labels.write_text("".join(lines))
    with Study.open(tmp_path / "study") as study:
        study.run()
        assert (len(study.store.asked()), len(study.store.answered()), study.store.rounds_closed()) == (8, 8, 2)


def test_several_annotators_of_a_pair_have_labels_of_their_own_and_the_same_ones_again(labels_of: Any) -> None:
    rows = [ab("a", annotator="ann"), ab("b", annotator="bob")]
    labels = labels_of(pair("x", "y"), *rows)
    assert len({label.id for label in labels}) == 2
    assert labels_of(pair("x", "y"), *rows) == labels
    changed = labels_of(pair("x", "y"), ab("b", annotator="ann"))
    assert [label.id for label in changed] == [labels[0].id]  # another decision by that name is a conflict, not an echo
