"""Triangular factors, with an error message if the factorisation fails."""

from __future__ import annotations

import numpy as np
import scipy
from numpy.typing import NDArray

from duelist.errors import NumericalError


def factored(matrix_DD: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the lower Cholesky factor L of a matrix with λ (a prior's precision) on its diagonal.

    Raises:
        NumericalError: if λ is lost to rounding relative to the other terms.
    """
    try:
        return np.asarray(scipy.linalg.cholesky(matrix_DD, lower=True, check_finite=False))
    except scipy.linalg.LinAlgError as error:
        raise NumericalError(
            f"λ must be larger than the rounding of the features' squared norms, but is lost beside them ({error}): "
            "give a larger λ (a smaller prior variance), or one relative to the features."
        ) from error
