"""Draws with known probabilities in the place of a rule's highest gains, and the weights that make the loss unbiased.

Reference: Farquhar, Gal, Rainforth, "On statistical bias in active learning: how and when to fix it", ICLR 2021, arXiv
           2101.11665, R̃_LURE; the softmax: Kirsch et al., "Stochastic batch acquisition", TMLR 2023, arXiv 2106.12059.
Formula:   pairs are drawn one after another, without replacement, with probability

               q_m(i) ∝ (1 − ε) softmax(g_i / (T s)) + ε / N  over the pairs that are left,                          (1)

           g the gain of a pair by itself, s the standard deviation of the pool's gains. The loss of the m-th of M pairs
           from a pool of N is weighted by 1 + (N − M)/(N − m) · (1/((N − m + 1) q_m) − 1), see
           `duelist.choice_models.levelled_risk`.
Unit:      that of the rule's gain.
Cost:      that of the rule's gains; then O(N log N).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from duelist.seeding import hash_keys

Floats = NDArray[np.float64]

ROUNDING = 1e-6  # of float32 features: gains that differ by less, relative to the largest, are equal


class LureConfig(BaseModel):
    """Settings of drawing with known probabilities."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    temperature: float = Field(
        default=1.0,
        gt=0,
        description="T of the softmax, in standard deviations of the pool's gains: a large T draws all pairs alike.",
    )
    uniform: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="ε, the share of the pool's own distribution in every draw. While few pairs of the pool are drawn, "
        "no weight is much above 1/ε.",
    )
    weights: Literal["lure", "equal"] = Field(
        default="lure",
        description="Weights of the labels in the loss: lure, unbiased for the loss over the pool; or equal.",
    )


@dataclass(frozen=True)
class Drawn:
    """Pairs drawn one after another, in the order in which they were drawn.

    Attributes:
        indices_B: positions in the pool.
        propensity_B: q_m, the probability of the pair that was drawn, given the draws before it.
        left_B: N − m + 1, the number of pairs that were left when it was drawn.
    """

    indices_B: NDArray[np.int64]
    propensity_B: Floats
    left_B: NDArray[np.int64]


def proposal(gain_N: Floats, config: LureConfig) -> Floats:
    """Return equation (1) for the first draw: the share of each pair, positive, of sum 1.

    A pool whose gains are all equal, up to rounding, is drawn from uniformly.

    Args:
        gain_N: the gain of each pair by itself, finite; higher is better.
        config: T and ε.
    """
    n, deviation = len(gain_N), float(gain_N.std())
    if deviation <= ROUNDING * float(np.abs(gain_N).max()):
        return np.full(n, 1.0 / n)
    scaled_N = (gain_N - gain_N.max()) / (config.temperature * deviation)
    return np.asarray((1.0 - config.uniform) * scipy.special.softmax(scaled_N) + config.uniform / n)


def draw(share_N: Floats, pair_ids: Sequence[str], budget: int, uniform_first: int, rng: np.random.Generator) -> Drawn:
    """Draw pairs without replacement: some uniformly from the whole pool, then the others by their shares.

    Adding standard Gumbel noise to the logarithms of the shares and taking the largest sums is the same as drawing one
    after another (Kool, van Hoof, Welling, ICML 2019). The noise is a hash of each pair's id, so the order of the pool
    does not matter.

    Args:
        share_N: the shares, positive.
        pair_ids: the pairs.
        budget: how many to draw, B <= N.
        uniform_first: how many of them are drawn uniformly; they come first.
        rng: the generator.
    """
    order_N = np.argsort(hash_keys(rng, pair_ids), kind="stable")
    uniform_N = (hash_keys(rng, pair_ids).astype(np.float64) + 0.5) / 2.0**64
    noisy_N = np.log(share_N) - np.log(-np.log(np.clip(uniform_N, 1e-300, 1.0 - 1e-16)))
    first_B = order_N[:uniform_first]
    noisy_N[first_B] = -np.inf
    rest_B = np.argsort(-noisy_N, kind="stable")[: budget - len(first_B)]
    indices_B = np.concatenate([first_B, rest_B]).astype(np.int64)
    return Drawn(indices_B, propensities(share_N, indices_B, uniform_first), len(share_N) - np.arange(budget))


def propensities(share_N: Floats, indices_B: NDArray[np.int64], uniform_first: int = 0) -> Floats:
    """Return q_m of pairs drawn in this order: equation (1), or one over the pairs left for the first uniform draws."""
    left_B = len(share_N) - np.arange(len(indices_B))
    drawn_B = share_N[indices_B]
    never = float(np.delete(share_N, indices_B).sum())
    mass_B = never + np.cumsum(drawn_B[::-1])[::-1]  # of the pairs left; added up, so that it never rounds to 0
    return np.where(np.arange(len(indices_B)) < uniform_first, 1.0 / left_B, drawn_B / mass_B)
