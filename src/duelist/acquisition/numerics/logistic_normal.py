"""A label's information averaged over a Gaussian posterior of its margin.

Reference: Monahan, Stefanski, "Normal scale mixture approximations to F*(z) and computation of the logistic-normal
           integral", in Balakrishnan (ed.), "Handbook of the Logistic Distribution", 1992.
Formula:   σ(z) ≈ Σ_k p_k Φ(s_k z), so for z ~ N(μ, v), with r_k = 1/√(1 + s_k² v) and N the standard normal density,
           E[σ(z)(1 − σ(z))] ≈ Σ_k p_k s_k r_k N(s_k r_k μ).  The error is at most 1.4e-8, whatever μ and v.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# p_k and s_k of the mixture of eight.
_SHARE_K = np.array(
    [
        3.246343272134e-3,
        5.151747703347e-2,
        1.950779126858e-1,
        3.155698236328e-1,
        2.741495761583e-1,
        1.310768806967e-1,
        2.791241879272e-2,
        1.449567805354e-3,
    ]
)
_SLOPE_K = np.array(
    [
        1.365340806296,
        1.059523971016,
        0.830791313765,
        0.650732166639,
        0.508135425366,
        0.396313345166,
        0.308904252267,
        0.238212616409,
    ]
)


def averaged_information(mean_N: Floats, variance_N: Floats) -> Floats:
    """Return E[p(1 − p)], p = σ(z), z ~ N(mean, variance), of each pair, `[N]`.

    Args:
        mean_N: posterior means of the margins, in logits.
        variance_N: their posterior variances, not negative.
    """
    slope_NK = _SLOPE_K / np.sqrt(1.0 + _SLOPE_K**2 * variance_N[:, None])
    density_NK = np.exp(-0.5 * (slope_NK * mean_N[:, None]) ** 2) / np.sqrt(2.0 * np.pi)
    return np.asarray((_SHARE_K * slope_NK * density_NK).sum(axis=1))
