"""Annotation time of a question: the divisor of "gain per second".

Formula:   seconds = constant + decision · comparisons + rate · (tokens of the responses and of their prompts);
           comparisons: expected number to sort k responses, log₂ k! (1 for a pair); to find the best, k − 1; to find
           the best and the worst, ⌈3k/2⌉ − 2 (Pohl, "A sorting problem and its complexity", CACM 15, 1972).
Default:   rate: 238 words per minute, adults reading English non-fiction silently (Brysbaert, "How many words do we
           read per minute?", Journal of Memory and Language 109, 2019), at 0.75 words per token (a rule of thumb for
           English and byte-pair vocabularies of the usual size) = 0.19 s per token. decision: 1.63 s, one act of mental
           preparation (1.35 s) and one keystroke (0.28 s) of the keystroke-level model (Card, Moran, Newell, CACM 23,
           1980). constant: 3.37 s, so that a pair takes 5 s besides reading (ours). Nobody was timed ranking responses.
Fit:       per question type with 20 or more recorded times; a type with fewer is fitted with all others together.
           min Σ ρ((seconds − share · (constant + decision · comparisons) − rate · tokens) / s), with the default's
           constant and decision, both unknowns (share, rate) at least 0 and ρ(z) = log(1 + z²), the Cauchy loss: the
           influence of a time falls with its distance, so a break of an hour counts almost nothing. s is 1.48 · the
           median distance from a fit by absolute differences.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import NDArray

from duelist.types import Answer, Label, Question, QuestionType

ENOUGH = 20  # recorded times
SHORTEST = 0.1  # seconds: the minimum expected time, which keeps the gain per second finite
MAD_TO_SIGMA = 1.4826


@dataclass(frozen=True)
class ReadingTime:
    """Model of one study's annotation time for one type of question.

    Attributes:
        constant: seconds per question, 0 or more.
        rate: seconds per token, 0 or more.
        decision: seconds per comparison of two responses, 0 or more.
        times: number of recorded times in the fit; 0 for the default.
    """

    constant: float
    rate: float
    decision: float = 0.0
    times: int = 0

    def seconds(
        self, tokens_N: NDArray[np.int64], comparisons_N: NDArray[np.float64] | float = 1.0
    ) -> NDArray[np.float64]:
        """Return the expected seconds of N questions; always positive."""
        read_N = self.rate * np.asarray(tokens_N, np.float64)
        return np.maximum(self.constant + self.decision * np.asarray(comparisons_N) + read_N, SHORTEST)


DEFAULT = ReadingTime(constant=3.37, rate=60 / 238 * 0.75, decision=1.63)


@dataclass(frozen=True)
class StudyReadingTime:
    """Annotation time of a study: its own model for each type of question with recorded times, else `other`."""

    by_type: Mapping[QuestionType, ReadingTime]
    other: ReadingTime = DEFAULT

    def of(self, asks: QuestionType) -> ReadingTime:
        """Return the model for a type of question."""
        return self.by_type.get(asks, self.other)

    def seconds(self, questions: Sequence[Question]) -> NDArray[np.float64]:
        """Return the expected seconds of N questions; always positive."""
        models = [self.of(q.asks) for q in questions]
        each = zip(models, tokens_to_read(questions), comparisons(questions), strict=True)
        return np.array([float(model.seconds(tokens, n)) for model, tokens, n in each], np.float64)


def tokens_to_read(questions: Sequence[Question]) -> NDArray[np.int64]:
    """Return the number of tokens of all responses and of the prompt (of both prompts if they differ), `[N]`."""
    counts = []
    for question in questions:
        prompts = {r.prompt_id: len(r.prompt_token_ids) for r in question.responses}
        counts.append(sum(len(r.token_ids) for r in question.responses) + sum(prompts.values()))
    return np.array(counts, np.int64)


def comparisons(questions: Sequence[Question]) -> NDArray[np.float64]:
    """Return the expected number of comparisons of two responses that each question takes, `[N]`."""
    return np.array([expected_comparisons(q.asks, q.k) for q in questions], np.float64)


def expected_comparisons(asks: QuestionType, k: int) -> float:
    """Return the expected number of comparisons of two responses that a question of k responses takes."""
    if asks == "best_of_k":
        return k - 1
    return math.ceil(3 * k / 2) - 2 if asks == "best_worst" else math.log2(math.factorial(k))


def study_reading_time(questions: Sequence[Question], answers: Sequence[Label | Answer]) -> StudyReadingTime:
    """Return the models fitted to a study's recorded times, or the default until there are enough.

    Args:
        questions: every question that was asked.
        answers: the labels and answers that count; those without a time, or with a time of 0, are skipped.
    """
    place = {q.id: i for i, q in enumerate(questions)}
    tokens_N, comparisons_N = tokens_to_read(questions), comparisons(questions)
    timed = [(place.get(x.pair_id if isinstance(x, Label) else x.question_id), x.seconds) for x in answers]
    found = [(i, seconds) for i, seconds in timed if i is not None and seconds and math.isfinite(seconds)]
    row_X = np.array([i for i, _ in found], np.int64)
    seconds_X = np.array([seconds for _, seconds in found], np.float64)
    asks_X = np.array([questions[i].asks for i in row_X], np.str_)

    def fitted(which_X: NDArray[np.bool_]) -> ReadingTime:
        return fit(tokens_N[row_X[which_X]].astype(float), seconds_X[which_X], comparisons_N[row_X[which_X]])

    by_type: dict[QuestionType, ReadingTime] = {
        questions[row_X[int(np.argmax(asks_X == asks))]].asks: fitted(asks_X == asks)
        for asks in sorted(set(asks_X.tolist()))
        if np.count_nonzero(asks_X == asks) >= ENOUGH
    }
    other = fitted(np.ones(len(row_X), np.bool_)) if len(row_X) >= ENOUGH else DEFAULT
    return StudyReadingTime(by_type, other)


def fit(
    tokens_N: NDArray[np.float64], seconds_N: NDArray[np.float64], comparisons_N: NDArray[np.float64] | float = 1.0
) -> ReadingTime:
    """Return the model fitted to N >= 1 recorded times of questions; see the module docstring."""
    # Scale both unknowns to the same order: seconds for the decision, seconds for a text of typical length.
    typical_tokens, typical_seconds = max(float(np.median(tokens_N)), 1.0), float(np.median(seconds_N))
    pair = DEFAULT.constant + DEFAULT.decision
    shape_N = (DEFAULT.constant + DEFAULT.decision * np.broadcast_to(comparisons_N, len(tokens_N))) / pair
    design_N2 = np.column_stack([shape_N, tokens_N / typical_tokens])

    def residuals(unknown_2: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(design_N2 @ unknown_2 - seconds_N)

    def solve(start_2: NDArray[np.float64], loss: str, scale: float) -> NDArray[np.float64]:
        inside_2 = np.maximum(start_2, 1e-6 * typical_seconds)  # the solver must start inside the bounds
        found = scipy.optimize.least_squares(
            residuals, inside_2, lambda _: design_N2, bounds=(0, np.inf), loss=loss, f_scale=scale
        )
        return np.asarray(found.x)

    rough_2 = solve(np.full(2, typical_seconds / 2), "soft_l1", 0.05 * typical_seconds)
    spread = MAD_TO_SIGMA * float(np.median(np.abs(residuals(rough_2))))
    constant, slope = solve(rough_2, "cauchy", max(spread, 1e-3 * typical_seconds)).tolist()
    share = constant / pair
    return ReadingTime(DEFAULT.constant * share, slope / typical_tokens, DEFAULT.decision * share, len(seconds_N))
