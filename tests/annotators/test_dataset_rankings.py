"""Rankings looked up in a data set: by what it says of all responses, of more than these, or of every two of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from duelist.annotators.dataset_labels import DatasetLabels, DatasetLabelsConfig
from duelist.errors import DataError
from duelist.progress import Silent
from duelist.types import Batch, Label, Prompt, Question, Response

PROMPT = Prompt.of("which?")
BY_TEXT = {text: Response.of(PROMPT, text, [1], [ord(text[0]), 2], 1) for text in "vwxyz"}


def question(texts: str, asks: Any = "ranking") -> Question:
    return Question.of([BY_TEXT[t] for t in texts], asks, 1)


def row(ranking: Any, texts: str = "wxyz", **rest: Any) -> dict[str, Any]:
    return {"responses": list(texts), "ranking": ranking, **rest}


def better(a: str, b: str, label: str = "a", **rest: Any) -> dict[str, Any]:
    return {"response_a": a, "response_b": b, "label": label, **rest}


@pytest.fixture
def look_up(tmp_path: Path) -> Any:
    """What rows like these say of a question: (who, what) of each answer, with texts for ids."""

    def look(asked: Question, *rows: dict[str, Any]) -> list[tuple[str, Any]]:
        path = tmp_path / "labels.jsonl"
        path.write_text("".join(json.dumps({"prompt": "which?", **one}) + "\n" for one in rows))
        annotator = DatasetLabels(DatasetLabelsConfig(path=str(path)))
        found = annotator.annotate(Batch(1, (asked,), {PROMPT.id: PROMPT}, (0.0,), ""), 0, Silent())
        return [(x.annotator, in_texts(x)) for x in found]

    return look


def in_texts(answer: Any) -> Any:
    if isinstance(answer, Label):
        return answer.outcome
    text = {r.id: r.text for r in BY_TEXT.values()}
    if answer.groups:
        said = " > ".join("=".join(sorted(text[r] for r in group)) for group in answer.groups)
        return said + (" > ..." if answer.stopped else "")
    if answer.best is None:
        return answer.outcome
    return text[answer.best] + (f" ... {text[answer.worst]}" if answer.worst else "")


@pytest.mark.parametrize(
    ("asked", "rows", "said"),
    [
        (question("wxyz"), [row([2, 0, 3, 1])], "y > w > z > x"),
        (question("wxyz"), [row([[2], [0, 3], [1]])], "y > w=z > x"),
        (question("wxyz"), [row([2, [0, 3], 1])], "y > w=z > x"),
        (question("wyz"), [row([2, 0, 3, 1])], "y > w > z"),
        (question("wz", "ranking"), [row([2, 0, 3, 1])], "ab"),
        (question("wxyz"), [row([2, 0])], "y > w > ..."),
        (question("wxyz"), [row([2, 0, 1])], "y > w > x > z"),
        (question("wxz"), [row([2, 0])], "w > ..."),
        (question("wxy"), [row([2, 0])], "y > w > x"),
        (question("vwx"), [row([2, 0, 3, 1, 4], "wxyzv")], "w > x > v"),
        (question("xyz"), [better("x", "y"), better("z", "y", "b"), better("x", "z")], "x > y > z"),
        (question("xyz"), [better("x", "y", "tie"), better("z", "y"), better("x", "z", "b")], "z > x=y"),
        (question("xyz"), [{"chosen": "x", "rejected": "z"}, better("y", "x"), better("y", "z")], "y > x > z"),
        (question("xyz"), [better("x", "y"), better("y", "z"), better("z", "x")], "skip"),
        (question("xyz"), [better("x", "y", "tie"), better("y", "z", "tie"), better("z", "x")], "skip"),
        (question("xyz"), [row([0, 1, 2, 3]), better("x", "y", "b"), better("y", "z"), better("x", "z")], "x > y > z"),
        (question("wxyz", "best_of_k"), [row([2, 0, 3, 1])], "y"),
        (question("wxyz", "best_of_k"), [row([[2, 0], 3, 1])], "skip"),
        (question("wxyz", "best_of_k"), [row([2])], "y"),
        (question("xz", "best_of_k"), [row([2, 0, 3, 1])], "ab"),
        (question("wxyz", "best_worst"), [row([2, 0, 3, 1])], "y ... x"),
        (question("wxyz", "best_worst"), [row([2, [0, 3], 1])], "y ... x"),
        (question("wxyz", "best_worst"), [row([2, 0, [3, 1]])], "skip"),
        (question("wxyz", "best_worst"), [row([2, 0])], "skip"),
        (question("wxyz", "best_worst"), [row([2, 0, 1])], "y ... z"),
        (question("xyz", "best_worst"), [better("x", "y"), better("y", "z"), better("x", "z")], "x ... z"),
    ],
)
def test_what_a_data_set_says_of_a_set(look_up: Any, asked: Question, rows: list[dict[str, Any]], said: str) -> None:
    ((who, found),) = look_up(asked, *rows)
    if said == "ab":  # a pair; the ranking y > w > z > x orders it
        said = "a" if "ywzx".index(asked.a.text) < "ywzx".index(asked.b.text) else "b"
    assert (who, found) == ("dataset", said)


def test_a_ranking_that_names_none_of_a_pair_says_nothing_of_it(look_up: Any) -> None:
    with pytest.raises(DataError, match="must have a label"):
        look_up(question("xz"), row([2, 0]))
    assert look_up(question("xyz"), row([0], "wxyz")) == [("dataset", "skip")]
    ((_, tie),) = look_up(question("xz"), row([0, [1, 3], 2]))
    assert tie == "tie"


def test_several_annotators_each_have_their_answer(look_up: Any) -> None:
    rows = [row([0, 1, 2, 3], annotator="cy"), row([3, 2, 1, 0], annotator="al"), row([1, 0], annotator="bo")]
    expected = [("al", "z > y > x > w"), ("bo", "x > w > ..."), ("cy", "w > x > y > z")]
    assert look_up(question("wxyz"), *rows) == expected
    pairs = [better("x", "y", annotator="di"), better("y", "z", annotator="di"), better("x", "z", annotator="al")]
    assert look_up(question("xyz"), *rows, *pairs)[0] == ("al", "z > y > x")


@pytest.mark.parametrize("last", [row([3, 2, 1, 0]), row([3, 2, 1, 0, 4], "wxyzv")])
def test_of_one_annotator_s_rankings_the_last_row_s_counts(look_up: Any, last: dict[str, Any]) -> None:
    first = [row([0, 1, 2, 3]), row([1, 0, 2, 3, 4], "wxyzv")]
    assert look_up(question("wxy"), *first, last) == [("dataset", "y > x > w")]


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [row(None)],
        [row([0, 1, 2], "wxy")],
        [better("x", "y"), better("y", "z")],
        [better("x", "y"), better("y", "z", annotator="another"), better("x", "z")],
        [better("x", "y"), better("y", "z", "skip"), better("x", "z")],
        [row([0, 1, 2, 3], prompt="another")],
    ],
    ids=["nothing", "no ranking", "a part of it", "a pair too few", "two people", "a skip", "another prompt"],
)
def test_an_answer_that_nobody_gave_is_never_invented(look_up: Any, rows: list[dict[str, Any]]) -> None:
    with pytest.raises(DataError, match=r"neither a `ranking` there nor a label for each of its pairs"):
        look_up(question("xyz"), *rows)


@pytest.mark.parametrize(
    ("ranking", "texts", "said"),
    [
        ([0, 4], "wxyz", "must list positions of the row's 4 responses from 0"),
        ([-1, 0], "wxyz", "must list positions"),
        ([0, 0, 1], "wxyz", "each at most once"),
        ([0, [1, 0]], "wxyz", "each at most once"),
        ([], "wxyz", "must list positions"),
        ([0, []], "wxyz", "must list positions"),
        (["w", "x"], "wxyz", "must list positions"),
        ([True, False], "wxyz", "must list positions"),
        ([0.0, 1.0], "wxyz", "must list positions"),
        ("0123", "wxyz", "must list positions"),
        ({"0": 1}, "wxyz", "must list positions"),
        (2, "wxyz", "must list positions"),
        ([0, 1, 2], "wxw", "cannot order equal texts, but that of line 2 .* places 'w' twice"),
    ],
)
def test_a_ranking_that_cannot_be_used_is_refused_with_its_row(
    look_up: Any, ranking: Any, texts: str, said: str
) -> None:
    with pytest.raises(DataError, match=said) as caught:
        look_up(question("wxy"), row([0, 1, 2, 3]), row(ranking, texts))
    assert "line 2" in str(caught.value)


def test_equal_texts_that_are_ranked_alike_are_one_response(look_up: Any) -> None:
    assert look_up(question("wxy"), row([3, [0, 2], 1], "wxwy")) == [("dataset", "y > w > x")]
