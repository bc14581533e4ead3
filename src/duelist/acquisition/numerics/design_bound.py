"""How far a batch can be from the best one: an upper bound on the log-determinant of every batch of its size.

References: Silvey, Titterington, Torsney, "An algorithm for optimal designs on a finite design space",
            Communications in Statistics A 7, 1978 (the multiplicative step);
            Nemhauser, Wolsey, Fisher, "An analysis of approximations for maximizing submodular set functions",
            Mathematical Programming 14, 1978 (the bound by gains).

There are two bounds, and the lower counts. `upper_bound` is that of the continuous relaxation, in which a row may be in
the batch in part. With many labels a dimension it lies close to the best batch. With few it does not, however long it
is iterated: a thousand rows in part spread their information more evenly than a few whole ones can. `bound_by_gains`
adds up what rows gain one by one, which is near the truth where labels are few and hardly have anything in common.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from duelist.acquisition.numerics.factors import factored
from duelist.acquisition.numerics.optimal_design import (
    Design,
    DesignProblem,
    Floats,
    leverages,
    log_determinant,
)


@dataclass(frozen=True)
class UpperBound:
    """What no batch of this size can exceed.

    Attributes:
        log_determinant: the bound, in nats.
        weight_N: the relaxed design it came from: shares in [0, 1] that sum to B (but for shares below 1e-9).
        relaxed: that design's own log-determinant. Bound − relaxed is what more iterations could still gain; relaxed −
            a batch's is what the batch lacks, or what no whole batch can reach.
        dimensions: those of the problem.
        iterations: how many steps were taken.
    """

    log_determinant: float
    weight_N: Floats
    relaxed: float
    dimensions: int
    iterations: int

    def gap(self, design: Design) -> float:
        """At most how many nats of log-determinant `design` lies below the best batch."""
        return max(0.0, self.log_determinant - design.log_determinant)

    def efficiency(self, design: Design) -> float:
        """At least what D-efficiency `design` has relative to the best batch: exp(−gap / dimensions), in (0, 1].

        0.99 reads "within 1 % of the optimum": the best batch's information, times 0.99 in every direction, has no
        larger determinant.
        """
        return float(np.exp(-self.gap(design) / max(1, self.dimensions)))


Certificate = Literal["auto"] | bool
# Under `auto`, about so many seconds of one core go into the bound, and none if fewer iterations than these fit in.
AUTO_SECONDS, AUTO_ITERATIONS = 1.0, 10


def affordable_iterations(rows: int, dimensions: int) -> int:
    """How many iterations of `upper_bound` take about a second: one takes about 2e-10 N D² + 2e-7 N seconds."""
    return int(AUTO_SECONDS / (2e-10 * max(rows, 1) * max(dimensions, 1) ** 2 + 2e-7 * max(rows, 1)))


def certificate(problem: DesignProblem, design: Design, setting: Certificate) -> dict[str, float]:
    """How far a batch is from the best one of its size, as diagnostics; empty where it is not to be computed.

    Efficiency is counted over the directions that B labels can reach, min(D, B): where labels are fewer than
    dimensions, the rest holds the prior alone, and would make any batch look good.

    Args:
        problem: what was chosen from.
        design: the batch.
        setting: `auto`: with as many iterations as about a second allows, if at least ten; true: to convergence.
    """
    iterations = 200
    if setting == "auto":
        iterations = min(iterations, affordable_iterations(*problem.rows_ND.shape))
    if not setting or iterations < AUTO_ITERATIONS or not len(design.indices_B):
        return {}
    relaxed = upper_bound(problem, len(design.indices_B), max_iterations=iterations).log_determinant
    bound = min(relaxed, bound_by_gains(problem, design))
    gap = max(0.0, bound - design.log_determinant)
    reached = min(problem.dimensions, len(design.indices_B))
    return {
        "logdet_upper_bound_nats": bound,
        "within_percent_of_optimum": 100.0 * float(-np.expm1(-gap / max(1, reached))),
    }


def bound_by_gains(problem: DesignProblem, design: Design) -> float:
    """Bound the log-determinant of every batch of this size, in nats, by what single rows gain.

    The log-determinant is monotone and submodular: beside any rows S, a batch adds at most the sum of what its members
    add one by one, and the B best outside S add at least that. So for every S

        logdet(any batch) <= logdet(S) + sum of the B largest log(1 + x_iᵀM(S)⁻¹x_i), i outside S

    S is nothing, then the design's first quarter, its first half, and all of it; the least bound counts.
    """
    budget, n = len(design.indices_B), len(problem.rows_ND)
    bounds = []
    for size in {0, budget // 4, budget // 2, budget}:
        weight_N = np.zeros(n)
        weight_N[design.indices_B[:size]] = 1.0
        lower_DD = factored(problem.information(weight_N))
        gain_N = np.log1p(leverages(problem.rows_ND, lower_DD))
        gain_N[design.indices_B[:size]] = 0.0
        bounds.append(log_determinant(lower_DD) + float(np.sort(gain_N)[n - budget :].sum()))
    return min(bounds) + problem.constant


def upper_bound(problem: DesignProblem, budget: int, tolerance: float = 1e-3, max_iterations: int = 200) -> UpperBound:
    """Bound the log-determinant of every batch of this size, by the continuous relaxation's dual.

    The relaxation lets each row be in the batch in part: maximise the concave f(u) = logdet M(u) over 0 <= u <= 1,
    Σ u = B. For every such u, whether optimal or not, with g_i = x_iᵀM(u)⁻¹x_i,

        logdet(any batch) <= f(u) + D log((D − Σ u_i g_i + sum of the B largest g) / D)

    (logdet M <= tr(SM) − logdet S − D for every positive S; here S is M(u)⁻¹ times the best scale). So every iterate
    gives a certificate and the best is kept; iterations only tighten it.

    The steps are multiplicative, u ∝ u g^power capped at 1, with the power lowered when f falls.

    Args:
        problem: what to choose from.
        budget: the size of the batch, B.
        tolerance: stop when bound and relaxed design are this near in D-efficiency.
        max_iterations: stop after so many steps, each O(N D²).

    Raises:
        BudgetError: if the budget is negative or exceeds the pool.
    """
    problem.check_budget(budget)
    n, d = problem.rows_ND.shape
    if not n:
        reached = problem.log_determinant(np.empty(0, np.int64))
        return UpperBound(reached, np.empty(0), reached, d, 0)
    u_N = best_N = np.full(n, budget / n)
    g_N = np.ones(n)
    bound, relaxed, power, iterations = np.inf, -np.inf, 3.0, 0
    while iterations < max_iterations:
        iterations += 1
        lower_DD = factored(problem.information(u_N))
        value = log_determinant(lower_DD)
        fresh_N = leverages(problem.rows_ND, lower_DD)
        most = np.partition(fresh_N, n - budget)[n - budget :].sum() if budget else 0.0
        bound = min(bound, value + d * np.log((d - fresh_N @ u_N + most) / d))
        if value >= relaxed:
            relaxed, best_N, g_N = value, u_N, fresh_N
        elif power > 1:
            power = max(1.0, power / 2)
        else:
            break
        if bound - relaxed <= tolerance * d or not budget:
            break
        u_N = _capped(best_N * g_N**power, budget)
    return UpperBound(bound + problem.constant, best_N, relaxed + problem.constant, d, iterations)


def _capped(share_N: Floats, budget: int) -> Floats:
    """min(1, c · share) with the c that makes the sum the budget; shares below 1e-9 are then dropped."""
    share_N = np.maximum(share_N, 1e-15 * share_N.max() + 1e-300)
    descending_N = np.sort(share_N)[::-1]
    rest_N = np.cumsum(descending_N[::-1])[::-1]  # the sum from here on
    full_N = np.arange(len(share_N))  # how many are capped
    scale_N = (budget - full_N) / rest_N
    fits = np.flatnonzero((scale_N * descending_N <= 1.0) & (full_N < budget))
    capped_N = np.minimum(1.0, scale_N[fits[0]] * share_N) if len(fits) else np.ones_like(share_N)
    return np.asarray(np.where(capped_N < 1e-9, 0.0, capped_N))
