"""Weights of labels whose pairs were drawn with known probabilities (`acquisition.lure`).

The pool of a round is a stratum of its own, and its estimate counts by the number of its pairs. A fixed pool is one
stratum: a later round draws from what the earlier ones left, so its draws continue theirs. Skips need no rule of their
own: v_m belongs to the draw, so a pair without a trained label is a loss of 0, and the loss is that of the pool's pairs
that people decide.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from duelist.acquisition.options import AcquisitionOptions
from duelist.choice_models.levelled_risk import effective_sample_size
from duelist.store.draws import weights_of_draws
from duelist.store.row_codecs import AskedQuestion
from duelist.types import Decision, Preference


def draw_weights(
    options: AcquisitionOptions, pool: str, asked: Sequence[AskedQuestion], rounds: range
) -> dict[str, float]:
    """Return v_m of each question of some rounds, by id; empty unless the recipe weights labels so.

    A question without a recorded propensity, such as one known before round 1, is left out: its weight is 1.

    Args:
        options: the recipe's options of the acquisition.
        pool: the recipe's `pool`.
        asked: the asked questions of all rounds.
        rounds: the rounds that are trained on.
    """
    if not options.weighs_draws:
        return {}
    # A random subset of a fixed pool (`candidates`) is a pool of its own, and so is what is left of it for a round that
    # trains alone.
    one_pool = pool == "fixed" and options.candidates is None and rounds.start <= 1
    return weights_of_draws([x for x in asked if x.round in rounds], one_pool=one_pool)


def weighted(decisions: Sequence[Decision], weights: Mapping[str, float]) -> list[Decision]:
    """Return the decisions with their weights times v of their question."""
    return [replace(x, weight=x.weight * weights.get(_question(x), 1.0)) for x in decisions]


def report(weights: Mapping[str, float], decisions: Sequence[Decision]) -> dict[str, float]:
    """Return the effective sample size of the decided questions; nothing without weights."""
    used = [weights[i] for i in {_question(x) for x in decisions} if i in weights]
    return {"effective_sample_size": effective_sample_size(np.array(sorted(used)))} if used else {}


def _question(decision: Decision) -> str:
    return decision.pair_id if isinstance(decision, Preference) else decision.question_id
