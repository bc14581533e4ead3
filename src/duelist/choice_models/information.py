"""Fisher information of the answer to a question of several responses.

References: Hausman, Ruud, "Specifying and testing econometric models for rank-ordered data", Journal of Econometrics
            34, 1987 (the ranking, with a scale for each stage); Marley, Louviere, "Some probabilistic models of best,
            worst, and best-worst choices", Journal of Mathematical Psychology 49, 2005 (the best and the worst).
Formula:    the information in the weights is Gᵀ M G, with the responses' reward gradients as the rows of G and
            ranking     M = Σ_j s_j² E[Cov_{p_j}(e)],  p_j = softmax(s_j r) over what is left at stage j,
            best_of_k   M = Cov_p(e),                  p = softmax(r),
            best_worst  M = Cov_P(e_b − e_w),          P(b, w) ∝ exp(r_b − r_w) over ordered pairs,
            pair        M = p(1 − p) (e_a − e_b)(e_a − e_b)ᵀ,  p = σ(r_a − r_b): what all of them are for k = 2.
            e is the unit vector of the chosen response. M 1 = 0: only differences of rewards can be learned.
Cost:       the stages of a ranking depend on the order only through what is left, so the average over the k! orders
            is a sum over the 2^k subsets: exact for every k admitted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from duelist.errors import DataError

Floats = NDArray[np.float64]

# Number of responses of the largest question; a ranking of so many has 247 subsets of two or more.
LARGEST_QUESTION = 8
# Number of questions worked on at a time.
BLOCK_QUESTIONS = 4096


def information_matrices(
    reward_NQ: Floats, asks_N: NDArray[np.str_], size_N: NDArray[np.int64], scale_X: Floats | None = None
) -> Floats:
    """Return M of each question, `[N, Q, Q]`: symmetric, without negative eigenvalues, with rows that sum to 0.

    Args:
        reward_NQ: the rewards of each question's responses, divided by the temperature; what stands beyond the last
            response does not count.
        asks_N: what each question asks; a question of two responses is a pair, whatever it asks.
        size_N: the number of responses of each question, k.
        scale_X: the scale s_j of each stage of a ranking, from the first on; a stage beyond them has the scale of the
            last. None for equal scales, 1.

    Raises:
        DataError: if a question has fewer than two responses, or more than `LARGEST_QUESTION`.
    """
    scale_X = np.ones(1) if scale_X is None or not len(scale_X) else np.asarray(scale_X, np.float64)
    q = reward_NQ.shape[1]
    matrix_NQQ = np.zeros((len(reward_NQ), q, q))
    for asks, size in _kinds(asks_N, size_N):
        model = _model(asks, size)
        chosen_N = np.flatnonzero((size_N == size) & ((asks_N == asks) | (size == 2)))
        for start in range(0, len(chosen_N), BLOCK_QUESTIONS):
            some_N = chosen_N[start : start + BLOCK_QUESTIONS]
            matrix_NQQ[some_N, :size, :size] = model(np.asarray(reward_NQ[some_N, :size], np.float64), scale_X)
    return matrix_NQQ


def unweighted_matrices(asks_N: NDArray[np.str_], size_N: NDArray[np.int64], places: int) -> Floats:
    """Return 4 M at equal rewards and equal scales, `[N, Q, Q]` with Q = `places`.

    Of a pair, this is the outer product of e_a − e_b.

    Raises:
        DataError: as `information_matrices`.
    """
    matrix_NQQ = np.zeros((len(size_N), places, places))
    for asks, size in _kinds(asks_N, size_N):
        chosen_N = (size_N == size) & ((asks_N == asks) | (size == 2))
        equal_QQ = 4.0 * _model(asks, size)(np.zeros((1, size)), np.ones(1))[0]
        matrix_NQQ[np.ix_(chosen_N, np.arange(size), np.arange(size))] = equal_QQ
    return matrix_NQQ


def roots(matrix_NQQ: Floats, size_N: NDArray[np.int64]) -> Floats:
    """Return C with M = C Cᵀ, `[N, Q, Q − 1]`: k − 1 columns of each question, the largest first, then zeros.

    M is reduced to the k − 1 directions that are orthogonal to 1, and its eigenvectors there are scaled by the roots of
    their eigenvalues. So every column sums to 0, also where the rewards leave nothing to learn.
    """
    q = matrix_NQQ.shape[-1]
    basis_QW = _contrasts(q)
    reduced_NWW = basis_QW.T @ matrix_NQQ @ basis_QW
    eigenvalue_NW, vector_NWW = np.linalg.eigh(reduced_NWW)
    root_NWW = vector_NWW * np.sqrt(np.maximum(eigenvalue_NW, 0.0))[:, None, :]
    inside_NW = np.arange(q - 1) < (size_N - 1)[:, None]
    root_NWW = root_NWW[:, :, ::-1] * inside_NW[:, :, None] * inside_NW[:, None, :]
    return np.asarray(basis_QW @ root_NWW)


def _contrasts(q: int) -> Floats:
    """Return orthonormal columns `[Q, Q − 1]` that sum to 0; the first k − 1 are zero beyond place k (Helmert's)."""
    basis_QW = np.triu(np.ones((q, q - 1)))
    basis_QW[np.arange(1, q), np.arange(q - 1)] = -np.arange(1, q)
    return np.asarray(basis_QW / np.sqrt(np.arange(1, q) * np.arange(2, q + 1)))


def _kinds(asks_N: NDArray[np.str_], size_N: NDArray[np.int64]) -> Iterator[tuple[str, int]]:
    """Yield the distinct types and sizes; all of size two are pairs."""
    for asks, size in sorted(
        {("pair" if k == 2 else a, k) for a, k in zip(asks_N.tolist(), size_N.tolist(), strict=True)}
    ):
        if not 2 <= size <= LARGEST_QUESTION:
            raise DataError(
                f"A question must have from 2 to {LARGEST_QUESTION} responses, but one has {size}: make smaller sets."
            )
        yield asks, size


def _model(asks: str, size: int) -> Callable[[Floats, Floats], Floats]:
    if size == 2:
        return _first_choice
    models = {"ranking": _ranking, "best_of_k": _first_choice, "best_worst": _best_and_worst}
    if asks not in models:
        raise DataError(
            f"A question of {size} responses must ask for one of {', '.join(models)}, but asks for {asks!r}: correct "
            "it."
        )
    return models[asks]


def _softmax(logit_NX: Floats) -> Floats:
    odds_NX = np.exp(logit_NX - logit_NX.max(axis=1, keepdims=True))
    return np.asarray(odds_NX / odds_NX.sum(axis=1, keepdims=True))


def _covariance(p_NQ: Floats) -> Floats:
    """Return diag(p) − p pᵀ from its off-diagonal entries alone, which keeps the digits of a nearly certain choice."""
    matrix_NQQ = -p_NQ[:, :, None] * p_NQ[:, None, :]
    diagonal = np.arange(p_NQ.shape[1])
    matrix_NQQ[:, diagonal, diagonal] = 0.0
    matrix_NQQ[:, diagonal, diagonal] = -matrix_NQQ.sum(axis=2)
    return np.asarray(matrix_NQQ)


def _first_choice(reward_NQ: Floats, scale_X: Floats) -> Floats:
    return _covariance(_softmax(reward_NQ))


def _ranking(reward_NQ: Floats, scale_X: Floats) -> Floats:
    """Sum over what can be left at each stage: its probability, times the information of the choice from it."""
    n, k = reward_NQ.shape
    matrix_NQQ = np.zeros((n, k, k))
    reach_N = {tuple(range(k)): np.ones(n)}
    for stage in range(k - 1):
        scale = scale_X[min(stage, len(scale_X) - 1)]
        next_N = {left: np.zeros(n) for left in combinations(range(k), k - stage - 1)}
        for left, probability_N in reach_N.items():
            p_NX = _softmax(scale * reward_NQ[:, left])
            weight_N11 = (scale**2 * probability_N)[:, None, None]
            left_X = np.array(left, np.int64)
            matrix_NQQ[:, left_X[:, None], left_X] += weight_N11 * _covariance(p_NX)
            for x, response in enumerate(left):
                next_N[tuple(i for i in left if i != response)] += probability_N * p_NX[:, x]
        reach_N = next_N
    return matrix_NQQ


def _best_and_worst(reward_NQ: Floats, scale_X: Floats) -> Floats:
    """Covariance of e_b − e_w over the ordered pairs of two different responses."""
    k = reward_NQ.shape[1]
    best_X, worst_X = np.nonzero(~np.eye(k, dtype=np.bool_))
    p_NX = _softmax(reward_NQ[:, best_X] - reward_NQ[:, worst_X])
    answer_XQ = np.eye(k)[best_X] - np.eye(k)[worst_X]
    score_NXQ = answer_XQ - (p_NX @ answer_XQ)[:, None, :]
    return np.asarray((score_NXQ * p_NX[:, :, None]).transpose(0, 2, 1) @ score_NXQ)
