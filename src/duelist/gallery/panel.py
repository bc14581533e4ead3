"""Contents of a gallery panel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

REACH, SIDE = 3.5, 60  # the square from −REACH to REACH, SIDE points across


@dataclass(frozen=True)
class Panel:
    """One round of one rule.

    Attributes:
        points_R2: the points drawn.
        picks_B2: the two points of each picked comparison.
        estimate_XX: the model's reward over the grid, before the round's labels.
        error: distance from the truth: 1 − Spearman's correlation over N(0, I).
    """

    points_R2: Floats
    picks_B2: NDArray[np.int64]
    estimate_XX: Floats
    error: float


def grid_points() -> Floats:
    """Return the points `[SIDE², 2]` at which the estimate is drawn."""
    axis_X = np.linspace(-REACH, REACH, SIDE)
    return np.stack(np.meshgrid(axis_X, axis_X), axis=-1).reshape(-1, 2)
