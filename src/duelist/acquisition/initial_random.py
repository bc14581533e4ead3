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
from numpy.typing import NDArray

from duelist.acquisition.base import Acquisition
from duelist.acquisition.feature_contract import ARRAY_FIELDS, RESPONSE_FIELDS, take
from duelist.types import Features, Selection


class InitialRandom(Acquisition):
    """Wrapper that picks `random_picks` pairs at random, counts them as past pairs, and fills the batch with `rule`."""

    def __init__(self, rule: Acquisition, random_picks: int, budget: int) -> None:
        self.rule = rule
        self.random_picks = min(random_picks, budget)
        self.budget = budget
        self.selects_sets = self.random_picks == budget or rule.selects_sets
        self.uniform = self.random_picks == budget or rule.uniform

    @property
    def refused_for_sets(self) -> str | None:
        return None if self.random_picks == self.budget else self.rule.refused_for_sets

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
    if past.place_NQ is not None and drawn.place_NQ is not None:
        columns, drawn = _joined_responses(past, drawn)
    for name in ARRAY_FIELDS:
        before, after = getattr(past, name), getattr(drawn, name)
        columns[name] = None if before is None or after is None else np.concatenate(_equally_wide(before, after))
    return dataclasses.replace(past, **columns)


def _joined_responses(past: Features, drawn: Features) -> tuple[dict[str, Any], Features]:
    """Return the responses of the past questions with those of the drawn ones, and the drawn questions among them.

    The answers to past questions stay: the drawn ones, which follow, have none yet.
    """
    filled = [x for x in RESPONSE_FIELDS if getattr(past, x) is not None and getattr(drawn, x) is not None]
    if all(getattr(past, x) is getattr(drawn, x) for x in filled):
        return {}, drawn  # both name responses of the same arrays
    place_NQ = drawn.place_NQ
    assert place_NQ is not None
    used_R, inverse = np.unique(place_NQ[place_NQ >= 0], return_inverse=True)
    joined = {x: np.concatenate([getattr(past, x), getattr(drawn, x)[used_R]]) for x in filled}
    moved_NQ = np.full(place_NQ.shape, -1, np.int64)
    moved_NQ[place_NQ >= 0] = inverse + len(getattr(past, filled[0]))
    return joined, dataclasses.replace(drawn, place_NQ=moved_NQ)


def _equally_wide(before: NDArray[Any], after: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return both with the same number of columns; −1 stands in places that a smaller question lacks."""
    if before.ndim != 2 or before.shape[1] == after.shape[1]:
        return before, after
    wide = max(before.shape[1], after.shape[1])
    one, other = (np.pad(x, ((0, 0), (0, wide - x.shape[1])), constant_values=-1) for x in (before, after))
    return one, other
