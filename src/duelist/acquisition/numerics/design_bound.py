"""Upper bound on the log-determinant of every batch of a given size, to bound a batch's gap to the best one.

References: Silvey, Titterington, Torsney, "An algorithm for optimal designs on a finite design space",
            Communications in Statistics A 7, 1978 (the multiplicative step);
            Nemhauser, Wolsey, Fisher, "An analysis of approximations for maximizing submodular set functions",
            Mathematical Programming 14, 1978 (the bound by gains).

There are two bounds; the lower one counts. `upper_bound` comes from the continuous relaxation, in which a fraction of a
row may be in the batch. With many labels per dimension it is close to the best batch. With few labels it is not, even
after many iterations: a thousand fractional rows spread their information more evenly than a few whole rows can.
`bound_by_gains` adds up the gains of single rows. It is close to the best batch if labels are few and nearly
independent.
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
    """Upper bound on the log-determinant of any batch of this size.

    Attributes:
        log_determinant: the bound, in nats.
        weight_N: the relaxed design behind it: shares in [0, 1] that sum to B (except for shares below 1e-9).
        relaxed: the log-determinant of that design. Bound − relaxed is the most that further iterations could gain.
            Relaxed − a batch's log-determinant is the batch's deficit, or the part that no whole batch can reach.
        dimensions: dimensions of the problem.
        iterations: number of steps taken.
    """

    log_determinant: float
    weight_N: Floats
    relaxed: float
    dimensions: int
    iterations: int

    def gap(self, design: Design) -> float:
        """Return an upper bound on the gap between `design` and the best batch, in nats of log-determinant."""
        return max(0.0, self.log_determinant - design.log_determinant)

    def efficiency(self, design: Design) -> float:
        """Return a lower bound on the D-efficiency of `design` relative to the best batch: exp(−gap / dimensions).

        It is in (0, 1]. 0.99 means "within 1 % of the optimum": the best batch's information, times 0.99 in every
        direction, has no larger determinant.
        """
        return float(np.exp(-self.gap(design) / max(1, self.dimensions)))


Certificate = Literal["auto"] | bool
# `auto` spends about this many seconds of one core on the bound, and skips it if fewer iterations than this fit.
AUTO_SECONDS, AUTO_ITERATIONS = 1.0, 10


def affordable_iterations(rows: int, dimensions: int) -> int:
    """Return the iterations of `upper_bound` that fit in a second: one takes about 2e-10 N D² + 2e-7 N seconds."""
    return int(AUTO_SECONDS / (2e-10 * max(rows, 1) * max(dimensions, 1) ** 2 + 2e-7 * max(rows, 1)))


def certificate(problem: DesignProblem, design: Design, setting: Certificate) -> dict[str, float]:
    """Return diagnostics that bound a batch's gap to the best one of its size; empty if not computed.

    Efficiency is counted over the directions that B labels can reach, min(D, B). If there are fewer labels than
    dimensions, the other directions contain only the prior and would make any batch look good.

    Args:
        problem: the problem that the batch solves.
        design: the batch.
        setting: `auto`: as many iterations as fit in about a second, if at least ten; true: until convergence.
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
    """Return an upper bound on the log-determinant of every batch of this size, in nats, from the gains of single rows.

    The log-determinant is monotone and submodular. Given any rows S, a batch adds at most the sum of the single gains
    of its members, which is at most the sum of the B largest single gains outside S. So for every S

        logdet(any batch) <= logdet(S) + sum of the B largest log(1 + x_iᵀM(S)⁻¹x_i), i outside S

    S is the empty set, then the design's first quarter, its first half, and all of it; the smallest bound counts.
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
    """Return an upper bound on the log-determinant of every batch of this size, from the dual of the relaxation.

    The relaxation allows a fraction of each row in the batch: maximise the concave f(u) = logdet M(u) over
    0 <= u <= 1, Σ u = B. For every such u, optimal or not, with g_i = x_iᵀM(u)⁻¹x_i,

        logdet(any batch) <= f(u) + D log((D − Σ u_i g_i + sum of the B largest g) / D)

    (logdet M <= tr(SM) − logdet S − D for every positive S; here S is M(u)⁻¹ times the best scale). So every iterate
    gives a certificate. The best one is kept, and iterations only tighten it.

    The steps are multiplicative: u ∝ u g^power, capped at 1. The power is lowered when f falls.

    Args:
        problem: the pool and the prior.
        budget: size of the batch, B.
        tolerance: stop when bound and relaxed design are this close in D-efficiency.
        max_iterations: maximum number of steps, each O(N D²).

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
    """Return min(1, c · share), with c such that the sum is the budget; then set shares below 1e-9 to 0."""
    share_N = np.maximum(share_N, 1e-15 * share_N.max() + 1e-300)
    descending_N = np.sort(share_N)[::-1]
    rest_N = np.cumsum(descending_N[::-1])[::-1]  # the sum from here to the end
    full_N = np.arange(len(share_N))  # number of capped shares
    scale_N = (budget - full_N) / rest_N
    fits = np.flatnonzero((scale_N * descending_N <= 1.0) & (full_N < budget))
    capped_N = np.minimum(1.0, scale_N[fits[0]] * share_N) if len(fits) else np.ones_like(share_N)
    return np.asarray(np.where(capped_N < 1e-9, 0.0, capped_N))
