"""Held-out evaluation of reward models: inputs of the metrics, from scores, true rewards and labelled pairs.

Reference: Shen, Sun, Ton, arXiv 2502.04354, Section 5.1 (1 − Spearman, best of N).
Cost:      a pass through a small network; the metrics are in `duelist.evaluation.metrics`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy

from duelist.errors import DataError, RecipeError
from duelist.evaluation.metrics import Floats, measure
from duelist.evaluation.reward_held_out import HeldOutResponses
from duelist.types import Evaluation

SAMPLES = 200  # number of scored responses that an evaluation keeps for inspection


def evaluate_reward_model(
    held: HeldOutResponses, score_R: Floats, truth_R: Floats | None, sample_RK: Floats | None
) -> Evaluation:
    """Measure a reward model on held-out responses.

    Args:
        held: the responses and the labelled pairs among them.
        score_R: the model's rewards.
        truth_R: the true rewards; None if they are not known.
        sample_RK: rewards by K draws from the model's posterior; required if there are labelled pairs.

    Raises:
        RecipeError: if there are neither labelled pairs nor true rewards.
        DataError: if no prompt has responses that differ in true reward.
    """
    inputs: dict[str, Any] = {"score_R": score_R, "truth_R": truth_R}
    if truth_R is not None:
        inputs |= rankings(held.groups, score_R, truth_R)
    if sample_RK is not None and held.preferred:
        first_N, second_N = np.array(held.preferred).T
        length_R = np.array([len(r.token_ids) for r in held.responses])
        probability_N = scipy.special.expit(sample_RK[first_N] - sample_RK[second_N]).mean(axis=1)
        inputs |= {
            "probability_N": np.clip(probability_N, 1e-12, 1 - 1e-12),
            "right_N": share_positive(score_R[first_N] - score_R[second_N]),
            "longer_N": share_positive(length_R[first_N] - length_R[second_N]),
        }
    elif truth_R is None:
        raise RecipeError(
            "Held-out prompts must have labelled pairs, or responses with a known reward, but these have neither: "
            "add labels to the rows, set `reward`, or set `prompts.held_out` to 0."
        )
    samples = [
        {
            "prompt_id": r.prompt_id,
            "prompt": held.prompts[r.prompt_id].as_trl(),
            "response": r.text,
            "score": float(score_R[i]),
            "reward": None if truth_R is None else float(truth_R[i]),
        }
        for i, r in enumerate(held.responses[:SAMPLES])
    ]
    return Evaluation(measure("reward model", inputs), samples)


def rankings(groups: Sequence[Sequence[int]], score_R: Floats, truth_R: Floats) -> dict[str, list[float]]:
    """Return `errors`, `best` and `right_N` of the prompts, from scores and true rewards of R responses.

    `errors` and `right_N` skip prompts that have equal true rewards or fewer than two responses. If all scores are
    equal, the error is 1 and the accuracy ½. If several scores are highest, `best` is their mean true reward.

    Args:
        groups: for every prompt, the positions of its responses.
        score_R: the model's rewards.
        truth_R: the true rewards.

    Raises:
        DataError: if no prompt has responses that differ in true reward.
    """
    errors, right, best = [], [], []
    for group in groups:
        score, truth = score_R[list(group)], truth_R[list(group)]
        if len(group):
            best.append(float(truth[score == score.max()].mean()))
        if len(group) < 2 or np.ptp(truth) == 0:
            continue
        errors.append(1 - spearman(score, truth))
        i, j = np.triu_indices(len(group), 1)
        decided = truth[i] != truth[j]
        agreement = np.sign(score[i] - score[j]) * np.sign(truth[i] - truth[j])
        right.append(float(share_positive(agreement[decided]).mean()))
    if not errors:
        raise DataError(
            "Some held-out prompt must have two responses that differ in true reward, but none has: add `responses` to "
            "the held-out rows."
        )
    return {"errors": errors, "best": best, "right_N": right}


def share_positive(difference_N: Any) -> Floats:
    """Return 1 where a difference is positive, 0 where it is negative, and ½ where it is 0."""
    return np.asarray((1 + np.sign(difference_N)) / 2)


def spearman(x_R: Floats, y_R: Floats) -> float:
    """Return Spearman's rank correlation, with mean ranks for ties; 0 if one of the two is constant."""
    if np.ptp(x_R) == 0 or np.ptp(y_R) == 0:
        return 0.0
    return float(scipy.stats.spearmanr([x_R, y_R], axis=1).statistic)
