"""A label says what was decided, in values that can be recorded: anything else is refused when it is made."""

from __future__ import annotations

import copy
import pickle
from datetime import UTC, datetime
from enum import StrEnum
from types import NoneType
from typing import Any

import numpy as np
import pytest

from duelist import Label, Votes
from duelist.errors import DataError


class Side(StrEnum):
    A = "a"


def label(**changes: Any) -> Label:
    return Label(**{"pair_id": "p", "annotator": "ann", "outcome": "a", **changes})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        *(({"annotator": x}, "annotator must be text") for x in (b"x", 123, None, "", "  ", ["ann"], True)),
        *(({"pair_id": x}, "pair_id must be text") for x in (b"x", 1, None, "")),
        *(({"id": x}, "id must be text") for x in (5, 0, None, b"x", " ")),
        *(
            ({"outcome": x}, "outcome must be one of a, b, tie")
            for x in ("A", "", None, 1, ["a"], np.array(["a", "b"]))
        ),
        *(({"adjudicates": x}, "`adjudicates` must be true or false") for x in ("false", 1, None)),
        *(({"seconds": x}, "seconds must be a finite") for x in (float("inf"), float("nan"), -1, -0.5, "3", True)),
        *(({"seconds": x}, "seconds must be a finite") for x in (np.float32("nan"), np.bool_(True), 10**400, b"1")),
        *(({"shown": x}, "shown must be one of ab, ba") for x in ("zz", "", "AB", 0, b"ab", ("a", "b"))),
        *(({"votes": x}, "votes must be `Votes`") for x in (Votes(1.5, "x"), Votes(-3, 2), (3, 2), {"n_a": 3})),  # type: ignore[arg-type]
        *(({"votes": Votes(*x)}, "votes must be `Votes`") for x in ((True, 0), (2**63, 0), (None, 1), (1, 0, None))),
        *(({"votes": Votes(*x)}, "votes must be `Votes`") for x in ((float("nan"), 0), (float("inf"), 0), (1, 0.5))),
        ({"outcome": "a", "votes": Votes(0, 5)}, "must not contradict its votes"),
        ({"outcome": "b", "votes": Votes(np.int64(3), 2, 9)}, "must not contradict its votes"),  # type: ignore[arg-type]
        *(({"time": x}, "time must be ISO 8601") for x in ("2026-13-01", "yesterday", "", 5, b"2026")),
        ({"time": "0001-01-01T00:00:00+14:00"}, "time must be ISO 8601"),
        ({"time": "2026-01-31\ud80012:00:00+00:00"}, "time must be ISO 8601"),
        *(
            ({"time": x}, "time must say its time zone")
            for x in ("2026-01-31T12:00:00", "2026-01-31", datetime(2026, 1, 1))
        ),
        *(({x: "half \ud800"}, "has half a surrogate pair") for x in ("annotator", "pair_id", "id")),
    ],
    ids=repr,
)
def test_what_cannot_be_recorded_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=f"A label's .*{said}") as caught:
        label(**changes)
    assert ": " in str(caught.value)  # what fixes it


@pytest.mark.parametrize(
    ("outcome", "votes"),
    [
        ("a", (2, 2)),
        ("b", (2, 2, 5)),
        ("tie", (5, 0)),
        ("skip", (0, 5)),
        ("both_bad", (1, 2)),
        ("a", (0, 0)),
        ("b", (1, 2)),
    ],
)
def test_only_a_choice_with_fewer_votes_contradicts_them(outcome: Any, votes: tuple[int, ...]) -> None:
    assert label(outcome=outcome, votes=Votes(*votes)).votes == Votes(*votes)


def test_values_become_python_s_own() -> None:
    made = label(
        pair_id=np.str_("p"),
        annotator=np.str_("ann"),
        outcome=Side.A,
        id=np.str_("mine"),
        seconds=np.float32(2.5),
        shown=np.str_("ab"),
        time=datetime(2026, 1, 31, 12, tzinfo=UTC),
        votes=Votes(np.int64(3), 2.0, np.uint8(1)),  # type: ignore[arg-type]
    )
    assert made == Label("p", "ann", "a", "mine", 2.5, "ab", "2026-01-31T12:00:00+00:00", Votes(3, 2, 1))
    kinds = [str, str, str, str, float, str, str, Votes, NoneType, bool, NoneType, bool]
    assert [type(value) for value in vars(made).values()] == kinds
    assert [type(n) for n in vars(made.votes).values()] == [int] * 3
    assert type(label(seconds=3).seconds) is float and label(seconds=np.int64(0)).seconds == 0.0


def test_a_label_without_an_id_is_an_act_of_its_own_and_stays_it_when_copied() -> None:
    one, other = label(), label()
    assert one.id != other.id and len(one.id) == 32
    assert pickle.loads(pickle.dumps(one)) == copy.deepcopy(one) == copy.copy(one) == one != other


@pytest.mark.parametrize("wrong", [{"judgement": {"a_first": None, "b_first": None}}, {"advisory": "False"}], ids=str)
def test_what_a_judge_says_is_checked_too(wrong: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=f"A label's `?{next(iter(wrong))}`? must be"):
        Label("p", "judge", "a", **wrong)
