"""Information of an answer against enumeration of all answers: second moment of the score, and curvature."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duelist.choice_models.information import (
    LARGEST_QUESTION,
    information_matrices,
    roots,
    unweighted_matrices,
)
from duelist.errors import DataError

TYPES = ("ranking", "best_of_k", "best_worst")


def choice(rewards: Any, among: list[int], taken: int, scale: float) -> tuple[float, np.ndarray, np.ndarray]:
    """log P of one choice, and its gradient and Hessian in the rewards."""
    odds = np.zeros(len(rewards))
    odds[among] = np.exp(scale * rewards[among])
    p = odds / odds.sum()
    gradient = -scale * p
    gradient[taken] += scale
    return float(np.log(p[taken])), gradient, -(scale**2) * (np.diag(p) - np.outer(p, p))


def answers(rewards: np.ndarray, asks: str, scales: Any) -> Iterator[tuple[float, np.ndarray, np.ndarray]]:
    """P of every answer, and the gradient and Hessian of log P, by the definitions."""
    k = len(rewards)
    everyone = list(range(k))
    if asks == "best_of_k":
        for best in everyone:
            logarithm, gradient, hessian = choice(rewards, everyone, best, 1.0)
            yield np.exp(logarithm), gradient, hessian
    elif asks == "best_worst":
        pairs = list(permutations(everyone, 2))
        weights = np.array([np.exp(rewards[b] - rewards[w]) for b, w in pairs])
        p = weights / weights.sum()
        signs = np.array([np.eye(k)[b] - np.eye(k)[w] for b, w in pairs])
        mean = p @ signs
        hessian = np.outer(mean, mean) - sum(q * np.outer(s, s) for q, s in zip(p, signs, strict=True))
        for q, s in zip(p, signs, strict=True):
            yield q, s - mean, hessian
    else:
        for order in permutations(everyone):
            parts = [choice(rewards, list(order[j:]), order[j], scales[min(j, len(scales) - 1)]) for j in range(k - 1)]
            yield (
                np.exp(sum(x[0] for x in parts)),
                np.sum([x[1] for x in parts], axis=0),
                np.sum([x[2] for x in parts], axis=0),
            )


def enumerated(rewards: np.ndarray, asks: str, scales: Any) -> tuple[np.ndarray, np.ndarray]:
    """E of the score's outer product, and −E of the Hessian."""
    listed = list(answers(rewards, asks, scales))
    assert sum(p for p, _, _ in listed) == pytest.approx(1.0)
    return (
        np.sum([p * np.outer(g, g) for p, g, _ in listed], axis=0),
        -np.sum([p * h for p, _, h in listed], axis=0),
    )


@pytest.mark.parametrize("scales", [None, (1.0, 0.5), (1.0, 0.7, 0.4, 0.2), (1.0, 1.6, 0.9, 2.0)])
def test_it_is_the_second_moment_of_the_score_and_the_expected_curvature(scales: Any) -> None:
    """Questions of two to five responses together, padded with numbers that must not count."""
    rng = np.random.default_rng(1)
    kinds = [(asks, k) for asks in TYPES for k in (3, 4, 5)] * 3 + [("pair", 2)] * 3
    kinds = [kinds[i] for i in rng.permutation(len(kinds))]
    reward_NQ = rng.normal(size=(len(kinds), 6), scale=1.5)
    size_N = np.array([k for _, k in kinds])
    asks_N = np.array([asks for asks, _ in kinds])
    scale_S = None if scales is None else np.array(scales)
    matrix_NQQ = information_matrices(reward_NQ, asks_N, size_N, scale_S)
    root_NQW = roots(matrix_NQQ, size_N)
    assert root_NQW.shape == (len(kinds), 6, 5)
    for n, (asks, k) in enumerate(kinds):
        model = "ranking" if asks == "pair" else asks
        moment, curvature = enumerated(reward_NQ[n, :k], model, (1.0,) if scales is None else scales)
        np.testing.assert_allclose(moment, curvature, atol=1e-12)  # the oracle agrees with itself
        np.testing.assert_allclose(matrix_NQQ[n, :k, :k], moment, rtol=1e-10, atol=1e-13)
        assert not matrix_NQQ[n, k:].any() and not matrix_NQQ[n, :, k:].any()
        np.testing.assert_allclose(root_NQW[n] @ root_NQW[n].T, matrix_NQQ[n], atol=1e-13)
        assert not root_NQW[n, k:].any() and not root_NQW[n, :, k - 1 :].any()


