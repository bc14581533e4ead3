"""Votes made by hand, by simulated people of known accuracy, and by Hypothesis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st

from duelist.labels import recorded_label
from duelist.types import Label

PLAIN = {"better": None, "adjudicates": False, "judgement": None, "advisory": False}
OUTCOMES = ("a", "b", "tie", "both_bad", "both_good", "skip")


def vote(question: str, annotator: str, outcome: str, shown: str | None = None, seconds: float | None = None) -> Label:
    values: dict[str, Any] = {"pair_id": question, "annotator": annotator, "outcome": outcome, "id": "1"}
    return recorded_label(values | PLAIN | {"shown": shown, "seconds": seconds, "time": None, "votes": None})


def votes_on(table: Mapping[str, str]) -> list[Label]:
    """Votes of annotators 0, 1 ... by question, as letters: a, b, t(ie), x (both bad), s(kip), `.` for no vote."""
    names = {"a": "a", "b": "b", "t": "tie", "x": "both_bad", "s": "skip"}
    return [vote(q, str(i), names[o]) for q, letters in table.items() for i, o in enumerate(letters) if o != "."]


def swapped(votes: Sequence[Label], questions: set[str]) -> list[Label]:
    """The same votes after a and b of these questions have changed places."""
    other = {"a": "b", "b": "a", "ab": "ba", "ba": "ab"}
    return [
        vote(v.pair_id, v.annotator, other.get(v.outcome, v.outcome), other.get(v.shown or "", v.shown), v.seconds)
        if v.pair_id in questions
        else v
        for v in votes
    ]


def renamed(votes: Sequence[Label]) -> list[Label]:
    """The same votes under names, of people and questions, that sort the other way round."""
    people, questions = (sorted({getattr(v, key) for v in votes}) for key in ("annotator", "pair_id"))
    person, question = (
        {name: f"n{len(names) - i:03d}" for i, name in enumerate(names)} for names in (people, questions)
    )
    return [vote(question[v.pair_id], person[v.annotator], v.outcome, v.shown, v.seconds) for v in votes]


@st.composite
def elections(draw: st.DrawFn, outcomes: Sequence[str] = OUTCOMES) -> list[Label]:
    """Up to eight questions and four people, at most one vote of each on each."""
    people, questions = draw(st.integers(1, 4)), draw(st.integers(1, 8))
    one = st.none() | st.tuples(st.sampled_from(outcomes), st.sampled_from(["ab", "ba", None]), st.floats(0.5, 90))
    cells = draw(st.lists(one, min_size=people * questions, max_size=people * questions))
    return [vote(f"q{i // people}", f"p{i % people}", *cell) for i, cell in enumerate(cells) if cell is not None]


def crowd(accuracies: Sequence[float], questions: int, seed: int, share: float = 1.0) -> tuple[list[Label], list[str]]:
    """People of known accuracy who vote a or b, each on a random `share` of the questions; and the truth."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(["a", "b"], size=questions)
    votes = [
        vote(f"q{q:04d}", f"p{i}", right if rng.random() < accuracy else {"a": "b", "b": "a"}[right])
        for q, right in enumerate(truth.tolist())
        for i, accuracy in enumerate(accuracies)
        if rng.random() < share
    ]
    return votes, truth.tolist()
