"""What an audit of this size can see, computed before any label is looked at.

Reference: McNemar, Psychometrika 12, 1947: two models on the same n pairs differ in accuracy by the difference of the
           pairs that one or the other alone gets right.
Formula:   the standard error of the difference is at most √(d/n), d the share of pairs on which the models disagree.
           Half a 95 % interval is 1.96 of it; a difference of 2.80 is found with 80 % probability.
Unit:      share of pairs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# d: two models of about 70 % accuracy whose errors have nothing in common disagree on 42 % of the pairs.
DISAGREEMENT = 0.4
HALF_WIDTH, WITH_POWER = 1.96, 2.80


@dataclass(frozen=True)
class Power:
    """Sizes of a difference in accuracy.

    Attributes:
        pairs: n, the pairs that both models are tested on.
        visible: half of a 95 % interval: smaller differences cannot be told from none.
        found: the difference that is found with 80 % probability.
    """

    pairs: int
    visible: float
    found: float

    @property
    def words(self) -> str:
        """The power in one sentence."""
        return (
            f"With {self.pairs} control labels only differences above about {100 * self.visible:.0f} points of "
            f"accuracy can be seen; one of {100 * self.found:.0f} points is found with a probability of 80 %."
        )


def power(pairs: int) -> Power:
    """Return what n test pairs can see."""
    deviation = float(np.sqrt(DISAGREEMENT / pairs)) if pairs else np.inf
    return Power(pairs, min(1.0, HALF_WIDTH * deviation), min(1.0, WITH_POWER * deviation))