def test_a_pair_has_the_information_of_a_bernoulli_draw() -> None:
    reward_NQ = np.array([[0.3, -1.1], [800.0, -800.0], [5.0, 5.0]])
    for asks in ("pair", *TYPES):
        matrix_NQQ = information_matrices(reward_NQ, np.full(3, asks), np.full(3, 2), np.array([1.0, 0.2]))
        p = 1 / (1 + np.exp(-1.4))
        one_way = np.array([[1.0, -1.0], [-1.0, 1.0]])
        np.testing.assert_allclose(matrix_NQQ[0], p * (1 - p) * one_way, rtol=1e-14)
        np.testing.assert_array_equal(matrix_NQQ[1], np.zeros((2, 2)))  # a certain answer says nothing
        np.testing.assert_allclose(matrix_NQQ[2], 0.25 * one_way, rtol=1e-14)


@pytest.mark.parametrize("asks", TYPES)
@pytest.mark.parametrize("k", [2, 3, 4, 5])
def test_the_unweighted_form_is_four_times_that_at_equal_rewards(asks: str, k: int) -> None:
    found = unweighted_matrices(np.array([asks, "ranking"]), np.array([k, 3]), 6)
    moment, _ = enumerated(np.zeros(k), "ranking" if k == 2 else asks, (1.0,))
    np.testing.assert_allclose(found[0, :k, :k], 4 * moment, rtol=1e-12, atol=1e-14)
    assert found.shape == (2, 6, 6) and not found[0, k:].any() and not found[0, :, k:].any()
    if k == 2:
        np.testing.assert_allclose(found[0, :2, :2], [[1, -1], [-1, 1]], rtol=1e-14)


@given(
    asks=st.sampled_from(TYPES),
    rewards=st.lists(st.floats(-30, 30), min_size=2, max_size=LARGEST_QUESTION),
    seed=st.integers(0, 1000),
    shift=st.floats(-50, 50),
)
def test_it_does_not_depend_on_order_or_on_a_common_reward(
    asks: str, rewards: list[float], seed: int, shift: float
) -> None:
    k = len(rewards)
    reward_K, size, scales = np.array(rewards), np.array([k]), np.array([1.0, 0.6, 0.8])
    order = np.random.default_rng(seed).permutation(k)

    def matrix(reward_K: np.ndarray) -> np.ndarray:
        return information_matrices(reward_K[None], np.array([asks]), size, scales)[0]

    found = matrix(reward_K)
    np.testing.assert_allclose(matrix(reward_K[order]), found[np.ix_(order, order)], rtol=1e-7, atol=1e-14)
    np.testing.assert_allclose(matrix(reward_K + shift), found, rtol=1e-7, atol=1e-12)
    np.testing.assert_allclose(found.sum(axis=1), 0.0, atol=1e-14)
    assert np.linalg.eigvalsh(found).min() >= -1e-14
    root = roots(found[None], size)[0]
    np.testing.assert_allclose(root.sum(axis=0), 0.0, atol=1e-14)


def test_later_stages_are_added_to_the_first() -> None:
    """A stage of scale 0 says nothing: a ranking is then the best of k."""
    reward_NQ = np.random.default_rng(0).normal(size=(3, 5))
    size_N = np.full(3, 5)
    ranking = information_matrices(reward_NQ, np.full(3, "ranking"), size_N, np.array([1.0, 0.0]))
    best = information_matrices(reward_NQ, np.full(3, "best_of_k"), size_N)
    np.testing.assert_allclose(ranking, best, rtol=1e-13, atol=1e-16)


def test_what_is_no_question_is_refused() -> None:
    with pytest.raises(DataError, match="from 2 to 8 responses, but one has 9"):
        information_matrices(np.zeros((1, 9)), np.array(["ranking"]), np.array([9]))
    with pytest.raises(DataError, match="from 2 to 8 responses, but one has 1"):
        unweighted_matrices(np.array(["ranking"]), np.array([1]), 3)
    with pytest.raises(DataError, match="asks for 'pair'"):
        information_matrices(np.zeros((1, 3)), np.array(["pair"]), np.array([3]))
