"""Intervals of the mean reward, from the responses to the held-out prompts that each evaluation keeps.

Reference: Student, "The probable error of a mean", Biometrika 6, 1908.
Formula:   mean over prompts ± t(0.975, n − 1) · s / √n, where a prompt counts with the mean reward of its responses and
           n is the number of prompts; a change is the same of the differences prompt by prompt.
Unit:      reward.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.special import stdtrit

from duelist.evaluation.metrics import finite
from duelist.store.artifacts import read_jsonl
from duelist.store.codecs import EVALUATION
from duelist.store.layout import round_folder

LEVEL = 0.95
Rewards = Mapping[str, float]  # mean reward by prompt


@dataclass(frozen=True)
class Estimate:
    """A mean over `n` held-out prompts, and its 95 % interval; None for fewer than two prompts."""

    value: float
    ends: tuple[float, float] | None
    n: int


def rewards_by_prompt(folder: Path, t: int) -> Rewards:
    """Return the mean reward of each held-out prompt after round t; empty if the round kept no rewards."""
    path = round_folder(folder, t) / EVALUATION.file
    if not path.is_file():
        return {}
    try:
        rows = read_jsonl(path)[1:]  # after the metrics
    except ValueError:
        return {}  # the page lists the damaged file
    found: dict[str, list[float]] = {}
    for row in rows:
        reward = finite(row.get("reward"))
        if reward is not None and "score" not in row:  # a reward model's evaluation keeps only some responses
            found.setdefault(str(row["prompt_id"]), []).append(reward)
    return {prompt: float(np.mean(values)) for prompt, values in found.items()}


def mean(rewards: Rewards) -> Estimate | None:
    """Return the mean over prompts; None without any."""
    return _estimate(list(rewards.values()))


def change(before: Rewards, after: Rewards) -> Estimate | None:
    """Return the mean change over the prompts that both have; None without any."""
    return _estimate([after[prompt] - before[prompt] for prompt in after if prompt in before])


def _estimate(values: list[float]) -> Estimate | None:
    n = len(values)
    if n == 0:
        return None
    value = float(np.mean(values))
    if n == 1:
        return Estimate(value, None, n)
    half_width = float(stdtrit(n - 1, (1 + LEVEL) / 2) * np.std(values, ddof=1) / np.sqrt(n))
    return Estimate(value, (value - half_width, value + half_width), n)
