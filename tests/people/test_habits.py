"""Habits of annotators: position bias on simulated people, speed, repeats and gold questions."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from voters import elections, renamed, swapped, vote

from duelist.errors import DataError
from duelist.people.habits import gold_accuracy, holm, position, self_consistency, speed
from duelist.people.intervals import clopper_pearson, proportion
from duelist.types import Label

QUESTIONS = [f"q{i}" for i in range(8)]


def chooser(name: str, first: float, votes: int, rng: np.random.Generator) -> list[Label]:
    """A person who takes the response shown first with this probability; a fair coin decides which one that is."""
    shown = rng.choice(["ab", "ba"], size=votes).tolist()
    takes_first = (rng.random(votes) < first).tolist()
    return [
        vote(f"q{i}", name, s[0] if f else s[1], s) for i, (s, f) in enumerate(zip(shown, takes_first, strict=True))
    ]


def test_a_person_who_always_takes_the_left_is_found() -> None:
    votes = chooser("left", 1.0, 400, np.random.default_rng(0))
    assert 160 <= sum(v.outcome == "a" for v in votes) <= 240
    found = position(votes)["left"]
    assert found.biased and found.first == proportion(400, 400)


def studies_with_bias(people: int, studies: int) -> int:
    """Number of simulated studies in which a person is reported, though nobody is biased, of 94 votes a person."""
    rng = np.random.default_rng(people)
    votes = [[v for i in range(people) for v in chooser(f"p{i}", 0.5, 94, rng)] for _ in range(studies)]
    return sum(any(p.biased for p in position(v).values()) for v in votes)


def test_an_unbiased_person_is_reported_in_five_per_cent_of_studies() -> None:
    level = 2 * stats.binom.cdf(37, 94, 0.5)  # of the exact test, which few numbers of votes bring so close to 5 %
    assert level == pytest.approx(0.0495, abs=1e-4)
    interval = stats.binomtest(studies_with_bias(1, 400), 400).proportion_ci(0.99)
    assert interval.low <= level <= interval.high and interval.high < 0.1


def test_more_unbiased_people_do_not_make_more_reports() -> None:
    reported = studies_with_bias(8, 40)
    assert reported > 0 and stats.binomtest(reported, 40, 0.05, "greater").pvalue > 0.01


def test_bias_is_reported_if_the_interval_widened_by_holms_factor_excludes_one_half() -> None:
    rng = np.random.default_rng(2)
    for _ in range(50):
        people = {f"p{i}": rng.uniform(0.3, 0.7) for i in range(5)}
        votes = [v for name, first in people.items() for v in chooser(name, first, 80, rng)]
        found = position(votes)
        by_p = sorted(found, key=lambda name: -abs(found[name].first.value - 0.5))
        rejected = True
        for rank, name in enumerate(by_p):
            hits = round(80 * found[name].first.value)
            low, high = clopper_pearson(hits, 80, level=1 - 0.05 / (5 - rank))
            rejected = rejected and not low <= 0.5 <= high
            assert found[name].biased == rejected


def test_the_same_bias_needs_more_votes_among_more_people() -> None:
    rng = np.random.default_rng(3)
    biased = [vote(f"q{i}", "p", "a", "ab" if i < 62 else "ba") for i in range(100)]
    others = [v for i in range(20) for v in chooser(f"o{i}", 0.5, 100, rng)]
    assert position(biased)["p"].biased and not position([*biased, *others])["p"].biased


def test_votes_that_show_no_position_are_left_out() -> None:
    votes = [
        vote("q1", "p", "a"),
        vote("q2", "p", "tie", "ab"),
        vote("q3", "p", "skip", "ba"),
        vote("q4", "r", "b", "ba"),
    ]
    assert list(position(votes)) == ["r"]


def test_holm_is_bonferroni_step_by_step() -> None:
    assert holm({"x": 0.04, "y": 0.01, "z": 0.03}) == pytest.approx({"x": 0.06, "y": 0.03, "z": 0.06})
    assert holm({"x": 0.9, "y": 0.8}) == {"x": 1.0, "y": 1.0} and holm({}) == {}


@given(votes=elections(), questions=st.sets(st.sampled_from(QUESTIONS)), shuffle=st.randoms(use_true_random=False))
def test_sides_order_and_names_change_nothing(votes: list[Label], questions: set[str], shuffle: Random) -> None:
    repeats = [*votes, *(vote(v.pair_id, v.annotator, "a") for v in votes)]
    for measure, base in ((position, votes), (speed, votes), (self_consistency, repeats)):
        turned = renamed(swapped(base, questions))
        shuffle.shuffle(turned)
        assert list(measure(turned).values())[::-1] == list(measure(base).values())  # type: ignore[operator]


def test_speed_is_the_median_of_timed_votes() -> None:
    votes = [vote(f"q{i}", "p", "tie", seconds=float(i)) for i in range(1, 12)]
    found = speed(
        [*votes, vote("q", "p", "skip", seconds=1000.0), vote("r", "p", "a"), vote("q", "r", "skip", seconds=1.0)]
    )
    assert list(found) == ["p"] and (found["p"].value, found["p"].low, found["p"].high, found["p"].n) == (6, 2, 10, 11)


def test_consistency_compares_votes_of_one_person_on_one_question() -> None:
    votes = [vote("q1", "p", "a", "ab"), vote("q1", "p", "a", "ba"), vote("q2", "p", "tie"), vote("q2", "p", "b")]
    votes += [vote("q3", "p", "a"), vote("q3", "p", "skip"), vote("q1", "r", "b"), vote("q2", "r", "b")]
    found = self_consistency(votes)
    assert list(found) == ["p"] and (found["p"].value, found["p"].n) == (0.5, 2)
    three = self_consistency([vote("q", "p", o) for o in "aab"])["p"]
    assert (three.value, three.n) == (pytest.approx(1 / 3), 3)


def test_gold_accuracy_is_over_known_answers() -> None:
    gold = {f"q{i}": "a" for i in range(9)} | {"both": "both_bad", "unseen": "b"}
    votes = [vote(f"q{i}", "p", "a" if i else "b") for i in range(9)] + [vote("both", "p", "both_bad")]
    votes += [vote("q0", "r", "skip"), vote("other", "s", "a"), vote("q1", "p", "b")]
    assert gold_accuracy(votes, gold) == {"p": proportion(8, 10)}
    with pytest.raises(DataError, match="question q has 'skip'"):
        gold_accuracy([], {"q": "skip"})
