"""Win rates by a judge, computed by hand and on simulated judges."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from scipy.special import expit

from duelist.evaluation.metrics import measure
from duelist.evaluation.win_rates import WinRates, judge_outputs, win_rates
from duelist.judgement import Judgement, Opinion
from duelist.judges.base import Comparison, Judge
from duelist.progress import Progress, Silent
from duelist.types import Prompt

A, B, EQUAL = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)


class Simulated(Judge):
    """Judge by a function of the texts in the order displayed, which gives the probability of the first."""

    name = "simulated"

    def __init__(self, first_wins: Callable[[str, str], float]) -> None:
        self.first_wins = first_wins
        self.asked: list[Comparison] = []

    def judge(self, comparisons: Sequence[Comparison], seed: int, progress: Progress) -> list[Judgement]:
        self.asked += comparisons

        def opinion(p: float) -> Opinion:
            return p, 1 - p, 0.0

        return [
            Judgement(opinion(self.first_wins(c.a, c.b)), opinion(1 - self.first_wins(c.b, c.a)), 10, 1, 0.5)
            for c in comparisons
        ]


def rates(judge: Judge, outputs: Sequence[str], references: Sequence[str]) -> WinRates:
    prompts = [Prompt.of(f"Prompt {i}") for i in range(len(outputs))]
    judgements = judge_outputs(judge, prompts, outputs, references, seed=0, progress=Silent())
    return win_rates(judgements, outputs, references, [p.id for p in prompts], None, 0)


def test_every_number_by_hand() -> None:
    judgements = [
        Judgement(A, A, 5, 1, 0.25),  # won
        Judgement(A, B),  # the first shown, twice: contradiction
        Judgement((0.2, 0.5, 0.3), (0.1, 0.6, 0.3), 7, 2, 0.5),  # lost
        Judgement(EQUAL, EQUAL),  # a tie
        Judgement(A, None, 3, 0, 0.0),  # unusable
        None,  # equal texts
    ]
    found = win_rates(judgements, ["x"] * 6, ["y"] * 6, [str(i) for i in range(6)], None, 0)
    assert found.weighted is not None and found.discrete is not None
    assert found.weighted.value == pytest.approx((1 + 0.5 + (0.35 + 0.25) / 2 + 0.5 + 0.5) / 5)
    assert found.discrete.value == pytest.approx((1 + 0.5 + 0 + 0.5 + 0.5) / 5)
    assert found.weighted.n == 5 and found.unparsed == 1 and found.inconsistent == 1 / 4
    assert found.tokens == 18 and found.cost == 0.75


def test_the_intervals_are_those_of_a_bootstrap_over_prompts() -> None:
    """Four comparisons of each prompt are alike: the interval is as wide as that of the prompts."""
    rng = np.random.default_rng(0)
    p_R = np.repeat(rng.random(25), 4)
    judgements = [Judgement((p, 1 - p, 0.0), (p, 1 - p, 0.0)) for p in p_R.tolist()]
    ids = [str(i // 4) for i in range(100)]
    found = win_rates(judgements, ["x"] * 100, ["y"] * 100, ids, None, 0).weighted
    assert found is not None
    means = np.array([rng.choice(p_R[::4], 25).mean() for _ in range(20_000)])
    np.testing.assert_allclose([found.low, found.high], np.quantile(means, [0.025, 0.975]), atol=0.02)
    assert win_rates(judgements, ["x"] * 100, ["y"] * 100, ids, None, 0).weighted == found  # seeded
    alone = win_rates(judgements[:4], ["x"] * 4, ["y"] * 4, ids[:4], None, 0).weighted
    assert alone is not None and (alone.low, alone.high) == (0, 1)  # one prompt tells nothing of others


def test_equal_texts_are_ties_and_cost_nothing() -> None:
    judge = Simulated(lambda a, b: 1.0)
    found = rates(judge, ["same"] * 6, ["same"] * 6)
    for estimate in (found.weighted, found.discrete, found.length_controlled):
        assert estimate is not None and (estimate.value, estimate.low, estimate.high) == (0.5, 0.5, 0.5)
    assert not judge.asked and found.inconsistent is None and found.tokens == found.cost == 0


def test_equal_models_give_one_half() -> None:
    """Outputs of one distribution, judged by a quality that the judge sees with noise."""
    rng = np.random.default_rng(1)
    outputs, references = ([f"{x:.9f}" for x in rng.normal(size=800)] for _ in range(2))
    found = rates(Simulated(lambda a, b: float(expit(3 * (float(a) - float(b))))), outputs, references)
    for estimate in (found.weighted, found.discrete, found.length_controlled):
        assert estimate is not None and estimate.low < 0.5 < estimate.high and estimate.high - estimate.low < 0.09


def test_both_orders_cancel_a_judge_that_takes_the_first() -> None:
    outputs, references = [f"long {i}" for i in range(20)], [f"other one {i}" for i in range(20)]
    found = rates(Simulated(lambda a, b: 0.9), outputs, references)
    assert found.weighted is not None and found.discrete is not None
    assert found.weighted.value == pytest.approx(0.5) and found.discrete.value == 0.5 and found.inconsistent == 1


def test_a_judge_that_only_likes_length_is_corrected() -> None:
    rng = np.random.default_rng(2)
    outputs, references = (["x" * int(n) for n in rng.lognormal(mean, 0.6, 400)] for mean in (5.3, 5.0))
    found = rates(Simulated(lambda a, b: float(expit((len(a) - len(b)) / 60))), outputs, references)
    assert found.weighted is not None and found.length_controlled is not None
    assert found.weighted.low > 0.58
    assert found.length_controlled.value == pytest.approx(0.5, abs=0.02)


def test_without_a_usable_verdict_nothing_is_measured_but_what_it_cost() -> None:
    found = win_rates([Judgement(None, A, 9, 0, 0.1)], ["x"], ["y"], ["p"], None, 0)
    assert found == WinRates(None, None, None, None, 1, 9, 0.1)
    metrics = {k: v for k, v in measure("policy", {"judged": found}).items() if v is not None}
    assert metrics == {"judge_unparsed": 1, "judge_tokens": 9, "judge_cost": 0.1}
