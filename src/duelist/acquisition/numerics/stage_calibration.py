"""Calibration of the model's rewards by answers to questions of several responses; see `calibration.py` for pairs."""

from __future__ import annotations

import numpy as np
import scipy
from numpy.typing import NDArray

from duelist.types import Features

Floats = NDArray[np.float64]


def fit_choices(past: Features, equal: bool) -> tuple[float, Floats]:
    """Return the temperature τ and the scale of each stage of a ranking, from the answers to the past questions.

    Args:
        past: the past questions and their answers, in the form of sets.
        equal: fit τ alone, with all scales equal to 1.

    Returns:
        τ, and the scales from the first stage on: 1 each without answers.
    """
    if past.answered_X is None or not len(past.answered_X):
        return 1.0, np.ones(1)
    from duelist.choice_models import stage_scales  # only where there are answers

    reward_XQ, rank_XQ, asks_N = past.asked_reward_XQ, past.rank_XQ, past.asks_N
    assert reward_XQ is not None and rank_XQ is not None and asks_N is not None  # `choose` checked them
    asks_X = asks_N[past.answered_X]
    if not equal:
        found = stage_scales.fit_stage_scales(reward_XQ, rank_XQ, asks_X)
        return found.temperature, found.scale_X
    parts = stage_scales.stage_likelihoods(np.asarray(reward_XQ, np.float64), rank_XQ, asks_X == "best_worst")
    if not parts:
        return 1.0, np.ones(1)
    first = {0: [choice for stage in parts.values() for choice in stage]}  # every stage as if it were the first

    def loss(log_temperature: float) -> float:
        return stage_scales.negative_log_posterior(np.array([log_temperature]), first)[0]

    start = float(stage_scales.grid_minimum(first)[0])
    bounds = (start - stage_scales.STEP, start + stage_scales.STEP)
    refined = scipy.optimize.minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-9})
    return float(np.exp(refined.x)), np.ones(1)
