"""Answers to questions of three or more responses: what they say, and what is refused before it can be recorded."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duelist.answers import REST, Answer, Retraction, ranks_of
from duelist.errors import DataError

IDS = ("r1", "r2", "r3", "r4")


def answer(**fields: Any) -> Answer:
    return Answer("q", "ann", **fields)


@pytest.mark.parametrize(
    ("asks", "fields", "ranks"),
    [
        ("ranking", {"ranking": ("r3", "r1", "r2", "r4")}, (1, 2, 0, 3)),
        ("ranking", {"ranking": ["r4", ["r3", "r1"], "r2"]}, (1, 2, 1, 0)),
        ("ranking", {"ranking": [["r1", "r2", "r3", "r4"]]}, (0, 0, 0, 0)),
        ("ranking", {"ranking": ["r2"], "stopped": True}, (REST, 0, REST, REST)),
        ("ranking", {"ranking": [("r2", "r4"), "r1"], "stopped": True}, (1, 0, REST, 0)),
        ("ranking", {"ranking": IDS, "stopped": True}, (0, 1, 2, 3)),
        ("best_of_k", {"best": "r3"}, (REST, REST, 0, REST)),
        ("best_worst", {"best": "r3", "worst": "r1"}, (2, 1, 0, 1)),
        *((asks, {"outcome": o}, None) for asks in ("ranking", "best_of_k", "best_worst") for o in ("skip", "all_bad")),
        ("ranking", {"outcome": "all_good", "shown": ("r4", "r3", "r2", "r1")}, None),
    ],
)
def test_the_ranks_that_an_answer_gives(asks: Any, fields: dict[str, Any], ranks: tuple[int, ...] | None) -> None:
    assert ranks_of(answer(**fields), asks, IDS) == ranks
    turned = ranks_of(answer(**fields), asks, IDS[::-1])
    assert turned == (None if ranks is None else ranks[::-1])


def test_numbers_and_truths_of_numpy_become_pythons_own() -> None:
    given_by_numpy = answer(ranking=["r2"], stopped=np.True_, adjudicates=np.False_, seconds=np.int64(3))
    own = answer(ranking=["r2"], stopped=True, seconds=3.0, id=given_by_numpy.id)
    assert given_by_numpy == own
    assert [type(x) for x in (given_by_numpy.stopped, given_by_numpy.adjudicates)] == [bool, bool]


@given(st.permutations(IDS), st.lists(st.booleans(), min_size=3, max_size=3), st.integers(1, 4))
def test_ranks_are_the_places_of_the_groups(order: list[str], splits: list[bool], named: int) -> None:
    groups: list[list[str]] = [[order[0]]]
    for split, response in zip(splits, order[1:named], strict=False):
        if split:
            groups.append([])
        groups[-1].append(response)
    ranks = ranks_of(answer(ranking=groups, stopped=True), "ranking", IDS)
    assert ranks is not None
    for response, rank in zip(IDS, ranks, strict=True):
        place = next((i for i, group in enumerate(groups) if response in group), REST)
        assert rank == place


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "if and only if its outcome is `decided`"),
        ({"outcome": "skip", "best": "r1"}, "if and only if its outcome is `decided`"),
        ({"outcome": "all_bad", "ranking": ["r1"]}, "if and only if its outcome is `decided`"),
        ({"outcome": "a", "best": "r1"}, "one of decided, skip, all_bad, all_good, but got 'a'"),
        ({"outcome": None, "best": "r1"}, "one of decided, skip, all_bad, all_good, but got None"),
        ({"outcome": np.array(["skip"])}, "one of decided, skip"),
        ({"ranking": ["r1", "r1"]}, "'r1' comes twice"),
        ({"ranking": ["r1", ["r2", "r1"]]}, "'r1' comes twice"),
        ({"best": "r1", "worst": "r1"}, "'r1' comes twice"),
        ({"ranking": ["r1", "r2"], "best": "r3"}, "but got both"),
        ({"worst": "r1"}, "needs a `best` one"),
        ({"best": "r1", "stopped": True}, "Only a `ranking` can be stopped"),
        ({"outcome": "skip", "stopped": True}, "Only a `ranking` can be stopped"),
        ({"ranking": ["r1"], "stopped": 1}, "must be true or false, but got 1"),
        ({"ranking": "r1"}, "must be a list of response ids"),
        ({"ranking": {"r1": 0, "r2": 1}}, "must be a list of response ids"),
        ({"ranking": None}, "must be a list of response ids"),
        ({"ranking": ["r1", []]}, "one is empty"),
        ({"ranking": [1, 2]}, "response must be text"),
        ({"ranking": [["r1", ["r2"]]]}, "response must be text"),
        ({"ranking": [{"r1", "r2"}]}, "response must be text"),
        ({"ranking": ["r1", " "]}, "response must be text"),
        ({"ranking": ["\ud800"]}, "half a surrogate pair"),
        ({"best": 3}, "response must be text"),
        ({"best": ""}, "response must be text"),
        ({"best": "r1", "worst": ["r2"]}, "response must be text"),
        ({"best": "r1", "shown": "r1r2"}, "`shown` must list response ids"),
        ({"best": "r1", "shown": 7}, "`shown` must list response ids"),
        ({"best": "r1", "shown": [1, 2]}, "response must be text"),
        ({"best": "r1", "shown": ["r1", "r2", "r1"]}, "'r1' comes twice"),
        ({"best": "r1", "seconds": -1.0}, "seconds must be a finite number"),
        ({"best": "r1", "seconds": float("nan")}, "seconds must be a finite number"),
        ({"best": "r1", "time": "yesterday"}, "must be ISO 8601"),
        ({"best": "r1", "time": "2026-01-31T12:00:00"}, "time zone"),
        ({"best": "r1", "replaces": ""}, "replaces must be text"),
        ({"best": "r1", "replaces": 4}, "replaces must be text"),
        ({"best": "r1", "id": 5}, "id must be text"),
        ({"best": "r1", "annotator": ""}, "annotator must be text"),
    ],
)
def test_an_answer_that_cannot_be_recorded_is_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        Answer(**{"question_id": "q", "annotator": "ann", **fields})


@pytest.mark.parametrize(
    ("asks", "fields", "said"),
    [
        ("ranking", {"ranking": ("r1", "r2", "r3", "r9")}, "'r9' is not one of question q"),
        ("ranking", {"ranking": ("r1", "r2", "r3")}, "'r4' is missing: add it, or set `stopped=True`"),
        ("ranking", {"best": "r1"}, "asks for an `Answer` with `ranking`, but got an `Answer` with `best`"),
        ("ranking", {"best": "r1", "worst": "r2"}, "with `ranking`, but got an `Answer` with `best` and `worst`"),
        ("best_of_k", {"best": "r9"}, "'r9' is not one of question q"),
        ("best_of_k", {"best": "r1", "worst": "r2"}, "asks for an `Answer` with `best`, but got"),
        ("best_of_k", {"ranking": IDS}, "asks for an `Answer` with `best`, but got an `Answer` with `ranking`"),
        ("best_worst", {"best": "r1"}, "asks for an `Answer` with `best` and `worst`, but got"),
        ("best_worst", {"best": "r1", "worst": "r9"}, "'r9' is not one of question q"),
        ("best_worst", {"ranking": IDS}, "asks for an `Answer` with `best` and `worst`, but got"),
        ("ranking", {"ranking": IDS, "shown": IDS[:3]}, "`shown` must list the 4 responses"),
        ("ranking", {"outcome": "skip", "shown": (*IDS[:3], "r9")}, "`shown` must list the 4 responses"),
    ],
)
def test_an_answer_that_does_not_answer_the_question_is_refused(asks: Any, fields: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        ranks_of(answer(**fields), asks, IDS)


def test_an_answer_is_one_act_with_an_id_of_its_own() -> None:
    one, other = answer(best="r1"), answer(best="r1")
    assert one.id and one.id != other.id
    assert answer(ranking=["r1", ["r2", "r3"]], id="x") == answer(ranking=(("r1",), ("r2", "r3")), id="x")
    plain = answer(best=np.str_("r1"), seconds=np.float64(2), id="x")
    assert (type(plain.best), type(plain.seconds)) == (str, float)
    assert hash(answer(ranking=[["r1", "r2"], "r3"], shown=["r1", "r2", "r3"], id="x")) is not None


@pytest.mark.parametrize("name", ["question_id", "annotator", "retracts", "id"])
def test_a_retraction_names_what_it_takes_back(name: str) -> None:
    fields = {"question_id": "q", "annotator": "ann", "retracts": "x", "id": "y"}
    assert Retraction(**fields).retracts == "x"
    for value in ("", None, 3):
        with pytest.raises(DataError, match=f"A retraction's {name} must be text"):
            Retraction(**(fields | {name: value}))  # type: ignore[arg-type]
