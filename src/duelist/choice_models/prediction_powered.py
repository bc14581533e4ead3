"""Prediction-powered loss: people's labels on a few pairs of a pool, a judge's on many, without the judge's bias.

Reference: Angelopoulos, Bates, Fannjiang, Jordan, Zrnic, "Prediction-powered inference", Science 382, 2023;
           Angelopoulos, Duchi, Zrnic, "PPI++: efficient prediction-powered inference", 2023, arXiv 2311.01453;
           cross-fitting: Zrnic, Candès, "Cross-prediction-powered inference", 2024, arXiv 2309.16598. The form for a
           finite pool of which some pairs are taken for certain is Duelist's own (docs/methods/prediction_powered.md).
Formula:   of one round's pool of N pairs: T taken for certain, C a random sample of the U = N − |T| others, R a random
           sample of what is left; ℓ of people on T and C, z the judge's loss on C and R (0 without a usable verdict):

               L = |T|/N · mean_T ℓ + U/N · [mean_C ℓ − (1 − |C|/U) (mean_C ω z − ω̄ mean_R z)]                      (1)

           E L = mean of people's loss over the whole pool, given T, for every ω that is not fitted to the pair's own
           label. With equal weights, the parts count by their labels, |T|/n and |C|/n, and not by their sizes |T|/N and
           U/N. The sum over rounds weights each by its labels. Tuned, ω is the coefficient of least variance,

               ω = S_PJ/S_JJ / [(1 + |C|/|R|) (1 − |C|/U)],   S the moments of share − σ(margin)                     (2)
Unit:      coefficients of −log σ(m) and −log σ(−m), m the margin of a over b; 1 is a label of a random choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Booleans = NDArray[np.bool_]
Weights = Literal["inclusion", "equal"]

FOLDS = 5
# Added to the moments of the residuals, which are at most 1 a pair: the evidence that it takes to believe a judge.
PRIOR = 1.0


@dataclass(frozen=True)
class PoolSample:
    """The asked and the judged pairs of one round's pool.

    A loss is its two coefficients, of −log σ(m) and of −log σ(−m): (1, 0) is a preference for a.

    Attributes:
        size: N, the number of pairs in the pool.
        certain_P: which asked pairs were taken for certain; the others are a random sample of the rest.
        answered_P: which asked pairs have an answer. Those without one count as judged only.
        people_P2: people's loss of each asked pair; 0 for an answer that is no preference.
        judge_P2: the judge's loss of each asked pair; 0 without a usable verdict.
        margin_P: margin of each asked pair when it was asked, before training on it.
        fold_P: fold of each asked pair, drawn at random.
        judge_R2: the judge's loss of a random sample of the pairs that were not asked.
        weight_P: v of each asked pair, if C was drawn with known probabilities (`levelled_risk.py`) and not
            uniformly; None for a uniform sample, v = 1.
    """

    size: int
    certain_P: Booleans
    answered_P: Booleans
    people_P2: Floats
    judge_P2: Floats
    margin_P: Floats
    fold_P: NDArray[np.int64]
    judge_R2: Floats
    weight_P: Floats | None = None

    @property
    def sampled_P(self) -> Booleans:
        """Which asked pairs are C: drawn at random, and answered."""
        return ~self.certain_P & self.answered_P

    @property
    def labels(self) -> int:
        """The number of answered pairs."""
        return int(self.answered_P.sum())

    @property
    def left(self) -> int:
        """U, the number of pairs that were not taken for certain."""
        return self.size - int(self.certain_P.sum())

    @property
    def judged_only(self) -> int:
        """|R|, with the pairs that were drawn but not answered: a random sample of what C leaves."""
        return len(self.judge_R2) + int((~self.certain_P & ~self.answered_P).sum())


@dataclass(frozen=True)
class Coefficients:
    """Equation (1) of one round as coefficients of −log σ(m) and −log σ(−m), times the round's labels.

    Attributes:
        asked_P2: of the asked pairs.
        further_R2: of the pairs that were only judged.
        corrected_P: how much of each asked pair's loss corrects the judge: what a bound on the loss must outweigh.
    """

    asked_P2: Floats
    further_R2: Floats
    corrected_P: Floats


def coefficients(sample: PoolSample, omega_P: Floats, weights: Weights = "inclusion") -> Coefficients:
    """Return equation (1).

    If no pair of C, or none of T, has an answer, the loss is that of the other part alone.

    Args:
        sample: the pool of one round.
        omega_P: ω of each asked pair, that of its fold.
        weights: of people's labels: n/(Nπ), π the probability with which the pair was asked (`inclusion`), for the loss
            over the pool; or `equal`, for the loss over what was asked, as without a judge.
    """
    asked_P2, further_R2 = np.zeros_like(sample.people_P2), np.zeros_like(sample.judge_R2)
    corrected_P = np.zeros(len(asked_P2))
    certain_P, sampled_P = sample.certain_P & sample.answered_P, sample.sampled_P
    t, c, u = int(certain_P.sum()), int(sampled_P.sum()), sample.left
    certain_part = t / (t + c) if weights == "equal" and t + c else 1.0 - u / sample.size
    of_certain = (certain_part if c else 1.0) if t else 0.0
    of_rest = 1.0 - of_certain
    if t:
        asked_P2[certain_P] = sample.labels * of_certain / t * sample.people_P2[certain_P]
    if not c:
        return Coefficients(asked_P2, further_R2, corrected_P)
    scale, r = sample.labels * of_rest / c, sample.judged_only
    v_P = np.ones(len(asked_P2)) if sample.weight_P is None else sample.weight_P
    asked_P2[sampled_P] = (scale * v_P[:, None] * sample.people_P2)[sampled_P]
    if not r:
        return Coefficients(asked_P2, further_R2, corrected_P)
    # The judge's loss over the rest of the pool is estimated twice: with weights from C, and by its mean over what was
    # judged, where C counts as c of u. The difference is 0 on average (eq. 1 at v = 1).
    corrected_P[sampled_P] = (scale * (v_P - c / u) * omega_P)[sampled_P]
    of_further = float((scale * (1.0 - c / u) * omega_P[sampled_P]).sum()) / r
    asked_P2 -= corrected_P[:, None] * sample.judge_P2
    judged_P = ~sample.certain_P & ~sample.answered_P
    asked_P2[judged_P] = of_further * sample.judge_P2[judged_P]
    further_R2 = of_further * sample.judge_R2
    return Coefficients(asked_P2, further_R2, np.maximum(corrected_P, 0.0) * sample.judge_P2.sum(axis=1))


def tuned_omegas(samples: Sequence[PoolSample]) -> list[Floats]:
    """Return ω of each asked pair of each round, fitted to labels of earlier rounds and of its round's other folds.

    So no ω knows the label that it corrects, and the loss stays unbiased.

    Args:
        samples: the rounds' pools, in order.
    """
    found = []
    earlier = np.zeros(3)
    for sample in samples:
        moments_P3 = residual_moments(sample)
        omega_P = np.zeros(len(sample.fold_P))
        c, u, r = int(sample.sampled_P.sum()), sample.left, sample.judged_only
        for fold in range(FOLDS) if 0 < c < u and r else ():
            others = earlier
            if sample.weight_P is None:  # only of a uniform sample is each fold one too
                others = earlier + moments_P3[sample.fold_P != fold].sum(axis=0)
            slope = others[1] / (others[2] + PRIOR)
            omega_P[sample.fold_P == fold] = np.clip(slope / ((1.0 + c / r) * (1.0 - c / u)), 0.0, 1.0)  # eq. (2)
        found.append(omega_P)
        earlier = earlier + moments_P3.sum(axis=0)
    return found


def judge_worth(samples: Sequence[PoolSample]) -> float:
    """Return the share of the variance of people's labels that the judge explains: what a judgement tells of a label.

    It is the squared correlation of the residuals, drawn towards 0 where there are few; 0 for a judge that contradicts.
    """
    parts = [residual_moments(s).sum(axis=0) for s in samples]
    people, both, judge = np.sum(parts, axis=0) if parts else np.zeros(3)
    return float(max(both, 0.0) ** 2 / ((people + PRIOR) * (judge + PRIOR)))


def residual_moments(sample: PoolSample) -> Floats:
    """Return e_P², e_P e_J and e_J² of the pairs that people and the judge decided, `[P, 3]`, 0 for the others.

    e is share − σ(m): what a label adds to the gradient, in units of φ. Of a random side its mean is 0.
    """
    people_P, judge_P = sample.people_P2.sum(axis=1), sample.judge_P2.sum(axis=1)
    both_P = sample.answered_P & (people_P > 0) & (judge_P > 0)
    p_P = scipy.special.expit(sample.margin_P)
    e_P = np.where(both_P, sample.people_P2[:, 0] / np.where(both_P, people_P, 1.0) - p_P, 0.0)
    e_J = np.where(both_P, sample.judge_P2[:, 0] / np.where(both_P, judge_P, 1.0) - p_P, 0.0)
    return np.stack([e_P**2, e_P * e_J, e_J**2], axis=1)


def share_and_weight(coefficient_N2: Floats) -> tuple[Floats, Floats]:
    """Return the effective target and the weight of pairs: coefficients (a, b) are weight a + b and target a/(a + b).

    The target may leave [0, 1], where the loss of the pair alone has no minimum. Where a + b is next to 0, the loss is
    linear in the margin; its weight is then a millionth of its slope.
    """
    slope_N, weight_N = coefficient_N2[:, 0], coefficient_N2.sum(axis=1)
    least_N = 1e-6 * np.abs(coefficient_N2).max(axis=1, initial=0.0)
    weight_N = np.where(np.abs(weight_N) < least_N, least_N, weight_N)
    return np.where(weight_N == 0, 0.5, slope_N / np.where(weight_N == 0, 1.0, weight_N)), weight_N
