"""The prediction-powered loss against its definition: the mean over every sample that could have been drawn."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np
import pytest

from duelist.choice_models.prediction_powered import (
    FOLDS,
    PoolSample,
    coefficients,
    judge_worth,
    share_and_weight,
    tuned_omegas,
)

POOL = 6
PEOPLE_N2 = np.array([[1, 0], [1, 0], [0, 1], [0.5, 0.5], [0, 0], [0, 1]], float)  # the fifth: no preference
JUDGE_N2 = np.array([[1, 0], [0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.7, 0.3], [0, 0]])  # of the last: no verdict
PHI_ND = np.random.default_rng(0).normal(size=(POOL, 3))
MARGIN_N = PHI_ND @ np.array([0.4, -0.7, 0.2])


def gradient(coefficient_N2: np.ndarray) -> np.ndarray:
    """The gradient in θ of Σ c_a (−log σ(m)) + c_b (−log σ(−m)), m = φ·θ."""
    p_N = 1 / (1 + np.exp(-MARGIN_N))
    return np.asarray((-coefficient_N2[:, 0] * (1 - p_N) + coefficient_N2[:, 1] * p_N) @ PHI_ND)


def samples(certain: list[int], drawn: int, further: int) -> Iterator[tuple[list[int], list[int]]]:
    """Every control sample of the pairs that are not taken for certain, with every sample that is only judged."""
    rest = [i for i in range(POOL) if i not in certain]
    for control in combinations(rest, drawn):
        for judged in combinations([i for i in rest if i not in control], further):
            yield list(control), list(judged)


def sample_of(
    certain: list[int], control: list[int], judged: list[int], unanswered: tuple[int, ...] = ()
) -> PoolSample:
    asked = [*certain, *control]
    return PoolSample(
        POOL,
        np.array([i in certain for i in asked]),
        np.array([i not in unanswered for i in asked]),
        np.where(np.isin(asked, unanswered)[:, None], 0.0, PEOPLE_N2[asked]),
        JUDGE_N2[asked],
        MARGIN_N[asked],
        np.arange(len(asked)) % FOLDS,
        JUDGE_N2[judged].reshape(-1, 2),
    )


def whole_gradient(certain: list[int], control: list[int], judged: list[int], omega: np.ndarray | None) -> np.ndarray:
    """The estimate's gradient, as a mean a pair."""
    sample = sample_of(certain, control, judged)
    omega_P = tuned_omegas([sample])[0] if omega is None else np.resize(omega, len(sample.certain_P))
    found = coefficients(sample, omega_P)
    total_N2 = np.zeros((POOL, 2))
    total_N2[[*certain, *control]] += found.asked_P2
    total_N2[judged] += found.further_R2
    return gradient(total_N2) / sample.labels


@pytest.mark.parametrize("omega", [0.0, 0.3, 1.0, None], ids=str)
@pytest.mark.parametrize(("certain", "drawn", "further"), [([], 3, 2), ([2], 2, 2), ([0, 3], 1, 1), ([1, 4], 2, 2)])
def test_the_mean_over_all_samples_is_the_gradient_of_people_alone_on_the_whole_pool(
    certain: list[int], drawn: int, further: int, omega: float | None
) -> None:
    """Also where ω is tuned: it is fitted to the other folds."""
    given = None if omega is None else np.array([omega])
    found = [whole_gradient(certain, c, j, given) for c, j in samples(certain, drawn, further)]
    assert np.mean(found, axis=0) == pytest.approx(gradient(PEOPLE_N2) / POOL, abs=1e-12)
    assert np.std(found, axis=0).max() > 1e-3  # the single estimates differ


def test_an_omega_that_knew_its_own_labels_would_be_biased() -> None:
    """So the test above could fail."""

    def peeking(control: list[int]) -> np.ndarray:
        return np.array([float(PEOPLE_N2[control, 0].sum() > 1)])

    found = [whole_gradient([], c, j, peeking(c)) for c, j in samples([], 3, 2)]
    assert np.abs(np.mean(found, axis=0) - gradient(PEOPLE_N2) / POOL).max() > 1e-3


def test_without_omega_it_is_people_alone() -> None:
    sample = sample_of([], [0, 2, 3], [1, 4])
    found = coefficients(sample, np.zeros(3))
    assert np.array_equal(found.asked_P2, PEOPLE_N2[[0, 2, 3]])
    assert not found.further_R2.any() and not found.corrected_P.any()


def test_weights_are_those_of_the_inclusion_probabilities() -> None:
    """w = n/(Nπ)."""
    found = coefficients(sample_of([1, 2], [0], [5]), np.zeros(3))
    assert found.asked_P2 == pytest.approx(PEOPLE_N2[[1, 2, 0]] * np.array([3 / 6, 3 / 6, 3 / 6 * 4])[:, None])


