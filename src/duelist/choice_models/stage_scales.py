"""Temperature of the model's rewards, and the scale of each stage of a ranking, fitted to the answers so far.

Reference: Hausman and Ruud, "Specifying and testing econometric models for rank-ordered data", Journal of Econometrics
           34, 1987 (the heteroscedastic rank-ordered logit); Guo et al., "On Calibration of Modern Neural Networks",
           ICML 2017, arXiv 1706.04599 (temperature scaling); Marley and Louviere, "Some probabilistic models of best,
           worst, and best-worst choices", Journal of Mathematical Psychology 49, 2005.
Formula:   P(i is chosen at stage j from the responses left) = softmax(s_j r / τ)_i,  s_1 = 1;
           P(best b, worst w) = exp((r_b − r_w)/τ) / Σ_{i≠j} exp((r_i − r_j)/τ);
           minimise over τ and s_2, s_3, ...   −Σ log P + (log τ)²/(2 · 1²) + Σ_j (log s_j)²/(2 · 0.5²).
Unit:      nats.

s_j below 1 means that people decide less reliably further down a ranking. The rewards must be those of the model before
it was trained on the answer, as in `duelist.acquisition.numerics.calibration`. Without rankings of three or more, τ is
that module's temperature.

The prior of log s_j is normal around equal scales. Its standard deviation of 0.5, a factor of 1.65, leaves room for
what we expect of people: if the noise grows by half with each place, log s_j is −0.4, −0.7, −0.9, −1.1 at the second to
fifth stage. At rewards with a standard deviation of 1, a choice from three has an information of 0.3 on log s_j, so 13
answers outweigh the prior. A wider one would follow the first few answers, and each s_j changes the information that
is expected of all later questions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from duelist.choice_models.choices import choices_of

# Standard deviations of the priors of log τ (a factor of e) and of log s_j.
TEMPERATURE_DEVIATION = 1.0
SCALE_DEVIATION = 0.5
# The loss can have several minima in log τ, so a grid search finds the lowest one, which is then refined. The ranges:
# a factor of about a thousand in both directions for τ, of 20 for s_j.
STEP = 0.1
TEMPERATURE_STEPS = 70
SCALE_STEPS = 30


@dataclass(frozen=True)
class StageScales:
    """How reliably people decide.

    Attributes:
        temperature: τ, positive; above 1 if the model was overconfident.
        scale_X: s of each stage, `[Q − 1]`; the first is 1.
    """

    temperature: float
    scale_X: NDArray[np.float64]


def fit_stage_scales(
    reward_XQ: NDArray[np.float64], rank_XQ: NDArray[np.int64], asks_X: NDArray[np.str_]
) -> StageScales:
    """Return the most likely temperature and stage scales given the answers; all are 1 without information.

    Best-and-worst answers, the best of k and pairs inform the temperature only. A ranking with ties counts as the mean
    of its consistent orders (`duelist.choice_models.choices`), also a pair called equal.

    Args:
        reward_XQ: rewards of the responses of X answered questions, when they were asked; 0 beyond the last one.
        rank_XQ: the ranks that the answers give them (`RankedSet.ranks`); −1 beyond the last one.
        asks_X: what was asked.
    """
    stages = max(rank_XQ.shape[1] - 1, 1)
    scale_X = np.ones(stages)
    likelihoods = stage_likelihoods(np.asarray(reward_XQ, np.float64), rank_XQ, asks_X == "best_worst")
    if not likelihoods:
        return StageScales(1.0, scale_X)
    later = sorted(set(likelihoods) - {0})
    limits = np.array([TEMPERATURE_STEPS, *[SCALE_STEPS] * len(later)]) * STEP
    found = scipy.optimize.minimize(
        lambda log_X: negative_log_posterior(log_X, likelihoods),
        grid_minimum(likelihoods),
        jac=True,
        method="L-BFGS-B",
        bounds=[(-limit, limit) for limit in limits],
        options={"ftol": 1e-15, "gtol": 1e-10},
    )
    scale_X[later] = np.exp(found.x[1:])
    return StageScales(float(np.exp(found.x[0])), scale_X)


@dataclass(frozen=True)
class StageLikelihood:
    """Likelihood of N choices among at most Q options, as a function of the factor of their rewards.

    Attributes:
        reward_NQ: rewards of the options; of a best-and-worst answer the options are ordered pairs, and these are
            differences.
        option_NQ: which options there are.
        chosen_N: the reward of the chosen option; the mean over tied ones.
        weight_N: factor of each choice's loss.
    """

    reward_NQ: NDArray[np.float64]
    option_NQ: NDArray[np.bool_]
    chosen_N: NDArray[np.float64]
    weight_N: NDArray[np.float64]

    def loss(self, factor: float) -> tuple[float, float]:
        """Return the negative log-likelihood in nats, and its derivative in the factor."""
        logit_NQ = np.where(self.option_NQ, factor * self.reward_NQ, -np.inf)
        highest_N1 = logit_NQ.max(axis=1, keepdims=True)
        odds_NQ = np.exp(logit_NQ - highest_N1)
        total_N = odds_NQ.sum(axis=1)
        mean_N = (odds_NQ * self.reward_NQ).sum(axis=1) / total_N
        loss_N = highest_N1[:, 0] + np.log(total_N) - factor * self.chosen_N
        return float(self.weight_N @ loss_N), float(self.weight_N @ (mean_N - self.chosen_N))


def stage_likelihoods(
    reward_XQ: NDArray[np.float64], rank_XQ: NDArray[np.int64], best_worst_X: NDArray[np.bool_]
) -> dict[int, list[StageLikelihood]]:
    """Return the likelihoods of the choices at each stage, from 0; stages whose choices say nothing are left out."""
    found: dict[int, list[StageLikelihood]] = {}
    choices = choices_of(rank_XQ, best_worst_X)
    for stage in range(max(rank_XQ.shape[1] - 1, 1)):
        answer, choice = np.nonzero((choices.weight_NX > 0) & (choices.stage_NX == stage))
        reward_NQ = reward_XQ[answer]
        chosen_N = (choices.next_NXQ[answer, choice] * reward_NQ).sum(axis=1)
        weight_N = choices.weight_NX[answer, choice]
        _add(found, stage, StageLikelihood(reward_NQ, choices.left_NXQ[answer, choice], chosen_N, weight_N))
    reward_NQ, rank_NQ = reward_XQ[best_worst_X], rank_XQ[best_worst_X]
    answers, places = reward_NQ.shape
    difference_NQQ = reward_NQ[:, :, None] - reward_NQ[:, None, :]
    asked_NQ = rank_NQ >= 0
    option_NQQ = asked_NQ[:, :, None] & asked_NQ[:, None, :] & ~np.eye(places, dtype=bool)
    chosen_N = (reward_NQ * ((rank_NQ == 0) * 1.0 - (rank_NQ == 2))).sum(axis=1)
    flat = (answers, places * places)
    _add(found, 0, StageLikelihood(difference_NQQ.reshape(flat), option_NQQ.reshape(flat), chosen_N, np.ones(answers)))
    return found


def _add(found: dict[int, list[StageLikelihood]], stage: int, choices: StageLikelihood) -> None:
    lowest_N1 = np.where(choices.option_NQ, choices.reward_NQ, np.inf).min(axis=1, initial=np.inf, keepdims=True)
    if ((choices.reward_NQ != lowest_N1) & choices.option_NQ).any():  # equal rewards are equally likely at any scale
        found.setdefault(stage, []).append(choices)


def negative_log_posterior(
    log_X: NDArray[np.float64], likelihoods: dict[int, list[StageLikelihood]]
) -> tuple[float, NDArray[np.float64]]:
    """Return the objective of the fit, in nats up to a constant, and its gradient.

    Args:
        log_X: log τ, then log s of each later stage that has choices, in order.
        likelihoods: see `stage_likelihoods`.
    """
    deviation_X = _deviations(len(log_X))
    value, gradient_X = float((log_X**2 / (2 * deviation_X**2)).sum()), log_X / deviation_X**2
    place = {stage: i for i, stage in enumerate(sorted(set(likelihoods) - {0}), start=1)}
    for stage, parts in likelihoods.items():
        factor = float(np.exp((log_X[place[stage]] if stage else 0.0) - log_X[0]))
        for part in parts:
            loss, slope = part.loss(factor)
            value += loss
            gradient_X[0] -= slope * factor
            if stage:
                gradient_X[place[stage]] += slope * factor
    return value, gradient_X


def grid_minimum(likelihoods: dict[int, list[StageLikelihood]]) -> NDArray[np.float64]:
    """Return the lowest point of the objective on a grid of its parameters, in the order of `negative_log_posterior`.

    Given τ, the stages do not depend on one another, so each is minimised alone.
    """
    reach = TEMPERATURE_STEPS + SCALE_STEPS
    log_temperature_X = STEP * np.arange(-TEMPERATURE_STEPS, TEMPERATURE_STEPS + 1)
    log_scale_X = STEP * np.arange(-SCALE_STEPS, SCALE_STEPS + 1)
    later = sorted(set(likelihoods) - {0})
    profile_X = log_temperature_X**2 / (2 * TEMPERATURE_DEVIATION**2)
    best_scale = []
    for stage in [0, *later]:
        # At log s − log τ on the grid; reversed below, where log τ grows.
        factors = np.exp(STEP * np.arange(-reach, reach + 1))
        loss_X = np.array([sum(part.loss(f)[0] for part in likelihoods.get(stage, [])) for f in factors])
        if stage == 0:
            profile_X = profile_X + loss_X[SCALE_STEPS : len(loss_X) - SCALE_STEPS][::-1]
            continue
        total_XX = sliding_window_view(loss_X, len(log_scale_X))[::-1] + log_scale_X**2 / (2 * SCALE_DEVIATION**2)
        profile_X = profile_X + total_XX.min(axis=1)
        best_scale.append(log_scale_X[total_XX.argmin(axis=1)])
    best = int(profile_X.argmin())
    return np.array([log_temperature_X[best], *(scale_X[best] for scale_X in best_scale)])


def _deviations(n: int) -> NDArray[np.float64]:
    return np.array([TEMPERATURE_DEVIATION, *[SCALE_DEVIATION] * (n - 1)])
