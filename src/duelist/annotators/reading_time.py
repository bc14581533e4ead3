"""Annotation time of a comparison: the divisor of "gain per second".

Formula:   seconds = constant + rate · (tokens of both responses and of the prompt, or of both prompts).
Default:   rate: 238 words per minute, adults reading English non-fiction silently (Brysbaert, "How many words do we
           read per minute?", Journal of Memory and Language 109, 2019), at 0.75 words per token (a rule of thumb for
           English and byte-pair vocabularies of the usual size) = 0.19 s per token. constant: 5 s to decide and label
           (ours).
Fit:       with 20 or more recorded times, min Σ ρ((seconds − constant − rate · tokens) / s), both numbers at least 0
           and ρ(z) = log(1 + z²), the Cauchy loss: the influence of a time falls with its distance, so a break of an
           hour counts almost nothing. s is 1.48 · the median distance from a fit by absolute differences.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from duelist.types import Label, Question

ENOUGH = 20  # recorded times
SHORTEST = 0.1  # seconds: the minimum expected time, which keeps the gain per second finite
MAD_TO_SIGMA = 1.4826


@dataclass(frozen=True)
class ReadingTime:
    """Model of one study's annotation time.

    Attributes:
        constant: seconds per comparison, 0 or more.
        rate: seconds per token, 0 or more.
        times: number of recorded times in the fit; 0 for the default.
    """

    constant: float
    rate: float
    times: int = 0

    def seconds(self, tokens_N: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the expected seconds of N comparisons; always positive."""
        return np.maximum(self.constant + self.rate * np.asarray(tokens_N, np.float64), SHORTEST)


DEFAULT = ReadingTime(constant=5.0, rate=60 / 238 * 0.75)


def tokens_to_read(pairs: Sequence[Question]) -> NDArray[np.int64]:
    """Return the number of tokens of both responses and of the prompt (of both prompts if they differ), `[N]`."""
    counts = []
    for pair in pairs:
        prompts = {r.prompt_id: len(r.prompt_token_ids) for r in (pair.a, pair.b)}
        counts.append(len(pair.a.token_ids) + len(pair.b.token_ids) + sum(prompts.values()))
    return np.array(counts, np.int64)


def study_reading_time(pairs: Sequence[Question], labels: Sequence[Label]) -> ReadingTime:
    """Return the model fitted to a study's recorded times, or the default until there are enough.

    Args:
        pairs: every pair that was asked about.
        labels: the labels that count; labels without a time, or with a time of 0, are skipped.
    """
    tokens = dict(zip((p.id for p in pairs), tokens_to_read(pairs).tolist(), strict=True))
    timed = [(tokens[x.pair_id], x.seconds) for x in labels if x.pair_id in tokens and (x.seconds or 0) > 0]
    times = np.array(timed, np.float64).reshape(-1, 2)
    times = times[np.isfinite(times).all(axis=1)]
    return DEFAULT if len(times) < ENOUGH else fit(times[:, 0], times[:, 1])


def fit(tokens_N: NDArray[np.float64], seconds_N: NDArray[np.float64]) -> ReadingTime:
    """Return the model fitted to N >= 1 recorded times; see the module docstring."""
    # Scale both unknowns to the same order: seconds for the decision, seconds for a text of typical length.
    typical_tokens, typical_seconds = max(float(np.median(tokens_N)), 1.0), float(np.median(seconds_N))
    design_N2 = np.column_stack([np.ones(len(tokens_N)), tokens_N / typical_tokens])

    def residuals(unknown_2: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(design_N2 @ unknown_2 - seconds_N)

    def solve(start_2: NDArray[np.float64], loss: str, scale: float) -> NDArray[np.float64]:
        inside_2 = np.maximum(start_2, 1e-6 * typical_seconds)  # the solver must start inside the bounds
        found = least_squares(residuals, inside_2, lambda _: design_N2, bounds=(0, np.inf), loss=loss, f_scale=scale)
        return np.asarray(found.x)

    rough_2 = solve(np.full(2, typical_seconds / 2), "soft_l1", 0.05 * typical_seconds)
    spread = MAD_TO_SIGMA * float(np.median(np.abs(residuals(rough_2))))
    constant, slope = solve(rough_2, "cauchy", max(spread, 1e-3 * typical_seconds)).tolist()
    return ReadingTime(constant, slope / typical_tokens, len(seconds_N))
