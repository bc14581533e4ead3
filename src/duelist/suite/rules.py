"""Rules for the suite alone: random selection on a stream of its own.

Reference: none needed.
Formula:   the candidates with the smallest hash of (seed, stream, pair id). It does not depend on the round: of a fixed
           pool, the pairs of the first rounds are those that one large round would pick.
Unit:      none (scores are 0).
Cost:      a hash per candidate.
"""

from __future__ import annotations

from typing import final

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from duelist.acquisition.base import Acquisition
from duelist.seeding import generator, hash_keys
from duelist.types import Features, Selection


class RandomStreamConfig(BaseModel):
    """Settings of random selection on a stream of its own."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(ge=0, description="The study's seed.")
    stream: int = Field(default=0, ge=0, description="Which stream of this seed.")


@final
class RandomStream(Acquisition):
    """Uniform selection that is independent of `random` on the same seed, and the same in whatever rounds."""

    selects_sets = True
    uniform = True

    def __init__(self, config: RandomStreamConfig) -> None:
        self.config = config

    @property
    def needs(self) -> frozenset[str]:
        return frozenset()

    def select(self, features: Features, budget: int, rng: np.random.Generator) -> Selection:
        own = generator(self.config.seed, "suite", "stream", self.config.stream)
        keys_N = hash_keys(own, features.pair_id_N.tolist())
        return Selection(np.argsort(keys_N, kind="stable")[:budget], np.zeros(budget), "none")
