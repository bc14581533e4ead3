"""How good a reward model is on held-out prompts.

Reference: Shen, Sun, Ton, arXiv 2502.04354, Section 5.1: 1 − Spearman within prompts, best-of-N reward.
Formula:   spearman_error = mean over prompts of 1 − ρ(r, r*), r* the true reward;
           best_of_n_reward = mean over prompts of r*(y), y the response of highest r among the prompt's N;
           pair_accuracy = share of labelled pairs whose preferred response has the higher r (equal: half);
           log_loss, brier, ece: of the probability that the preferred response be preferred.
Unit:      none; the true reward's; a share; nats.
Cost:      a pass through a small network.

Where there are no labelled pairs but true rewards, `pair_accuracy` is over all pairs within a prompt.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from duelist.errors import DataError

BINS = 10
Floats = NDArray[np.float64]


def ranking_metrics(groups: Sequence[Sequence[int]], score_R: Floats, truth_R: Floats) -> dict[str, float]:
    """`spearman_error`, `best_of_n_reward` and `pair_accuracy` from scores and true rewards of R responses.

    A prompt whose true rewards, or fewer than two responses, leave nothing to rank is passed over by the first and the
    last. Scores that are all equal rank nothing: error 1, accuracy ½. Of equal highest scores, the mean reward counts.

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
        right.append(float(((1 + agreement[decided]) / 2).mean()))
    if not errors:
        raise DataError(
            "Some held-out prompt must have two responses that differ in true reward, but none has: add `responses` to "
            "the held-out rows."
        )
    return {
        "spearman_error": float(np.mean(errors)),
        "best_of_n_reward": float(np.mean(best)),
        "pair_accuracy": float(np.mean(right)),
    }


def spearman(x_R: Floats, y_R: Floats) -> float:
    """Spearman's rank correlation, mean ranks for ties; 0 where one of the two is constant."""
    from scipy.stats import spearmanr

    if np.ptp(x_R) == 0 or np.ptp(y_R) == 0:
        return 0.0
    return float(spearmanr([x_R, y_R], axis=1).statistic)


def preference_metrics(probability_N: Floats, margin_N: Floats) -> dict[str, float]:
    """`pair_accuracy`, `log_loss`, `brier` and `ece` over N labelled pairs, the preferred response first in each.

    Args:
        probability_N: the model's probability that the first response is preferred.
        margin_N: the first response's reward less the second's.
    """
    p_N = np.clip(probability_N, 1e-12, 1 - 1e-12)
    right_N = (1 + np.sign(margin_N)) / 2
    confidence_N = np.maximum(p_N, 1 - p_N)
    hit_N = np.where(p_N == 0.5, 0.5, (p_N > 0.5).astype(float))
    bin_N = np.minimum(((confidence_N - 0.5) * 2 * BINS).astype(int), BINS - 1)
    gap_X = np.bincount(bin_N, weights=hit_N - confidence_N, minlength=BINS)
    return {
        "pair_accuracy": float(right_N.mean()),
        "log_loss": float(-np.log(p_N).mean()),
        "brier": float(((1 - p_N) ** 2).mean()),
        "ece": float(np.abs(gap_X).sum() / len(p_N)),
    }


def longer_wins(first_N: NDArray[np.int64], second_N: NDArray[np.int64]) -> float:
    """The baseline that no model should miss: the share of pairs whose preferred response is longer (equal: half)."""
    return float(((1 + np.sign(first_N - second_N)) / 2).mean())
