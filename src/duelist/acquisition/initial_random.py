"""Random selection for the first picks of a study, then the rule: a wrapper around any acquisition.

Reference: the usual cold start of active learning.
Formula:   the first n pairs of the study are drawn uniformly at random.
Unit:      that of the wrapped rule; 0 for random picks.
Cost:      that of the wrapped rule, or none if the whole batch is random.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from duelist.acquisition.base import ARRAY_FIELDS, Acquisition, take
from duelist.types import Features, Selection


class InitialRandom(Acquisition):
    """Wrapper that picks `random_picks` pairs at random, counts them as past pairs, and fills the batch with `rule`."""

    def __init__(self, rule: Acquisition, random_picks: int, budget: int) -> None:
        self.rule = rule
        self.random_picks = min(random_picks, budget)
        self.budget = budget

    @property
    def needs(self) -> frozenset[str]:
        return frozenset() if self.random_picks == self.budget else self.rule.needs

    def select(self, features: Features, budget: int, rng: np.random.Generator) -> Selection:
        n_random = min(self.random_picks, budget)
        drawn = np.arange(n_random)  # the pool arrives in random order
        if n_random == budget:
            return Selection(drawn, np.zeros(budget), "random")
        rest = np.arange(n_random, features.n)
        pool = dataclasses.replace(take(features, rest), past=_append(features.past, take(features, drawn)))
        chosen = self.rule.select(pool, budget - n_random, rng)
        return dataclasses.replace(
            chosen,
            indices_B=np.concatenate([drawn, rest[chosen.indices_B]]),
            scores_B=np.concatenate([np.zeros(n_random), chosen.scores_B]),
        )


def _append(past: Features | None, drawn: Features) -> Features | None:
    if past is None:
        return None
    columns: dict[str, Any] = {}
    for name in ARRAY_FIELDS:
        before, after = getattr(past, name), getattr(drawn, name)
        columns[name] = None if before is None or after is None else np.concatenate([before, after])
    return dataclasses.replace(past, **columns)
