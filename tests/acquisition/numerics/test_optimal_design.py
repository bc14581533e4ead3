"""D-optimal designs against all batches of tiny pools, and against numerical derivatives."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duelist.acquisition.numerics.design_bound import bound_by_gains, certificate, upper_bound
from duelist.acquisition.numerics.optimal_design import Design, DesignProblem, exchange, greedy, one_shot
from duelist.errors import BudgetError, DuelistError, NumericalError


def draw(seed: int, n: int, d: int, p: int, prior: float) -> tuple[DesignProblem, np.ndarray, np.ndarray, np.ndarray]:
    """A problem, and what it was made of: I/σ² + J_past, δ and p(1 − p)."""
    rng = np.random.default_rng(seed)
    delta_ND = rng.normal(size=(n, d)) * np.exp(0.5 * rng.normal(size=(n, 1)))
    past_PD = rng.normal(size=(p, d))
    probability = 1 / (1 + np.exp(-rng.normal(size=n + p) * 2))
    information = probability * (1 - probability)
    problem = DesignProblem.of(delta_ND, information[:n], prior, past_PD, information[n:])
    base_DD = prior * np.eye(d) + (past_PD.T * information[n:]) @ past_PD
    return problem, base_DD, delta_ND, information[:n]


def objective(base_DD: np.ndarray, delta_ND: np.ndarray, weight_N: np.ndarray) -> float:
    return float(np.linalg.slogdet(base_DD + (delta_ND.T * weight_N) @ delta_ND)[1])


def first_rows(problem: DesignProblem, budget: int) -> Design:
    """A poor batch to start from."""
    indices_B = np.arange(budget)
    return Design(indices_B, np.zeros(budget), problem.log_determinant(indices_B))


@given(
    seed=st.integers(0, 10**6),
    n=st.integers(1, 9),
    d=st.integers(1, 12),
    p=st.integers(0, 4),
    log_prior=st.floats(-5, 1),
    data=st.data(),
)
def test_on_tiny_pools_the_best_batch_lies_between(
    seed: int, n: int, d: int, p: int, log_prior: float, data: st.DataObject
) -> None:
    """bound >= best >= exchange >= greedy >= its guarantee, in more and in fewer dimensions than rows."""
    problem, base_DD, delta_ND, information_N = draw(seed, n, d, p, 10.0**log_prior)
    budget = data.draw(st.integers(0, n))

    def value(batch: tuple[int, ...] | np.ndarray) -> float:
        rows = list(batch)
        return objective(base_DD, delta_ND[rows], information_N[rows])

    best = max(value(batch) for batch in combinations(range(n), budget))
    by_greedy = greedy(problem, budget)
    by_exchange = exchange(problem, by_greedy)
    for design in (by_greedy, by_exchange, one_shot(problem, budget)):
        assert len(set(design.indices_B.tolist())) == budget
        assert design.log_determinant == pytest.approx(value(design.indices_B), abs=1e-8)
        assert design.log_determinant <= best + 1e-8
        assert bound_by_gains(problem, design) >= best - 1e-8
    nothing = value(())
    assert by_greedy.log_determinant - nothing >= (1 - 1 / np.e) * (best - nothing) - 1e-8
    assert by_exchange.log_determinant >= by_greedy.log_determinant
    for iterations in (1, 2, 5, 200):  # a certificate holds at every iterate
        bound = upper_bound(problem, budget, max_iterations=iterations)
        assert bound.log_determinant >= best - 1e-8
        assert bound.relaxed <= bound.log_determinant + 1e-9
        assert 0 < bound.efficiency(by_exchange) <= 1
        assert bound.weight_N.sum() == pytest.approx(budget, abs=1e-6)
        assert bound.weight_N.min(initial=0) >= 0 and bound.weight_N.max(initial=0) <= 1


def test_one_shot_is_the_derivative_at_the_whole_pool() -> None:
    problem, base_DD, delta_ND, information_N = draw(0, 12, 5, 3, 0.1)
    step = 1e-5
    slope_N = np.empty(12)
    for i in range(12):
        up, down = np.ones(12), np.ones(12)
        up[i] += step
        down[i] -= step
        difference = objective(base_DD, delta_ND, up * information_N) - objective(
            base_DD, delta_ND, down * information_N
        )
        slope_N[i] = difference / (2 * step)
    design = one_shot(problem, 12)
    np.testing.assert_allclose(design.scores_B, np.sort(slope_N)[::-1], rtol=1e-7)
    assert one_shot(problem, 4).indices_B.tolist() == np.argsort(-slope_N)[:4].tolist()


def test_exchange_ends_where_no_exchange_gains() -> None:
    problem, base_DD, delta_ND, information_N = draw(1, 150, 6, 2, 0.01)
    start = first_rows(problem, 40)  # more members than one block
    design = exchange(problem, start, tolerance=1e-6)
    assert design.exchanges > 0
    assert design.log_determinant > start.log_determinant + 0.1

    members = design.indices_B.tolist()
    for place in range(40):
        for newcomer in set(range(150)) - set(members):
            other = [*members[:place], newcomer, *members[place + 1 :]]
            assert objective(base_DD, delta_ND[other], information_N[other]) <= design.log_determinant + 2e-6
    matrix_DD = base_DD + (delta_ND[members].T * information_N[members]) @ delta_ND[members]
    leverage_B = [information_N[i] * delta_ND[i] @ np.linalg.solve(matrix_DD, delta_ND[i]) for i in members]
    np.testing.assert_allclose(design.scores_B, leverage_B, rtol=1e-8)


def test_exchange_stops_at_its_limit() -> None:
    problem, *_ = draw(1, 150, 6, 2, 0.01)
    start = first_rows(problem, 40)
    some, all_made = exchange(problem, start, max_exchanges=2), exchange(problem, start)
    assert some.exchanges == 2
    assert len(set(some.indices_B.tolist()) & set(start.indices_B.tolist())) >= 38
    assert start.log_determinant < some.log_determinant < all_made.log_determinant


def test_with_many_labels_a_dimension_the_greedy_batch_is_certified_near_the_best() -> None:
    problem, *_ = draw(2, 2000, 8, 10, 0.01)
    bound, design = upper_bound(problem, 200), greedy(problem, 200)
    assert bound.log_determinant - bound.relaxed <= 1e-3 * 8
    assert bound.efficiency(design) >= 0.99
    assert bound.efficiency(design) == pytest.approx(np.exp(-bound.gap(design) / 8))
    assert one_shot(problem, 200).log_determinant < design.log_determinant


def test_with_few_labels_a_dimension_the_greedy_batch_is_certified_by_gains() -> None:
    """As with gradients of a language model: rows with little in common, where the relaxation says nothing."""
    rows_ND = np.random.default_rng(3).normal(size=(300, 400))
    problem = DesignProblem.of(rows_ND, np.ones(300), 0.01 * 400)
    design = greedy(problem, 20)
    found = certificate(problem, design, True)
    assert upper_bound(problem, 20).log_determinant > design.log_determinant + 50
    assert found["logdet_upper_bound_nats"] == bound_by_gains(problem, design)
    assert 0 < found["within_percent_of_optimum"] < 20


def test_the_past_changes_what_is_worth_asking() -> None:
    delta_ND = np.array([[2.0, 0.0], [0.0, 1.0]])
    quarter_N = np.full(2, 0.25)
    assert greedy(DesignProblem.of(delta_ND, quarter_N, 1.0), 1).indices_B.tolist() == [0]
    past_PD = np.array([[9.0, 0.0]])
    for rule in (greedy, one_shot):
        assert rule(DesignProblem.of(delta_ND, quarter_N, 1.0, past_PD), 1).indices_B.tolist() == [1]


def test_among_equals_the_first_is_taken() -> None:
    problem = DesignProblem.of(np.tile(np.eye(2), (3, 1)), np.full(6, 0.25), 1.0)
    assert one_shot(problem, 3).indices_B.tolist() == [0, 1, 2]
    assert greedy(problem, 3).indices_B.tolist() == [0, 1, 2]
    start = greedy(problem, 3)
    assert exchange(problem, start).indices_B.tolist() == start.indices_B.tolist()


def test_rows_without_information_add_nothing() -> None:
    problem = DesignProblem.of(np.ones((4, 3)), np.zeros(4), 0.5)
    for design in (one_shot(problem, 2), greedy(problem, 2), exchange(problem, greedy(problem, 2))):
        assert isinstance(design, Design)
        assert design.log_determinant == pytest.approx(3 * np.log(0.5))
    assert upper_bound(problem, 2).log_determinant == pytest.approx(3 * np.log(0.5))


def test_an_empty_pool_gives_the_empty_batch() -> None:
    problem = DesignProblem.of(np.empty((0, 3)), np.empty(0), 0.5, np.eye(3))
    for design in (one_shot(problem, 0), greedy(problem, 0), exchange(problem, greedy(problem, 0))):
        assert len(design.indices_B) == 0
        assert design.log_determinant == pytest.approx(3 * np.log(1.5))
    assert upper_bound(problem, 0).log_determinant == pytest.approx(3 * np.log(1.5))


def test_what_cannot_be_solved_is_refused() -> None:
    with pytest.raises(DuelistError, match="positive"):
        DesignProblem.of(np.ones((2, 2)), np.ones(2), 0.0)
    with pytest.raises(DuelistError, match=r"row 1 has -0\.1"):
        DesignProblem.of(np.ones((2, 2)), np.array([0.1, -0.1]), 1.0)
    with pytest.raises(DuelistError, match="one information a row"):
        DesignProblem.of(np.ones((2, 2)), np.ones(3), 1.0)
    with pytest.raises(NumericalError, match="smaller prior variance"):
        one_shot(DesignProblem.of(np.ones((4, 2)), np.ones(4), 1e-30), 1)
    problem = DesignProblem.of(np.ones((2, 2)), np.ones(2), 1.0)
    for rule in (one_shot, greedy, upper_bound):
        with pytest.raises(BudgetError, match="3 and 2 rows"):
            rule(problem, 3)
