"""Models trained on equally many active and random labels, tested on control pairs of prompts that neither has seen.

Reference: repeated cross-validation with a corrected variance: Nadeau, Bengio, "Inference for the generalization
           error", Machine Learning 52, 2003; Bouckaert, Frank, PAKDD 2004 (for repeated folds).
Formula:   the prompts are divided into K folds, R times: in random order, each to the fold with the fewest control
           pairs so far. For each fold both models are trained on n labels of other prompts, drawn without replacement:
           one on control pairs, one on pairs that the rule chose; both are tested on the fold's control pairs. A fold
           with fewer than 2 pairs to test on or n < 5 is left out. With d_j the J <= RK differences and s their
           standard deviation, the interval is

               mean d ± t(0.975, J − 1) · s √(1/J + 1/(K − 1)).

           1/(K − 1) stands for what the differences share: they are made from the same labels.
Unit:      share of pairs (accuracy); nats per pair (log-loss).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from duelist.audit.head import fit, fitted_precision
from duelist.errors import DataError

Floats = NDArray[np.float64]

FOLDS, REPEATS = 5, 20
FEWEST_TESTED, FEWEST_TRAINED = 2, 5  # pairs of a fold, and labels of each of its models


@dataclass(frozen=True)
class Difference:
    """A number of both models, and the difference active − random with its 95 % interval."""

    random: float
    active: float
    difference: float
    low: float
    high: float

    @property
    def is_told(self) -> bool:
        """Whether the interval excludes 0."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class CrossFitted:
    """Result of the comparison.

    Attributes:
        trained_on: n, the mean number of labels of each model.
        splits: J, the number of pairs of models.
        left_out: number of folds with too few pairs to test on or too few labels to train on.
        accuracy: share of test pairs whose preferred response has the larger score.
        log_loss: mean −log of the probability given to the label, in nats.
    """

    trained_on: float
    splits: int
    left_out: int
    accuracy: Difference
    log_loss: Difference


def cross_fitted(
    rows_XD: Floats,
    share_X: Floats,
    control_X: NDArray[np.bool_],
    weight_X: Floats,
    groups_X2: NDArray[np.str_],
    repeats: int,
    rng: np.random.Generator,
) -> CrossFitted:
    """Compare what equally many active and random labels teach.

    Args:
        rows_XD: features of the pairs.
        share_X: share of the labels for a.
        control_X: which pairs are random.
        weight_X: weight of each pair in training.
        groups_X2: prompts of both responses; no prompt is on both sides of a split.
        repeats: R.
        rng: the generator of the splits.

    Raises:
        DataError: if the control pairs are on one prompt alone.
    """
    group_X = connected_groups(groups_X2)
    folds = number_of_folds(groups_X2, control_X)
    if folds < 2:
        raise DataError(
            "An audit tests models on prompts that they have not seen, but all control pairs are on prompts that are "
            "connected by pairs: it needs two separate prompts or more."
        )
    precision = fitted_precision(rows_XD, share_X)
    found, sizes = [], []
    for _ in range(repeats):
        fold_X = divided(group_X, control_X, folds, rng)
        for k in range(folds):
            test = np.flatnonzero((fold_X == k) & control_X)
            pools = [np.flatnonzero((fold_X != k) & side_X) for side_X in (control_X, ~control_X)]
            n = min(map(len, pools))
            if len(test) < FEWEST_TESTED or n < FEWEST_TRAINED:
                continue
            both = []
            for pool in pools:
                used = rng.permutation(pool)[:n]
                theta_D = fit(rows_XD[used], share_X[used], weight_X[used], precision)
                both += _tested(rows_XD[test] @ theta_D, share_X[test])
            found.append(both)
            sizes.append(n)
    left_out = repeats * folds - len(found)
    if len(found) < 2:
        raise DataError(
            f"An audit tests on {FEWEST_TESTED} control pairs or more, and trains on {FEWEST_TRAINED} labels or more "
            f"of each kind on other prompts, but {left_out} of {repeats * folds} folds have fewer, because most pairs "
            "are on the same prompts: it needs pairs on more prompts."
        )
    value_J4 = np.array(found)  # accuracy and log-loss of random, then of active
    widen = np.sqrt(1.0 / len(found) + 1.0 / (folds - 1))
    accuracy, log_loss = (_difference(value_J4[:, i], value_J4[:, i + 2], widen) for i in (0, 1))
    return CrossFitted(float(np.mean(sizes)), len(found), left_out, accuracy, log_loss)


def number_of_folds(groups_X2: NDArray[np.str_], control_X: NDArray[np.bool_]) -> int:
    """Return K: five, or the number of separate groups of prompts with control pairs."""
    return min(FOLDS, len(np.unique(connected_groups(groups_X2)[control_X]))) if control_X.any() else 0


def divided(
    group_X: NDArray[np.int64], control_X: NDArray[np.bool_], folds: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return the fold of each pair, `[X]`, about equally many control pairs in each; -1 for groups without any.

    Args:
        group_X: the pairs' groups, which are not divided.
        control_X: which pairs are tested on.
        folds: K.
        rng: the generator of the groups' order.
    """
    groups, counts = np.unique(group_X[control_X], return_counts=True)
    filled_K = np.zeros(folds, np.int64)
    fold_of = {}
    for g in rng.permutation(len(groups)):
        fold_of[int(groups[g])] = k = int(filled_K.argmin())
        filled_K[k] += counts[g]
    return np.array([fold_of.get(g, -1) for g in group_X.tolist()])


def connected_groups(groups_X2: NDArray[np.str_]) -> NDArray[np.int64]:
    """Return a group of each pair such that pairs with a prompt in common, directly or by others, share it."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    names, place = np.unique(groups_X2, return_inverse=True)
    place_X2 = place.reshape(-1, 2)
    edges = (np.ones(len(place_X2)), (place_X2[:, 0], place_X2[:, 1]))
    _, component = connected_components(coo_array(edges, shape=(len(names), len(names))), directed=False)
    return np.asarray(component[place_X2[:, 0]], np.int64)


def _tested(margin_X: Floats, share_X: Floats) -> list[float]:
    """Return accuracy and log-loss; a margin of 0 is right in half of the cases."""
    side_X = np.sign(share_X - 0.5)
    accuracy = np.mean(np.where(margin_X == 0, 0.5, np.sign(margin_X) == side_X))
    log_loss = np.mean(share_X * np.logaddexp(0, -margin_X) + (1 - share_X) * np.logaddexp(0, margin_X))
    return [float(accuracy), float(log_loss)]


def _difference(random_J: Floats, active_J: Floats, widen: float) -> Difference:
    difference_J = active_J - random_J
    half = float(stats.t.ppf(0.975, len(difference_J) - 1) * difference_J.std(ddof=1) * widen)
    mean = float(difference_J.mean())
    return Difference(float(random_J.mean()), float(active_J.mean()), mean, mean - half, mean + half)
