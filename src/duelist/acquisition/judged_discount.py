"""What a judge already tells of pairs, taken off the information of a person's label.

Formula:   with ω the judge's worth, the share of a person's information that a judgement has: a judged pair of the past
           that no person labelled adds ω p(1 − p)·φφᵀ to the information matrix, and a person's label on a judged
           candidate the rest, (1 − ω) p(1 − p)·φφᵀ. So their φ is multiplied by √ω and √(1 − ω), for any rule that
           reads gradients of pairs.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from duelist.types import Features


def discounted(
    features: Features, judged_N: NDArray[np.bool_], judged_only_P: NDArray[np.bool_], worth: float
) -> Features:
    """Return the features with the gradients of judged pairs scaled.

    Args:
        features: N candidates and P past pairs.
        judged_N: which candidates were judged in earlier rounds.
        judged_only_P: which past pairs were judged, but not asked.
        worth: ω.
    """
    past = features.past
    if features.gradient_ND is None or past is None or past.gradient_ND is None:
        return features
    own_N, past_P = (np.where(x, np.sqrt(w), 1.0) for x, w in ((judged_N, 1.0 - worth), (judged_only_P, worth)))
    scaled = replace(past, gradient_ND=_times(past.gradient_ND, past_P))
    return replace(features, gradient_ND=_times(features.gradient_ND, own_N), past=scaled)


def _times(rows_ND: NDArray[np.float32] | NDArray[np.float64], factor_N: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return rows times their factors, in the rows' own precision; the rows themselves if every factor is 1."""
    if (factor_N == 1.0).all():
        return rows_ND  # type: ignore[return-value]
    return np.asarray(rows_ND * factor_N[:, None].astype(rows_ND.dtype))
