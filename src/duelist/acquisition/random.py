"""Random selection: a uniform draw without replacement, the baseline of every comparison.

Reference: none needed.
Formula:   each of the N candidates is equally likely.
Unit:      none (scores are 0).
Cost:      O(N).
"""

from __future__ import annotations

import numpy as np

from duelist.acquisition.base import Acquisition
from duelist.types import Features, Selection


class Random(Acquisition):
    """Random selection, uniform over the candidates. It needs no features, so none are computed."""

    selects_sets = True
    uniform = True

    @property
    def needs(self) -> frozenset[str]:
        return frozenset()

    def select(self, features: Features, budget: int, rng: np.random.Generator) -> Selection:
        # The pool arrives in a uniformly random order, so its first pairs are a uniform sample.
        return Selection(np.arange(budget), np.zeros(budget), "none")
