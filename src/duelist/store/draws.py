"""Weights of the recorded questions that were drawn with known probabilities."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from duelist.choice_models.levelled_risk import lure_weights
from duelist.store.row_codecs import AskedQuestion


def weights_of_draws(asked: Iterable[AskedQuestion], *, one_pool: bool) -> dict[str, float]:
    """Return v_m of each question with a recorded propensity, by id.

    Args:
        asked: all questions that were drawn from the pools in question.
        one_pool: whether all rounds drew from one pool, each from what the earlier ones left; else the pool of each
            round is a stratum of its own.
    """
    strata: dict[int, list[tuple[int, float, str]]] = {}
    for x in asked:
        if x.propensity is not None and x.candidates_left is not None:
            draw = (x.candidates_left, x.propensity, x.question.id)
            strata.setdefault(0 if one_pool else x.round, []).append(draw)
    found: dict[str, float] = {}
    for draws in strata.values():
        draws.sort(reverse=True)  # the order of the draws: each left one candidate less
        weight_M = lure_weights(np.array([q for _, q, _ in draws]), np.array([left for left, _, _ in draws]))
        found |= dict(zip((i for _, _, i in draws), weight_M.tolist(), strict=True))
    return found
