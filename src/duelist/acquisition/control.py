"""A random slice of each batch beside the rule's picks, and the probability with which each pair was asked.

Reference: stratified sampling with a take-all stratum (Cochran, "Sampling Techniques", 1977, chapter 5).
Formula:   the pool is put into a random order, of which the first m pairs are the control slice C. The rule ranks the
           whole pool without knowing C. T is the shortest prefix of its picks with |T ∪ C| = B, of B − 1 picks at most;
           the batch is T and the first B − |T| pairs of the random order outside T. Which of these lie in T does not
           depend on the order of the others. So given T, those outside are a uniform sample of pool∖T, and each pair
           is asked with probability 1 in T and (B − |T|)/(N − |T|) outside.
Unit:      probability.
Cost:      a hash per candidate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from duelist.acquisition.base import Gains
from duelist.acquisition.lure import Drawn, LureConfig, draw, proposal
from duelist.acquisition.top import per_second
from duelist.choice_models.levelled_risk import effective_sample_size, lure_weights
from duelist.seeding import hash_keys
from duelist.types import Selection


@dataclass(frozen=True)
class Sampled:
    """How the pairs of a batch came into it.

    Attributes:
        selection: the batch, in the order in which it is asked.
        inclusion_B: probability with which each pair was asked, given those of probability 1.
            None if the pairs were drawn by their gains.
        control_B: which pairs are in the control slice: a uniform sample of the whole pool, blind to the rule.
        drawn: with `acquisition.lure`, how each pair was drawn; None otherwise. Its order is that of the batch.
    """

    selection: Selection
    inclusion_B: NDArray[np.float64] | None
    control_B: NDArray[np.bool_]
    drawn: Drawn | None = None

    def columns(self) -> tuple[list[Any], ...]:
        """Return inclusion, control, propensity and candidates left of each pair, as they are recorded."""
        nothing = [None] * len(self.control_B)
        inclusion = nothing if self.inclusion_B is None else self.inclusion_B.tolist()
        drawn = self.drawn
        own = (nothing, nothing) if drawn is None else (drawn.propensity_B.tolist(), drawn.left_B.tolist())
        return inclusion, self.control_B.tolist(), *own


def control_size(fraction: float, budget: int) -> int:
    """Return m, the number of pairs in the control slice of a batch: the fraction, rounded, and one at least."""
    return min(budget, max(1, round(fraction * budget))) if fraction else 0


def with_control(
    selection: Selection,
    pair_ids: Sequence[str],
    size: int,
    rng: np.random.Generator,
    *,
    uniform: bool = False,
    random_first: int = 0,
) -> Sampled:
    """Replace the last picks of a rule by a random slice of its pool.

    Args:
        selection: as many picks of the rule as the budget, made without knowing the slice.
        pair_ids: the candidates; their order does not matter.
        size: m, the number of pairs in the control slice; 0 for none.
        rng: the generator of the slice.
        uniform: whether the rule itself picks at random. Then its picks are the batch, every one is a control pair, and
            no slice is drawn.
        random_first: how many of the first picks are `InitialRandom`'s. They are control pairs too: a uniform sample of
            the pool, blind to the rule. Given all picks, they were taken for certain.

    Returns:
        The rule's picks in their order, with the random ones at random places between them: an annotator cannot tell
        which are which. The score of a random pick is 0.
    """
    budget, n = len(selection.indices_B), len(pair_ids)
    if uniform:
        return Sampled(selection, np.full(budget, budget / n), np.ones(budget, bool))
    if not size:
        return Sampled(selection, np.ones(budget), np.arange(budget) < random_first)
    random_N = np.argsort(hash_keys(rng, pair_ids), kind="stable")
    control_N = np.zeros(n, bool)
    control_N[random_N[:size]] = True
    prefix = _prefix(selection.indices_B, control_N, budget)
    chosen = selection.indices_B[:prefix]
    outside_N = random_N[~np.isin(random_N, chosen)][: budget - prefix]
    place_B = np.sort(rng.permutation(budget)[:prefix])  # of the rule's picks, in their order
    indices_B, scores_B, inclusion_B = np.empty(budget, np.int64), np.zeros(budget), np.empty(budget)
    inclusion_B[:] = (budget - prefix) / (n - prefix)
    rest_B = np.setdiff1d(np.arange(budget), place_B)
    indices_B[place_B], scores_B[place_B], inclusion_B[place_B] = chosen, selection.scores_B[:prefix], 1.0
    indices_B[rest_B] = outside_N
    control_N[chosen[:random_first]] = True
    found = Selection(indices_B, scores_B, selection.unit, {**selection.diagnostics, "picked_by_rule": prefix})
    return Sampled(found, inclusion_B, control_N[indices_B])


def drawn_by_gain(
    gains: Gains,
    pair_ids: Sequence[str],
    budget: int,
    uniform_first: int,
    config: LureConfig,
    rng: np.random.Generator,
    cost_N: NDArray[np.float64] | None = None,
) -> Sampled:
    """Draw a batch with known probabilities: the control slice from the whole pool, then pairs by their gains.

    Args:
        gains: the gain of each candidate by itself.
        pair_ids: the candidates; their order does not matter.
        budget: how many to draw, B.
        uniform_first: m, the number of pairs in the control slice, which are drawn first, blind to the gains.
        config: how gains become probabilities.
        rng: the generator.
        cost_N: expected seconds per pair; gains are then per second. None if cost does not count.

    Returns:
        The batch at random places, so that an annotator cannot tell which are which. The score of a pair is its gain,
        and 0 in the control slice.
    """
    gain_N, unit = per_second(gains.gain_N, gains.unit, cost_N)
    drawn = draw(proposal(gain_N, config), pair_ids, budget, uniform_first, rng)
    size = effective_sample_size(lure_weights(drawn.propensity_B, drawn.left_B))
    place_B = rng.permutation(budget)
    control_B = place_B < uniform_first
    mixed = Drawn(drawn.indices_B[place_B], drawn.propensity_B[place_B], drawn.left_B[place_B])
    score_B = np.where(control_B, 0.0, gain_N[mixed.indices_B])
    diagnostics = {**gains.diagnostics, "effective_sample_size": size}
    return Sampled(Selection(mixed.indices_B, score_B, unit, diagnostics), None, control_B, mixed)


def uniformly_drawn(sampled: Sampled, n: int) -> Sampled:
    """Return a batch of a rule that picks at random from n pairs, with the probability of each draw."""
    left_B = n - np.arange(len(sampled.control_B))
    return replace(sampled, drawn=Drawn(sampled.selection.indices_B, 1.0 / left_B, left_B))


def _prefix(picks_B: NDArray[np.int64], control_N: NDArray[np.bool_], budget: int) -> int:
    """Return the length of T."""
    union_B = np.arange(1, budget + 1) + control_N.sum() - np.cumsum(control_N[picks_B])
    if control_N.sum() == budget:
        return 0
    return min(budget - 1, int(np.argmax(union_B == budget)) + 1)
