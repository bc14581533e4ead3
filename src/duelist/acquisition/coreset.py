"""Coreset: a sample of comparisons on which logistic regression is likely to give the same result as on all of them.

Reference: Huggins, Campbell, Broderick, "Coresets for Scalable Bayesian Logistic Regression", NeurIPS 2016,
           arXiv 1605.06423, lemma 3.1 and algorithm 1; as a rule for comparisons: Shen, Sun, Ton, arXiv 2502.04354,
           Section 3.1.
Formula:   pick with probabilities in proportion to m_n, without replacement;  m_n = ⌈N / (1 + Σ_i |G_i^(−n)| ·
           exp(−R |z̄_i^(−n) − z_n|))⌉, G_i^(−n) cluster i without point n, z̄_i^(−n) its mean. m_n is an upper bound on
           the sensitivity of z_n: its largest share of the log-likelihood for weights of norm R at most.
Unit:      the probability of being drawn first.
Cost:      k-means with k clusters, O(k N D) per step; the pool is held in memory.

The paper's z_n = y_n x_n includes the label. A candidate has no label yet: both z = δ and z = −δ are possible. So both
are points, the 2N points are clustered, and the bound of a pair is the mean of its two bounds. The bound does not
depend on which response is called `a`. The paper draws with replacement and weights the draws. Here a pair drawn twice
would cost two labels, so pairs are drawn without replacement.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from duelist.acquisition.base import Acquisition
from duelist.acquisition.numerics.linear_features import FeatureName, field_of, rows_of
from duelist.types import Features, Selection

Floats = NDArray[np.float64]
LLOYD_STEPS = 20


class CoresetConfig(BaseModel):
    """Settings of the coreset rule."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    features: FeatureName = Field(
        default="gradient", description="δ: differences of the trained model's gradients, or of frozen embeddings."
    )
    clusters: int = Field(default=6, ge=1, description="Number of k-means clusters, k.")
    radius: float = Field(default=3.0, gt=0, description="R: largest norm of the weights, see `radius_relative`.")
    radius_relative: bool = Field(
        default=True,
        description="true: R is in units of 1 / (the pool's root mean square |δ|), which removes the scale of the "
        "features; false: R is an absolute number, as in the paper.",
    )


class Coreset(Acquisition):
    """Sampling by sensitivity, without replacement."""

    def __init__(self, config: CoresetConfig) -> None:
        self.config = config

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({field_of(self.config.features)})

    def select(self, features: Features, budget: int, rng: np.random.Generator) -> Selection:
        delta_ND = _canonical(np.asarray(rows_of(features, self.config.features), np.float64))
        points_ND = np.concatenate([delta_ND, -delta_ND])
        scale = float(np.sqrt(np.vecdot(delta_ND, delta_ND).mean())) if self.config.radius_relative else 1.0
        radius = self.config.radius / scale if scale > 0 else 0.0
        cluster_N = cluster(points_ND, self.config.clusters, rng)
        both_N = sensitivity_bounds(points_ND, cluster_N, radius)
        bound_N = 0.5 * (both_N[: features.n] + both_N[features.n :])
        # The B largest log m + Gumbel noise are an ordered draw without replacement (Efraimidis, Spirakis 2006).
        indices_B = np.argsort(-(np.log(bound_N) + rng.gumbel(size=features.n)), kind="stable")[:budget]
        probability_N = bound_N / bound_N.sum()
        diagnostics = {"mean_sensitivity_bound": float(bound_N.mean()), "largest_sensitivity_bound": bound_N.max()}
        return Selection(indices_B, probability_N[indices_B], "probability of being drawn first", diagnostics)


def _canonical(delta_ND: Floats) -> Floats:
    """Return each row with the sign that makes its first nonzero number positive: δ and −δ give the same row."""
    first_N = np.argmax(delta_ND != 0, axis=1)
    sign_N = np.where(np.take_along_axis(delta_ND, first_N[:, None], axis=1)[:, 0] < 0, -1.0, 1.0)
    return delta_ND * sign_N[:, None]


def cluster(points_ND: Floats, k: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return the cluster of each point by k-means: k-means++ seeding, then Lloyd's steps to convergence, at most 20."""
    square_N = np.vecdot(points_ND, points_ND)
    centre_XD = points_ND[rng.integers(len(points_ND))][None]
    for _ in range(min(k, len(points_ND)) - 1):
        nearest_N = np.maximum(_square_distances(points_ND, square_N, centre_XD).min(axis=1), 0.0)
        total = nearest_N.sum()
        if not total > 0:
            break  # every point is a centre
        centre_XD = np.concatenate([centre_XD, points_ND[[rng.choice(len(points_ND), p=nearest_N / total)]]])
    cluster_N = _square_distances(points_ND, square_N, centre_XD).argmin(axis=1)
    for _ in range(LLOYD_STEPS):
        sum_XD, count_X = _cluster_sums(points_ND, cluster_N, len(centre_XD))
        centre_XD = np.where(count_X[:, None] > 0, sum_XD / np.maximum(count_X, 1)[:, None], centre_XD)
        moved_N = _square_distances(points_ND, square_N, centre_XD).argmin(axis=1)
        if (moved_N == cluster_N).all():
            break
        cluster_N = moved_N
    return np.asarray(cluster_N)


def sensitivity_bounds(points_ND: Floats, cluster_N: NDArray[np.int64], radius: float) -> Floats:
    """Return m_n of lemma 3.1, rounded up as in algorithm 1; shape `[N]`, at least 1.

    Args:
        points_ND: z.
        cluster_N: the cluster of each point, from 0.
        radius: R.
    """
    n = len(points_ND)
    square_N = np.vecdot(points_ND, points_ND)
    sum_XD, count_X = _cluster_sums(points_ND, cluster_N, int(cluster_N.max()) + 1)
    mean_XD = sum_XD / np.maximum(count_X, 1)[:, None]
    distance_NX = np.sqrt(np.maximum(_square_distances(points_ND, square_N, mean_XD), 0.0))
    size_NX = np.tile(count_X.astype(np.float64), (n, 1))
    # Remove the point from its own cluster: the mean moves away from it by the factor |G| / (|G| − 1).
    own = (np.arange(n), cluster_N)
    size_NX[own] -= 1.0
    distance_NX[own] *= (size_NX[own] + 1.0) / np.maximum(size_NX[own], 1.0)
    weight_N = (size_NX * np.exp(-radius * distance_NX)).sum(axis=1)
    return np.asarray(np.ceil(n / (1.0 + weight_N) - 1e-9))


def _cluster_sums(points_ND: Floats, cluster_N: NDArray[np.int64], k: int) -> tuple[Floats, NDArray[np.int64]]:
    member_NX = (cluster_N[:, None] == np.arange(k)).astype(np.float64)
    return member_NX.T @ points_ND, np.bincount(cluster_N, minlength=k)


def _square_distances(points_ND: Floats, square_N: Floats, centre_XD: Floats) -> Floats:
    return np.asarray(square_N[:, None] + np.vecdot(centre_XD, centre_XD)[None] - 2.0 * points_ND @ centre_XD.T)
