"""The votes that count: the last outcome of each annotator on each question, without missing values.

A skip is a missing value, and so are a judge's `inconsistent` and `unparsed`: they say nothing about the responses.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from duelist.errors import DataError
from duelist.labels import JUDGE_OUTCOMES
from duelist.types import Label

PREFERENCES = ("a", "b")
SKIP = "skip"
MISSING = frozenset({SKIP, *JUDGE_OUTCOMES})
MIRRORED = {"a": "b", "b": "a"}

Ballots = Mapping[str, Mapping[str, str]]


def mirrored(outcome: str) -> str:
    """Return the outcome that the same vote has if a and b change places."""
    return MIRRORED.get(outcome, outcome)


def ballots(votes: Iterable[Label]) -> dict[str, dict[str, str]]:
    """Return the outcomes that count, by question and annotator; both are sorted.

    If an annotator votes on a question more than once, the last vote counts, as in a study. If that is a missing value,
    the annotator has no vote on the question.

    Args:
        votes: labels in order of arrival. The order matters only between votes of one annotator on one question.

    Raises:
        DataError: if a label holds vote counts: nobody knows who cast them.
    """
    latest: dict[tuple[str, str], str] = {}
    for vote in votes:
        if vote.votes is not None:
            raise DataError(
                f"Statistics of people need one label per vote, but the label of pair {vote.pair_id} by "
                f"{vote.annotator} holds vote counts: leave such labels out."
            )
        latest[vote.pair_id, vote.annotator] = vote.outcome
    found: dict[str, dict[str, str]] = {}
    for (question, annotator), outcome in sorted(latest.items()):
        if outcome not in MISSING:
            found.setdefault(question, {})[annotator] = outcome
    return found


def has_overlap(votes: Iterable[Label]) -> bool:
    """Return whether the reliability of annotators can be fitted: some question has two votes, one of them a or b."""
    shared = [given for given in ballots(x for x in votes if x.votes is None).values() if len(given) > 1]
    return any(outcome in PREFERENCES for given in shared for outcome in given.values())


def shared_questions(found: Ballots) -> dict[str, int]:
    """Return by annotator, sorted, the number of questions on which another annotator has a vote too."""
    counts = dict.fromkeys(sorted({name for given in found.values() for name in given}), 0)
    for given in found.values():
        for annotator in given:
            counts[annotator] += len(given) > 1
    return counts