def test_a_good_judge_lowers_the_variance_and_a_useless_one_raises_it() -> None:
    rng = np.random.default_rng(1)
    people = (rng.random(2000) < 0.5).astype(float)
    spread = {}
    for name, agrees in (("good", 0.9), ("useless", 0.5)):
        judge = np.where(rng.random(2000) < agrees, people, 1 - people)
        for omega in (0.0, 0.6):
            means = []
            for _ in range(300):
                drawn = rng.permutation(2000)
                c, r = drawn[:40], drawn[40:440]
                parts = [np.stack([x, 1 - x], axis=1) for x in (people[c], judge[c], judge[r])]
                some = PoolSample(
                    2000,
                    np.zeros(40, bool),
                    np.ones(40, bool),
                    parts[0],
                    parts[1],
                    np.zeros(40),
                    np.zeros(40, int),
                    parts[2],
                )
                found = coefficients(some, np.full(40, omega))
                means.append((found.asked_P2[:, 0].sum() + found.further_R2[:, 0].sum()) / 40)
            spread[name, omega] = np.var(means)
    assert spread["good", 0.6] < 0.6 * spread["good", 0.0]
    assert spread["useless", 0.6] > 1.2 * spread["useless", 0.0]


@pytest.mark.parametrize(
    ("agrees", "least", "most"), [(0.5, 0.0, 0.15), (0.8, 0.4, 0.75), (0.97, 0.8, 1.0), (0.1, 0.0, 0.0)]
)
def test_tuned_omega_is_the_coefficient_of_least_variance(agrees: float, least: float, most: float) -> None:
    """Of hard labels at equal margins the residuals' regression coefficient is twice the agreement less one."""
    rng = np.random.default_rng(3)
    sample = simulated(rng, agrees, 400)
    omega_P = tuned_omegas([sample])[0]
    assert least <= omega_P.min() and omega_P.max() <= most
    assert np.array_equal([len(set(omega_P[sample.fold_P == k])) for k in range(FOLDS)], [1] * FOLDS)
    expected = max(0.0, 2 * agrees - 1) ** 2
    assert judge_worth([sample]) == pytest.approx(expected, abs=0.12)


def simulated(rng: np.random.Generator, agrees: float, n: int) -> PoolSample:
    people = (rng.random(n) < 0.5).astype(float)
    judge = np.where(rng.random(n) < agrees, people, 1 - people)
    two = [np.stack([x, 1 - x], axis=1) for x in (people, judge)]
    none, yes = np.zeros(n, bool), np.ones(n, bool)
    return PoolSample(
        10**6, none, yes, two[0], two[1], np.zeros(n), rng.integers(FOLDS, size=n), np.full((10 * n, 2), 0.5)
    )


def test_no_omega_depends_on_its_own_fold_or_on_later_rounds() -> None:
    rng = np.random.default_rng(4)
    first, second = simulated(rng, 0.9, 60), simulated(rng, 0.9, 60)
    before = tuned_omegas([first, second])
    own = first.fold_P == 2
    flipped = first.people_P2.copy()
    flipped[own] = flipped[own][:, ::-1]
    after = tuned_omegas([PoolSample(**{**vars(first), "people_P2": flipped}), second])
    assert np.array_equal(after[0][own], before[0][own]) and (after[0][~own] != before[0][~own]).all()
    assert (after[1] != before[1]).all()
    assert np.array_equal(tuned_omegas([first])[0], before[0])


def test_an_unanswered_random_pair_counts_as_judged_only() -> None:
    """The mean over every sample, and over which pair of it is not answered."""
    found = []
    for control, judged in samples([2], 3, 1):
        for missing in control:
            sample = sample_of([2], control, judged, (missing,))
            coefficient = coefficients(sample, np.full(4, 0.7))
            total_N2 = np.zeros((POOL, 2))
            total_N2[[2, *control]] += coefficient.asked_P2
            total_N2[judged] += coefficient.further_R2
            found.append(gradient(total_N2) / sample.labels)
    assert np.mean(found, axis=0) == pytest.approx(gradient(PEOPLE_N2) / POOL, abs=1e-12)


def test_parts_without_an_answer_leave_the_other() -> None:
    only_certain = coefficients(sample_of([1, 2], [0], [3], (0,)), np.ones(3))
    assert only_certain.asked_P2 == pytest.approx(np.vstack([PEOPLE_N2[[1, 2]], [[0, 0]]]))
    assert not only_certain.further_R2.any()
    only_random = coefficients(sample_of([1], [0, 2], [3], (1,)), np.zeros(3))
    assert only_random.asked_P2 == pytest.approx(np.vstack([[[0, 0]], PEOPLE_N2[[0, 2]]]))
    nothing = coefficients(sample_of([], [0, 2], [3], (0, 2)), np.zeros(2))
    assert not nothing.asked_P2.any() and not nothing.further_R2.any()


def test_targets_leave_the_unit_interval_where_people_and_judge_disagree() -> None:
    share, weight = share_and_weight(np.array([[1.0, 0.0], [1.0, -0.6], [-0.5, 0.5], [0.0, 0.0], [-0.2, -0.2]]))
    assert share[:2] == pytest.approx([1.0, 2.5]) and weight[:2] == pytest.approx([1.0, 0.4])
    assert share[2] * weight[2] == pytest.approx(-0.5) and 0 < weight[2] < 1e-6
    assert weight[3] == 0 and (share[4], weight[4]) == pytest.approx((0.5, -0.4))
