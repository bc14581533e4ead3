"""Agreement against formulas written here, and what it must not depend on: sides, order and names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations, permutations
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from voters import crowd, elections, renamed, swapped, vote, votes_on

from duelist.errors import DataError, ModelError
from duelist.people.agreement import krippendorff_alpha, pairwise_agreement
from duelist.people.intervals import Estimate, clopper_pearson
from duelist.types import Label

QUESTIONS = [f"q{i}" for i in range(8)]


def by_question(votes: Sequence[Label]) -> list[list[str]]:
    found: dict[str, list[str]] = {}
    for v in votes:
        if v.outcome != "skip":
            found.setdefault(v.pair_id, []).append(v.outcome)
    return [outcomes for outcomes in found.values() if len(outcomes) > 1]


def alpha_by_pairs(votes: Sequence[Label]) -> float | None:
    """1 − D_o / D_e, both by enumeration of ordered pairs of votes (Krippendorff 2011, eq. 1 and 2)."""
    other = {"a": "b", "b": "a"}
    units = by_question(votes)
    units += [[other.get(o, o) for o in unit] for unit in units]
    values = [o for unit in units for o in unit]
    observed = sum(sum(x != y for x, y in permutations(unit, 2)) / (len(unit) - 1) for unit in units)
    expected = sum(x != y for x, y in permutations(values, 2))
    return 1 - observed / len(values) / (expected / (len(values) * (len(values) - 1))) if expected else None


@given(elections())
def test_alpha_is_krippendorffs_formula_on_both_orientations(votes: list[Label]) -> None:
    found, expected = krippendorff_alpha(votes, resamples=100), alpha_by_pairs(votes)
    assert (found is None) == (expected is None)
    if found is not None:
        assert found.value == pytest.approx(expected, abs=1e-12) and found.n == len(by_question(votes))


@given(elections())
def test_pairwise_agreement_counts_pairs_of_votes(votes: list[Label]) -> None:
    pairs = [pair for unit in by_question(votes) for pair in combinations(unit, 2)]
    found = pairwise_agreement(votes)
    assert (found is None) == (not pairs)
    if found is not None:
        assert found.value == pytest.approx(sum(x == y for x, y in pairs) / len(pairs)) and found.n == len(pairs)
        assert 0 <= found.low <= found.value <= found.high <= 1


@pytest.mark.parametrize("measure", [pairwise_agreement, krippendorff_alpha])
@given(votes=elections(), questions=st.sets(st.sampled_from(QUESTIONS)), shuffle=st.randoms(use_true_random=False))
def test_sides_order_and_names_change_nothing(
    measure: Callable[..., Estimate | None], votes: list[Label], questions: set[str], shuffle: Random
) -> None:
    shuffled = list(votes)
    shuffle.shuffle(shuffled)
    found = measure(votes)
    for same in (swapped(votes, questions), shuffled, renamed(votes)):
        again = measure(same)
        assert (again is None) == (found is None)
        if found is not None and again is not None:
            expected = pytest.approx((found.value, found.low, found.high), abs=1e-12)
            assert (again.value, again.low, again.high) == expected and again.n == found.n


def test_alpha_of_people_who_agree_and_of_people_who_guess() -> None:
    alike, random = votes_on({"q1": "aa", "q2": "bb", "q3": "tt"}), crowd([0.5] * 3, 400, seed=3)[0]
    assert krippendorff_alpha(alike) == Estimate(1.0, 1.0, 1.0, 3)
    found = krippendorff_alpha(random)
    assert found is not None and found.low < 0 < found.high and abs(found.value) < 0.06


def test_always_taking_the_same_letter_is_not_agreement() -> None:
    """Ordinary α of votes that are all a is undefined, and of nearly all a it is near 0: the letters are arbitrary."""
    found = krippendorff_alpha(votes_on({f"q{i}": "aa" for i in range(20)} | {"q": "ab"}))
    assert found is not None and found.value > 0.8


def test_what_has_no_agreement_is_none() -> None:
    for votes in ([], votes_on({"q1": "a", "q2": "bs"})):
        assert pairwise_agreement(votes) is None and krippendorff_alpha(votes) is None
    ties = votes_on({"q1": "tt", "q2": "tt"})
    assert krippendorff_alpha(ties) is None
    assert pairwise_agreement(ties) == Estimate(1.0, *clopper_pearson(2, 2), 2)


def test_agreement_on_a_slice_uses_its_questions_only() -> None:
    votes = votes_on({"q1": "aa", "q2": "ab", "q3": "bb", "q4": "ba"})
    slice_votes = [v for v in votes if v.pair_id in {"q1", "q2"}]
    for measure in (pairwise_agreement, krippendorff_alpha):
        assert measure(votes, ["q1", "q2", "never asked"]) == measure(slice_votes) != measure(votes)


def test_the_bootstrap_resamples_questions() -> None:
    """Against a bootstrap written here that draws questions one by one and uses the formula above."""
    votes = crowd([0.9, 0.8, 0.6], 30, seed=5)[0]
    found = krippendorff_alpha(votes, seed=1, resamples=2000)
    rng, questions = np.random.default_rng(0), sorted({v.pair_id for v in votes})
    alphas = []
    for _ in range(200):
        drawn = rng.choice(questions, size=len(questions))
        copies = [(f"{i}", v) for i, q in enumerate(drawn) for v in votes if v.pair_id == q]
        alphas.append(alpha_by_pairs([vote(question, v.annotator, v.outcome) for question, v in copies]))
    low, high = np.quantile(np.array(alphas, dtype=float), [0.025, 0.975])
    assert found is not None and (found.low, found.high) == pytest.approx((low, high), abs=0.06)


def test_resamples_depend_on_the_seed_and_not_on_the_sides() -> None:
    """Of questions with unequal numbers of votes, whose α takes so many values that other resamples show."""
    votes, _ = crowd([0.9, 0.8, 0.7, 0.6, 0.5], 80, seed=2, share=0.6)
    found, other = krippendorff_alpha(votes, seed=1), krippendorff_alpha(votes, seed=2)
    again = krippendorff_alpha(swapped(votes, {v.pair_id for v in votes[::3]}), seed=1)
    assert found is not None and again is not None and other is not None
    assert (again.low, again.high) == pytest.approx((found.low, found.high), abs=1e-12)
    assert (other.low, other.high) != pytest.approx((found.low, found.high), abs=1e-12)


def test_resamples_without_variation_are_left_out() -> None:
    found = krippendorff_alpha(votes_on({"q1": "tt", "q2": "aa"}), resamples=200)
    assert found == Estimate(1.0, 1.0, 1.0, 2)


def test_few_resamples_are_refused() -> None:
    with pytest.raises(DataError, match="at least 100, but got 99"):
        krippendorff_alpha([], resamples=99)


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("duelist.people.libraries.find_spec", {"krippendorff": None}.__getitem__)
    with pytest.raises(ModelError, match=r"α needs the library krippendorff.*`pip install krippendorff`.*`annotate`"):
        krippendorff_alpha(votes_on({"q1": "ab"}))
