"""k-center: cover the pool, so that every comparison is close to a labelled one.

Reference: Sener, Savarese, "Active Learning for Convolutional Neural Networks: A Core-Set Approach", ICLR 2018,
           arXiv 1708.00489, algorithm 1 (k-Center-Greedy).
Formula:   repeatedly argmax_i min_{j picked or past} d(δ_i, δ_j),  d(δ, δ') = min(|δ − δ'|, |δ + δ'|).
Unit:      distance in feature space.
Cost:      one product of the pool with each past pair and each pick: O((P + B) N D); the pool is held in memory.

Which response is called `a` is arbitrary: δ and −δ are the same comparison. |δ − δ'| alone would treat them as distant
and ask about both. d is the distance between the sets {δ, −δ} and {δ', −δ'}. It is a metric, so the guarantee of the
greedy algorithm (a radius at most twice the best one) holds for it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from duelist.acquisition.base import Acquisition
from duelist.acquisition.numerics.greedy import TIE_TOLERANCE
from duelist.acquisition.numerics.linear_features import FeatureName, field_of, rows_of
from duelist.types import Features, Selection

# Number of past pairs compared with the pool at a time.
PAST_BLOCK = 64


class KCenterConfig(BaseModel):
    """Settings of k-center."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    features: FeatureName = Field(
        default="gradient",
        description="δ: differences of the trained model's gradients, or of frozen embeddings.",
    )


class KCenter(Acquisition):
    """Farthest-first selection. Past pairs are the first centres; without any, the first pick is a uniform draw."""

    def __init__(self, config: KCenterConfig) -> None:
        self.config = config

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({field_of(self.config.features), "past"})

    def select(self, features: Features, budget: int, rng: np.random.Generator) -> Selection:
        assert features.past is not None  # `choose` checked the needs
        rows_ND = np.asarray(rows_of(features, self.config.features), np.float64)
        past_PD = np.asarray(rows_of(features.past, self.config.features), np.float64)
        square_N = np.vecdot(rows_ND, rows_ND)
        tolerance = TIE_TOLERANCE[np.dtype(np.float64)] * float(square_N.max())
        nearest_N = np.full(len(rows_ND), np.inf)  # squared distance to the nearest centre
        for start in range(0, len(past_PD), PAST_BLOCK):
            block_PD = past_PD[start : start + PAST_BLOCK]
            np.minimum(nearest_N, _square_distances(rows_ND, square_N, block_PD).min(axis=1), out=nearest_N)
        indices_B, square_B = np.empty(budget, np.int64), np.empty(budget)
        for b in range(budget):
            best = int(np.argmax(nearest_N >= nearest_N.max() - tolerance))
            indices_B[b], square_B[b] = best, nearest_N[best]
            np.minimum(nearest_N, _square_distances(rows_ND, square_N, rows_ND[best][None])[:, 0], out=nearest_N)
            nearest_N[best] = -np.inf
        drawn_B = np.isinf(square_B)  # the first pick, if there is no centre yet
        scores_B = np.where(drawn_B, 0.0, np.sqrt(np.maximum(np.where(drawn_B, 0.0, square_B), 0.0)))
        radius = float(np.sqrt(max(0.0, nearest_N.max())))
        return Selection(indices_B, scores_B, "distance to the nearest asked pair", {"covering_radius": radius})


def _square_distances(rows_ND: Any, square_N: NDArray[np.float64], centre_XD: Any) -> NDArray[np.float64]:
    """Return d² of every row to each centre: |δ|² + |c|² − 2|δ·c|, for the sign with the smaller distance."""
    squares_NX = square_N[:, None] + np.vecdot(centre_XD, centre_XD)[None]
    return np.asarray(squares_NX - 2.0 * np.abs(rows_ND @ centre_XD.T))
