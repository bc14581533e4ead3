"""Which votes count, and that votes of unknown people are refused."""

from __future__ import annotations

import pytest
from voters import vote, votes_on

from duelist.errors import DataError
from duelist.people.votes import ballots, mirrored, shared_questions
from duelist.types import Label, Votes


def test_the_last_vote_of_a_person_on_a_question_counts_and_skips_do_not() -> None:
    votes = [vote("q2", "z", "a"), vote("q2", "y", "b"), vote("q1", "z", "tie"), vote("q2", "z", "both_good")]
    found = ballots([*votes, vote("q1", "y", "a"), vote("q1", "y", "skip"), vote("q3", "y", "skip")])
    assert found == {"q1": {"z": "tie"}, "q2": {"y": "b", "z": "both_good"}}
    assert list(found) == ["q1", "q2"] and list(found["q2"]) == ["y", "z"]


def test_a_mirror_swaps_a_and_b_only() -> None:
    assert [mirrored(o) for o in ("a", "b", "tie", "both_bad")] == ["b", "a", "tie", "both_bad"]


def test_shared_questions_have_votes_of_others() -> None:
    assert shared_questions(ballots(votes_on({"q1": "ab", "q2": "a.s", "q3": "t.x"}))) == {"0": 2, "1": 1, "2": 1}


def test_vote_counts_are_refused() -> None:
    with pytest.raises(DataError, match="pair q by crowd holds vote counts: leave"):
        ballots([Label("q", "crowd", "a", votes=Votes(3, 1))])
