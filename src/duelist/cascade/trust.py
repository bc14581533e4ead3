"""What a judge is trusted with in a round: a certified threshold per slice, from people's votes in earlier rounds.

The 5 % that the promise may fail is divided over the rounds that look at the votes, and in a round over its slices. So
it holds for the whole study: docs/cascade.md says what exactly is promised.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from duelist.cascade.evidence import JudgedPairs, calibration_from
from duelist.people.calibration import calibrated
from duelist.people.certification import Certificate, audits_needed, certify
from duelist.people.intervals import LEVEL


def level_of(looks: int) -> float:
    """Return α of one of so many looks."""
    return (1 - LEVEL) / max(looks, 1)


@dataclass(frozen=True)
class SliceTrust:
    """What the judge is trusted with in one slice, or in all slices that have too few audits of their own.

    Attributes:
        names: the slices; more than one where each has too few audits of its own.
        certificate: the threshold on the score, and the votes behind it.
        needed: number of audits with which a judge without errors is trusted.
        skipped: number of audits without a vote, because people skipped them.
        calibration: pairs whose votes order the confidences.
    """

    names: tuple[str, ...]
    certificate: Certificate
    needed: int
    skipped: int
    calibration: JudgedPairs

    def takes(self, confidence_X: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return which pairs the judge is trusted with, by its confidences."""
        threshold = self.certificate.threshold
        if threshold is None:
            return np.zeros(len(confidence_X), np.bool_)
        return _scores(confidence_X, self.calibration) >= threshold

    def as_json(self) -> dict[str, Any]:
        """Return the certificate as plain data."""
        values = {name: getattr(self.certificate, name) for name in ("threshold", "audits", "errors", "bound")}
        return {"slices": list(self.names), **values, "needed": self.needed, "skipped": self.skipped}


@dataclass(frozen=True)
class Trust:
    """What a judge is trusted with in one round, by slices that share a threshold."""

    slices: tuple[SliceTrust, ...]

    def takes(self, slice_X: NDArray[np.str_], confidence_X: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return which of X pairs the judge is trusted with, by slice and confidence; none of slices never seen."""
        takes_X = np.zeros(len(slice_X), np.bool_)
        for one in self.slices:
            takes_X |= np.isin(slice_X, np.array(one.names, np.str_)) & one.takes(confidence_X)
        return takes_X


def trust_in(pairs: JudgedPairs, max_error: float, audit_fraction: float, looks: int) -> Trust:
    """Return what a judge is trusted with, by people's votes in earlier rounds.

    Args:
        pairs: the pairs that the judge decided in earlier rounds.
        max_error: the largest error allowed: disagreement with one vote of a random person.
        audit_fraction: the share of the pairs that people always label.
        looks: how many rounds of the study look at the votes.
    """
    alpha = level_of(looks)
    sampled_N = pairs.sampled(audit_fraction)
    audits, skipped = pairs.only(sampled_N & pairs.voted_N), pairs.only(sampled_N & pairs.skipped_N)
    calibration = pairs.only(pairs.voted_N & (pairs.coin_N >= calibration_from(audit_fraction)))
    every = sorted(set(pairs.slice_N.tolist()))
    own = own_slices(audits.slice_N, len(every), max_error, alpha)
    groups: list[tuple[str, ...]] = [(name,) for name in own]
    if rest := tuple(name for name in every if name not in own):
        groups.append(rest)
    if not groups:
        groups = [()]  # the judge has decided nothing yet
    found = [_of_slices(names, audits, skipped, calibration, max_error, alpha / len(groups)) for names in groups]
    return Trust(tuple(found))


def own_slices(slice_N: NDArray[np.str_], total: int, max_error: float, alpha: float) -> list[str]:
    """Return the slices with enough audits for a threshold of their own, the largest first, by their numbers alone.

    Args:
        slice_N: the slice of each audit.
        total: the number of slices, those without audits included.
        max_error: the largest error allowed.
        alpha: the level to be divided over the slices.
    """
    name_V, count_V = np.unique(slice_N, return_counts=True)
    order_V = np.lexsort((name_V, -count_V))
    for own in range(len(name_V), 0, -1):
        shares = own + (own < total)
        if count_V[order_V[own - 1]] >= audits_needed(max_error, alpha / shares):
            return [str(name) for name in name_V[order_V[:own]]]
    return []


def _of_slices(
    names: tuple[str, ...],
    audits: JudgedPairs,
    skipped: JudgedPairs,
    calibration: JudgedPairs,
    max_error: float,
    alpha: float,
) -> SliceTrust:
    own, ordering = audits.in_slices(names), calibration.in_slices(names)
    certificate = certify(_scores(own.confidence_N, ordering), own.error_N, max_error, alpha)
    needed = audits_needed(max_error, alpha)
    return SliceTrust(names, certificate, needed, len(skipped.in_slices(names).coin_N), ordering)


def _scores(confidence_X: NDArray[np.float64], calibration: JudgedPairs) -> NDArray[np.float64]:
    return calibrated(confidence_X, calibration.confidence_N, ~calibration.error_N)
