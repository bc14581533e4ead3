"""What an audit of this size can see, computed before any label is looked at.

Reference: McNemar, Psychometrika 12, 1947: two models on the same n pairs differ in accuracy by the difference of the
           pairs that one or the other alone gets right.
Formula:   on one of K folds the variance of the difference is at most δK/n, δ the share of pairs on which the two
           models disagree. Half of the interval of R divisions into K folds (`duelist.audit.comparison`) is then

               1.96 √(δ/n · (1/R + K/(K − 1))).

           δ is not known beforehand. Models that have nothing in common disagree on half of the pairs. The
           more both learn of the same truth, the more they agree.
Unit:      share of pairs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

UNLIKE, ALIKE = 0.5, 0.1  # δ: of models that have nothing in common, and of models that agree on nine pairs of ten


@dataclass(frozen=True)
class Power:
    """Half of the 95 % interval of the difference in accuracy.

    Attributes:
        pairs: n, the control pairs.
        unlike: if the models have nothing in common.
        alike: if they agree on nine pairs of ten.
    """

    pairs: int
    unlike: float
    alike: float

    @property
    def words(self) -> str:
        """What can be seen, in one sentence."""
        return (
            f"With {self.pairs} control labels the 95 % interval will be about ±{100 * self.unlike:.0f} points of "
            f"accuracy if the two models have nothing in common, and ±{100 * self.alike:.0f} if they agree on nine "
            "pairs of ten: smaller differences cannot be seen."
        )


def power(pairs: int, folds: int, repeats: int) -> Power:
    """Return what n control pairs in R divisions into K folds can see."""
    return Power(pairs, *(half_width(pairs, folds, repeats, share) for share in (UNLIKE, ALIKE)))


def half_width(pairs: int, folds: int, repeats: int, disagreement: float) -> float:
    """Return half of the 95 % interval; 1 if nothing can be tested."""
    if not pairs or folds < 2:
        return 1.0
    widen = 1.0 / repeats + folds / (folds - 1)
    return min(1.0, float(1.96 * np.sqrt(disagreement / pairs * widen)))
