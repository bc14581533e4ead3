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
from duelist.data.words import log_length
from duelist.errors import DataError
from duelist.types import Question

Floats = NDArray[np.float64]

COMPONENTS = 48  # of the vectors' differences, at most; few enough for tens of labels, and seconds in all


def pair_rows(questions: tuple[Question, ...], vector_XH: NDArray[Any] | None, other_XH: NDArray[Any] | None) -> Floats:
    """Return x of each pair, `[X, D]`.

    Args:
        questions: the pairs.
        vector_XH: vectors of their first responses; None for lengths alone.
        other_XH: vectors of their second responses.

    Raises:
        DataError: if all features are 0.
    """
    length_X1 = np.array([log_length(q.a.text) - log_length(q.b.text) for q in questions])[:, None]
    parts = [scaled(length_X1)]
    if vector_XH is not None and other_XH is not None:
        parts.insert(0, principal_components(np.asarray(vector_XH, np.float64) - np.asarray(other_XH, np.float64)))
    rows_XD = np.concatenate(parts, axis=1)
    if not rows_XD.any():
        raise DataError(
            "An audit needs features that tell the two responses of some pair apart, but they are equal for all "
            f"{len(questions)} pairs: give others with --embeddings."
        )
    return rows_XD


def principal_components(row_XH: Floats) -> Floats:
    """Return the leading principal components of rows about 0, `[X, at most 48]`, each of mean square 1."""
    wide = row_XH.shape[1] > row_XH.shape[0]
    square_H, axis_HH = np.linalg.eigh(row_XH @ row_XH.T if wide else row_XH.T @ row_XH)
    kept = min(COMPONENTS, int((square_H > 1e-12 * square_H.max(initial=0.0)).sum()))
    leading_HD = axis_HH[:, ::-1][:, :kept]
    return scaled(leading_HD if wide else row_XH @ leading_HD)


def scaled(column_XD: Floats) -> Floats:
    """Return columns of mean square 1; a column of zeros stays."""
    root_D = np.sqrt(np.square(column_XD).mean(axis=0))
    return np.asarray(column_XD / np.where(root_D > 0, root_D, 1.0))


def fitted_precision(rows_XD: Floats, share_X: Floats) -> float:
    """Return λ by the marginal likelihood of the labels; its prior is centred where the prior's logits have size 1."""
    return fit_precision(rows_XD, _votes(share_X, np.ones(len(share_X))), float(max(1, rows_XD.shape[1])))


def fit(rows_XD: Floats, share_X: Floats, weight_X: Floats, precision: float) -> Floats:
    """Return θ of largest posterior density, `[D]`."""
    return log_evidence(rows_XD, _votes(share_X, weight_X), precision)[1]


def _votes(share_X: Floats, weight_X: Floats) -> Floats:
    return np.stack([share_X * weight_X, (1.0 - share_X) * weight_X], axis=1)
