"""The greedy engine where pairs differ in cost, against an explicit inverse of V."""

from __future__ import annotations

from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duelist.acquisition.numerics import lazy_search
from duelist.acquisition.numerics.greedy import pick_greedily
from duelist.errors import DuelistError


def brute_force(
    phi_ND: np.ndarray, past_PD: np.ndarray, regularizer: float, budget: int, cost_N: np.ndarray
) -> tuple[list[int], list[float]]:
    """The gain in log-determinant per cost of every row at every pick, and each pick's φᵀV⁻¹φ."""
    v = regularizer * np.eye(phi_ND.shape[1]) + past_PD.T @ past_PD
    picks: list[int] = []
    squares: list[float] = []
    for _ in range(budget):
        inverse = np.linalg.inv(v)
        square = np.array([row @ inverse @ row for row in phi_ND])
        gain = np.log1p(square) / cost_N
        gain[picks] = -np.inf
        picks.append(int(np.argmax(gain)))
        squares.append(float(square[picks[-1]]))
        v = v + np.outer(phi_ND[picks[-1]], phi_ND[picks[-1]])
    return picks, squares


@given(
    n=st.integers(1, 25),
    d=st.integers(1, 12),
    p=st.integers(0, 20),
    log_lambda=st.floats(-4, 2),
    spread=st.floats(0.3, 3),
    seed=st.integers(0, 10**6),
    data=st.data(),
)
def test_equals_brute_force(
    n: int, d: int, p: int, log_lambda: float, spread: float, seed: int, data: st.DataObject
) -> None:
    rng = np.random.default_rng(seed)
    phi_ND, past_PD = rng.normal(size=(n, d)), rng.normal(size=(p, d))
    cost_N = np.exp(spread * rng.normal(size=n))
    budget = data.draw(st.integers(1, n))
    with mock.patch.object(lazy_search, "FIRST_LOOK", data.draw(st.integers(1, 4))):
        picks = pick_greedily(phi_ND, past_PD, 10.0**log_lambda, budget, cost_N=cost_N)
    expected, squares = brute_force(phi_ND, past_PD, 10.0**log_lambda, budget, cost_N)
    assert picks.indices_B.tolist() == expected
    np.testing.assert_allclose(picks.square_B, squares, rtol=1e-6, atol=1e-9)


def test_equal_costs_change_nothing() -> None:
    rng = np.random.default_rng(1)
    phi_ND, past_PD = rng.normal(size=(500, 20)), rng.normal(size=(9, 20))
    plain = pick_greedily(phi_ND, past_PD, 0.1, 40)
    with_costs = pick_greedily(phi_ND, past_PD, 0.1, 40, cost_N=np.full(500, 7.0))
    assert with_costs.indices_B.tolist() == plain.indices_B.tolist()
    # The best of those that are left is looked for as well, lazily.
    assert plain.rows_read <= with_costs.rows_read <= plain.rows_read + 100


def test_among_equals_the_first_is_taken_and_the_cheaper_before_the_dearer() -> None:
    phi_ND = np.tile(np.eye(2), (3, 1))
    cost_N = np.array([2.0, 2.0, 1.0, 1.0, 1.0, 1.0])
    assert pick_greedily(phi_ND, np.empty((0, 2)), 1.0, 3, cost_N=cost_N).indices_B.tolist() == [2, 3, 4]


@pytest.mark.parametrize("cost_N", [np.zeros(4), np.array([1.0, 2.0, -1.0, 1.0]), np.full(4, np.inf), np.ones(3)])
def test_costs_must_be_positive_and_one_a_row(cost_N: np.ndarray) -> None:
    with pytest.raises(DuelistError, match="positive and finite"):
        pick_greedily(np.ones((4, 3)), np.empty((0, 3)), 1.0, 2, cost_N=cost_N)
