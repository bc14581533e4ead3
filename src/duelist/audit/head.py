"""A ridge logistic head on fixed features of pairs: the model that an audit trains.

Formula:   P(a) = σ(θᵀx), θ ~ N(0, I/λ); x has the leading principal components of the difference of the two responses'
           vectors, and the difference of their log lengths, each scaled to mean square 1. There is no intercept, so
           swapping a and b changes nothing. λ has the largest marginal likelihood of all labels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from duelist.acquisition.numerics.evidence import fit_precision, log_evidence
from duelist.types import Question

Floats = NDArray[np.float64]

COMPONENTS = 48  # of the vectors' differences, at most; few enough for tens of labels, and seconds in all


def pair_rows(questions: tuple[Question, ...], vector_XH: NDArray[Any] | None, other_XH: NDArray[Any] | None) -> Floats:
    """Return x of each pair, `[X, D]`.

    Args:
        questions: the pairs.
        vector_XH: vectors of their first responses; None for lengths alone.
        other_XH: vectors of their second responses.
    """
    length_X = np.array([_words(q.a.text) - _words(q.b.text) for q in questions])[:, None]
    parts = [_scaled(length_X)]
    if vector_XH is not None and other_XH is not None:
        difference_XH = np.asarray(vector_XH, np.float64) - np.asarray(other_XH, np.float64)
        _, size_X, axis_XH = np.linalg.svd(difference_XH, full_matrices=False)
        kept = min(COMPONENTS, int((size_X > 1e-9 * size_X.max(initial=0.0)).sum()))
        parts.insert(0, _scaled(difference_XH @ axis_XH[:kept].T))
    return np.concatenate(parts, axis=1)


def fitted_precision(rows_XD: Floats, share_X: Floats) -> float:
    """Return λ by the marginal likelihood of the labels; its prior is centred where the prior's logits have size 1."""
    return fit_precision(rows_XD, _votes(share_X, np.ones(len(share_X))), float(max(1, rows_XD.shape[1])))


def fit(rows_XD: Floats, share_X: Floats, weight_X: Floats, precision: float) -> Floats:
    """Return θ of largest posterior density, `[D]`."""
    return log_evidence(rows_XD, _votes(share_X, weight_X), precision)[1]


def _votes(share_X: Floats, weight_X: Floats) -> Floats:
    return np.stack([share_X * weight_X, (1.0 - share_X) * weight_X], axis=1)


def _words(text: str) -> float:
    return float(np.log1p(len(text.split())))


def _scaled(column_XD: Floats) -> Floats:
    """Return columns of mean square 1; a column of zeros stays."""
    root_D = np.sqrt(np.square(column_XD).mean(axis=0))
    return np.asarray(column_XD / np.where(root_D > 0, root_D, 1.0))
