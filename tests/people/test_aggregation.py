"""Training shares of several votes by each rule, and what never becomes a preference."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from voters import crowd, elections, swapped, vote, votes_on

from duelist.errors import DataError
from duelist.people.aggregation import AggregationRule, TrainingShare, aggregate
from duelist.people.reliability import dawid_skene
from duelist.types import Label

QUESTIONS = [f"q{i}" for i in range(8)]
PLAIN: list[AggregationRule] = ["majority", "soft", "every"]
EVERY_RULE: list[AggregationRule] = [*PLAIN, "reliability"]


def item(letters: str, rule: AggregationRule, ties: bool = False) -> list[tuple[str, float, float]]:
    return [(i.chosen, i.share, i.weight) for i in aggregate(votes_on({"q": letters}), rule, ties)["q"]]


@pytest.mark.parametrize(
    ("letters", "expected"),
    [
        ("a", [("a", 1, 1)]),
        ("bab", [("b", 1, 1)]),
        ("bass", []),
        ("ab", []),
        ("aabx", [("a", 1, 1)]),
        ("axx", []),
        ("att", []),
        ("aatt", []),
    ],
)
def test_majority_needs_strictly_the_most_votes(letters: str, expected: list[tuple[str, float, float]]) -> None:
    assert item(letters, "majority") == expected


def test_soft_is_the_share_of_votes_with_ties_half_each_way() -> None:
    assert item("bab", "soft") == [("b", pytest.approx(2 / 3), 1)]
    assert item("ab", "soft") == [("a", 0.5, 1)]
    assert item("bbt", "soft") == [("b", pytest.approx(2.5 / 3), 1)]
    assert item("axs", "soft") == [("a", 1, 1)]


def test_every_vote_is_an_item_of_its_annotator() -> None:
    found = aggregate(votes_on({"q": "batxs"}), "every")["q"]
    assert found == [TrainingShare("b", 1.0, 1.0, ("0",)), TrainingShare("a", 1.0, 1.0, ("1",))]


@pytest.mark.parametrize("rule", EVERY_RULE)
def test_ties_give_items_only_if_asked_for(rule: AggregationRule) -> None:
    votes = votes_on({"q": "t", "other": "tt", "one": "aa", "two": "bb"})
    assert aggregate(votes, rule)["q"] == []
    [half] = aggregate(votes, rule, ties=True)["q"]
    assert (half.chosen, half.share) == ("a", pytest.approx(0.5))


@pytest.mark.parametrize("rule", PLAIN)
@given(votes=elections(), ties=st.booleans())
def test_what_nobody_prefers_never_becomes_a_preference(rule: AggregationRule, votes: list[Label], ties: bool) -> None:
    found = aggregate(votes, rule, ties)
    deciding = {"a", "b", "tie"} if ties else {"a", "b"}
    for question in {v.pair_id for v in votes}:
        outcomes = {v.outcome for v in votes if v.pair_id == question}
        assert (question in found) == (outcomes != {"skip"})
        if not outcomes & deciding:
            assert found.get(question, []) == []
        for one in found.get(question, []):
            assert 0.5 <= one.share <= 1 and one.weight == 1


@pytest.mark.parametrize("rule", PLAIN)
@given(votes=elections(), questions=st.sets(st.sampled_from(QUESTIONS)), ties=st.booleans())
def test_swapping_sides_swaps_the_choice(
    rule: AggregationRule, votes: list[Label], questions: set[str], ties: bool
) -> None:
    found, turned = aggregate(votes, rule, ties), aggregate(swapped(votes, questions), rule, ties)
    assert list(found) == list(turned)
    for question, items in found.items():
        for one, other in zip(items, turned[question], strict=True):
            assert one.share == pytest.approx(other.share) and one.weight == other.weight
            same = one.chosen == other.chosen
            assert one.share == 0.5 or same == (question not in questions)


@given(elections(["a", "b"]))
def test_soft_loses_what_its_votes_lose_on_average(votes: list[Label]) -> None:
    margin = 0.7
    loss = {"a": math.log1p(math.exp(-margin)), "b": math.log1p(math.exp(margin))}
    for question, [one] in aggregate(votes, "soft").items():
        given_ = [v.outcome for v in votes if v.pair_id == question]
        other = "b" if one.chosen == "a" else "a"
        mean = sum(loss[o] for o in given_) / len(given_)
        assert one.share * loss[one.chosen] + (1 - one.share) * loss[other] == pytest.approx(mean)
        assert one.share == pytest.approx(max(Counter(given_).values()) / len(given_))


def test_reliability_never_prefers_where_nobody_does() -> None:
    """A posterior gives every outcome some probability, also where all people said otherwise."""
    votes = votes_on({"q1": "abx", "q2": "aat", "q3": "bbb", "q4": "ttx", "q5": "xs.", "q6": "t..", "q7": "a.."})
    found, with_ties = aggregate(votes, "reliability"), aggregate(votes, "reliability", ties=True)
    assert [q for q, items in found.items() if items] == ["q1", "q2", "q3", "q7"]
    assert [q for q, items in with_ties.items() if items] == ["q1", "q2", "q3", "q4", "q6", "q7"]
    assert all(0.5 <= i.share <= 1 and 0 < i.weight <= 1 + 1e-9 for [i] in filter(None, with_ties.values()))


def test_reliability_is_the_expected_preference_under_the_posterior() -> None:
    decided, _ = crowd([0.9, 0.8, 0.6], 20, seed=1)
    votes = [v if i % 9 else vote(v.pair_id, v.annotator, "tie") for i, v in enumerate(decided)]
    fit, found, halves = dawid_skene(votes), aggregate(votes, "reliability"), aggregate(votes, "reliability", ties=True)
    assert fit is not None
    for question, [one] in found.items():
        p = fit.posterior[question]
        other = "b" if one.chosen == "a" else "a"
        assert one.weight * one.share == pytest.approx(p[one.chosen]) and one.weight == pytest.approx(p["a"] + p["b"])
        assert p[one.chosen] >= p[other]
        [half] = halves[question]
        assert half.weight * half.share == pytest.approx(p[half.chosen] + p["tie"] / 2)


def test_a_reliable_person_outweighs_two_who_guess() -> None:
    votes, _ = crowd([0.97, 0.9, 0.52, 0.5], 40, seed=7)
    last = [vote("q", "p0", "a"), vote("q", "p2", "b"), vote("q", "p3", "b")]
    assert aggregate(last, "majority")["q"][0].chosen == "b"
    assert aggregate([*votes, *last], "reliability")["q"][0].chosen == "a"


def test_an_unknown_rule_and_a_reliability_without_overlap_are_refused() -> None:
    with pytest.raises(DataError, match="majority, soft, every, reliability, but got 'mean'"):
        aggregate([], "mean")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="raise the overlap, or use"):
        aggregate(votes_on({"q1": "a"}), "reliability")
