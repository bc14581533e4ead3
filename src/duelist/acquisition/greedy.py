"""The greedy engine: repeatedly pick the row of largest ‖φ‖²_{V⁻¹}, where V grows by φφᵀ with every pick.

The dual form needs inner products only, never the D x D matrix V or its inverse. With U the rows already in V and
L Lᵀ = U Uᵀ + λI,

    φᵀ V⁻¹ φ = (|φ|² − |L⁻¹ U φ|²) / λ        (Woodbury)

and adding a row u to U adds one row to L, hence one number to L⁻¹ U φ:

    c_u(φ) = (φ·u − c(φ)·c(u)) / sqrt(λ + residual(u)),     residual(φ) ← residual(φ) − c_u(φ)²

This is an incremental Cholesky factorisation of the Gram matrix: O(N D) a pick instead of O(N D²), and stable, because
no inverse is formed. All accumulation is in float64.

Rows whose scores differ by less than the features' own rounding are equals, and the first of them is taken: otherwise
noise in the last digit would decide, which differs from machine to machine. With `normalize: pair`, say, every first
score is exactly 1 but for rounding.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cholesky, solve_triangular

# Scores are equal that differ by less than this part of the largest |φ|²: some roundings of the features' type.
TIE_TOLERANCE = {np.dtype(np.float64): 1e-12, np.dtype(np.float32): 1e-6}

Floats = NDArray[np.float32] | NDArray[np.float64]


def greedy_uncertainty(
    phi_ND: Floats, past_PD: Floats, regularizer: float, budget: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Greedily maximise ‖φ‖²_{V⁻¹} with V = λI + Σ_past φφᵀ + Σ_picked φφᵀ.

    The same picks greedily maximise logdet V, whose gain is log(1 + ‖φ‖²_{V⁻¹}). The first among equals is taken.

    Args:
        phi_ND: the candidates, one row each.
        past_PD: the rows already in V; P may be 0.
        regularizer: λ, positive.
        budget: how many to pick, B <= N.

    Returns:
        The picked rows in order, and ‖φ‖²_{V⁻¹} of each at the moment it was picked.
    """
    tolerance = TIE_TOLERANCE.get(phi_ND.dtype, 1e-6)
    phi_ND = np.asarray(phi_ND, dtype=np.float64)
    residual_N, c_KN = _fold_past(phi_ND, np.asarray(past_PD, dtype=np.float64), regularizer, budget)
    k = len(c_KN) - budget
    tolerance *= float(np.einsum("nd,nd->n", phi_ND, phi_ND).max())
    picked_B = np.empty(budget, np.int64)
    score_B = np.empty(budget)
    for b in range(budget):
        residual_N[picked_B[:b]] = -np.inf
        i = int(np.argmax(residual_N >= residual_N.max() - tolerance))
        picked_B[b], score_B[b] = i, max(residual_N[i], 0.0) / regularizer
        gram_N = phi_ND @ phi_ND[i]
        c_KN[k] = (gram_N - c_KN[:k, i] @ c_KN[:k]) / np.sqrt(regularizer + max(residual_N[i], 0.0))
        residual_N -= c_KN[k] ** 2
        k += 1
    return picked_B, score_B


def _fold_past(
    phi_ND: NDArray[np.float64], past_PD: NDArray[np.float64], regularizer: float, budget: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Residuals after the past, and room for P + B rows of L⁻¹ U φ with the first P filled, all in one solve."""
    p, n = len(past_PD), len(phi_ND)
    c_KN = np.empty((p + budget, n))
    if p:
        lower_PP = cholesky(past_PD @ past_PD.T + regularizer * np.eye(p), lower=True)
        c_KN[:p] = solve_triangular(lower_PP, past_PD @ phi_ND.T, lower=True)
    residual_N = np.einsum("nd,nd->n", phi_ND, phi_ND) - np.einsum("kn,kn->n", c_KN[:p], c_KN[:p])
    return residual_N, c_KN
