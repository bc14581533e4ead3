"""Calibration of a judge's confidence: the probability that a person agrees, which never falls as confidence grows.

Reference: Zadrozny and Elkan, "Transforming classifier scores into accurate multiclass probability estimates", KDD 2002
           (isotonic regression).
Formula:   min Σ (agrees − f(confidence))² over non-decreasing f; between two observed values, f is that of the lower.

The result only orders pairs: equal values merge confidences between which people's votes show no difference.
"""

from __future__ import annotations

import numpy as np
import scipy
from numpy.typing import NDArray

FEWEST = 30  # votes; with fewer, the raw confidence orders better


def calibrated(
    confidence_X: NDArray[np.float64], seen_N: NDArray[np.float64], agrees_N: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return the calibrated values of X confidences; the confidences themselves if there are fewer than 30 votes.

    Args:
        confidence_X: how sure the judge was of each pair to order.
        seen_N: how sure it was of N other pairs, on which people voted.
        agrees_N: whether the person's vote was the judge's.
    """
    if len(seen_N) < FEWEST:
        return confidence_X
    value_V, place_N, count_V = np.unique(seen_N, return_inverse=True, return_counts=True)
    share_V = np.bincount(place_N, weights=agrees_N.astype(np.float64)) / count_V
    fitted_V = scipy.optimize.isotonic_regression(share_V, weights=count_V.astype(np.float64)).x
    below_X = np.searchsorted(value_V, confidence_X, side="right") - 1
    return np.asarray(fitted_V[np.maximum(below_X, 0)], np.float64)
