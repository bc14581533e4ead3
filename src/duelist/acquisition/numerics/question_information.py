"""Rows of the questions of a study: the information of their answers, as the rules need it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from duelist.acquisition.numerics.linear_features import FeatureName
from duelist.acquisition.numerics.question_rows import QuestionRows
from duelist.choice_models.information import information_matrices, roots, unweighted_matrices
from duelist.types import Features

Floats = NDArray[np.float64]

# Number of questions that represent a memory-mapped pool as the target: a random sample, as the pool order is random.
MAPPED_TARGETS = 4096


def question_sizes(features: Features) -> NDArray[np.int64]:
    """Return the number of responses of each question, `[N]`."""
    assert features.place_NQ is not None  # the caller has checked the form
    return np.asarray((features.place_NQ >= 0).sum(axis=1), np.int64)


def matrices_of(features: Features, weighted: bool, temperature: float = 1.0, scale_X: Floats | None = None) -> Floats:
    """Return M of each question under the current model; unweighted: 4 M at equal rewards, without the scales.

    Args:
        features: candidates or past questions, in the form of sets.
        weighted: whether the rewards count.
        temperature: τ.
        scale_X: the scale of each stage of a ranking; None for equal ones.
    """
    assert features.place_NQ is not None and features.asks_N is not None
    size_N = question_sizes(features)
    if not weighted:
        return unweighted_matrices(features.asks_N, size_N, features.place_NQ.shape[1])
    assert features.reward_R is not None  # `choose` checked the needs
    reward_NQ = features.reward_R[features.place_NQ] / temperature
    return information_matrices(reward_NQ, features.asks_N, size_N, scale_X)


def question_rows(features: Features, which: FeatureName, matrix_NQQ: Floats) -> QuestionRows:
    """Return the rows U of each question, UᵀU = Gᵀ M G, where G holds the responses' gradients or embeddings."""
    assert features.place_NQ is not None
    root_NQW = roots(matrix_NQQ, question_sizes(features))
    return QuestionRows(getattr(features, f"{which}_RD"), features.place_NQ, root_NQW)


def past_rows(features: Features, which: FeatureName, matrix_NQQ: Floats) -> Floats:
    """Return the rows of all past questions, one after another, `[X, D]`."""
    rows = question_rows(features, which, matrix_NQQ)
    return rows.stacked(np.arange(len(rows)))


def pool_targets(rows: QuestionRows) -> Floats:
    """Return rows whose mean outer product is the pool's mean of φφᵀ, `[X, D]`.

    The mean is over the questions, and for each over the pairs of its responses, whose φ is the difference of their
    gradients: Σ φφᵀ = Gᵀ(kI − 11ᵀ)G over k(k − 1)/2 pairs. The matrices of a group of responses are added, and their
    roots applied to its gradients. A memory-mapped pool is represented by 4,096 of its questions.
    """
    if rows.mapped and len(rows) > MAPPED_TARGETS:
        rows = rows.first(MAPPED_TARGETS)
    inside_NQ = rows.place_NQ >= 0
    size_N = inside_NQ.sum(axis=1)[:, None, None]
    centring_NQQ = np.eye(inside_NQ.shape[1]) - 1.0 / size_N
    centring_NQQ *= (2.0 / (size_N - 1)) * (inside_NQ[:, :, None] & inside_NQ[:, None, :])
    weights = rows.groups.summed(centring_NQQ, inside_NQ)
    parts = []
    for groups_G, response_XD in rows.blocks():
        start = 0
        for weight_XX in rows.groups.matrices(weights, groups_G):
            eigenvalue_X, vector_XX = np.linalg.eigh(weight_XX)
            root_XX = (vector_XX * np.sqrt(np.maximum(eigenvalue_X, 0.0)))[:, 1:]  # the first is 0: rows sum to 0
            parts.append(root_XX.T @ response_XD[start : start + len(weight_XX)])
            start += len(weight_XX)
    target_XD = np.concatenate(parts) if parts else np.empty((0, rows.shape[2]))
    return np.asarray(target_XD * np.sqrt(len(target_XD) / max(1, len(rows))))
