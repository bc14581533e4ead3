"""Win rates by a judge: against the initial model, or against fixed outputs in a file.

Reference: AlpacaEval 2 (Dubois et al., 2024, arXiv 2404.04475): weighted and length-controlled win rate; Zheng et al.,
           2023 (arXiv 2306.05685), Section 3.4: each pair in both orders, a tie where they disagree.
Formula:   weighted: the mean of P(the policy's output is better), an equal counting ½, over both orders; discrete:
           the share of outputs that win in both orders, ties and contradictions counting ½. 95 % intervals by the
           percentile bootstrap over prompts, 1,000 replicates.
Cost:      one comparison, in both orders, for each held-out prompt and sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from duelist.errors import user_code
from duelist.evaluation.length_control import Floats, length_controlled
from duelist.evaluation.references import reference_outputs
from duelist.judgement import Judgement
from duelist.judges.base import Comparison, Judge
from duelist.judges.config import JudgeConfig
from duelist.people.intervals import LEVEL, Estimate
from duelist.progress import Progress
from duelist.seeding import derived_seed, generator
from duelist.types import Evaluation, Prompt

INITIAL = "initial"
REPLICATES = 1000
POINTS = {"a": 1.0, "tie": 0.5, "inconsistent": 0.5, "b": 0.0}


class WinRateConfig(JudgeConfig):
    """Settings of the judge that the evaluation asks for win rates, and what it compares with."""

    against: str = Field(
        default=INITIAL,
        description="What the responses are compared with: initial, the initial model's on the same prompts; or a file "
        "of fixed outputs, rows with `output`, and `prompt` or `instruction` (AlpacaEval's format).",
    )
    difficulty: str | None = Field(
        default=None,
        description="Prompt column with the instruction's difficulty, a number that the length-controlled regression "
        "uses; null: without it.",
    )


@dataclass(frozen=True)
class WinRates:
    """Win rates of R comparisons with their 95 % intervals, and what else the judge said.

    Attributes:
        weighted: by the judge's probabilities; None if every verdict is unusable, as are the other two.
        discrete: by outcomes.
        length_controlled: None with too few prompts for it.
        inconsistent: share of the asked comparisons with usable verdicts whose two orders disagree; None without any.
        unparsed: number of comparisons without a usable verdict; they are left out.
        tokens: tokens that the judge read and wrote.
        cost: money spent, in the currency of the judge's prices.
    """

    weighted: Estimate | None
    discrete: Estimate | None
    length_controlled: Estimate | None
    inconsistent: float | None
    unparsed: int
    tokens: int
    cost: float


def judge_outputs(
    judge: Judge,
    prompts: Sequence[Prompt],
    outputs: Sequence[str],
    references: Sequence[str],
    *,
    seed: int,
    progress: Progress,
) -> list[Judgement | None]:
    """Ask the judge about R outputs, in both orders; a is the policy's output, b the one that it is compared with.

    Args:
        judge: the judge.
        prompts: the prompt of each output.
        outputs: the policy's outputs.
        references: the outputs to compare them with.
        seed: the only source of randomness.
        progress: receives the number of finished comparisons.

    Returns:
        A judgement for each; None for equal texts, which are ties by definition and are not asked about.
    """
    differ = [i for i, (output, reference) in enumerate(zip(outputs, references, strict=True)) if output != reference]
    found: list[Judgement | None] = [None] * len(outputs)
    if differ:
        asked = [Comparison(prompts[i], outputs[i], references[i]) for i in differ]
        with user_code(judge):
            judgements = judge.judge(asked, derived_seed(seed, "judge"), progress)
        for i, judgement in zip(differ, judgements, strict=True):
            found[i] = judgement
    return found


def references_of(
    config: WinRateConfig, prompts: Sequence[Prompt], outputs: Sequence[str], initial: Evaluation | None
) -> list[str]:
    """Return what each output is compared with.

    Args:
        config: settings.
        prompts: the prompt of each output.
        outputs: the policy's outputs.
        initial: the initial model's evaluation on the same prompts; None for that model, compared with itself.

    Raises:
        DataError: if a file does not have an output for every prompt.
    """
    if config.against != INITIAL:
        return reference_outputs(config.against, prompts)
    return list(outputs) if initial is None else [str(sample["response"]) for sample in initial.samples]


def win_rates(
    judgements: Sequence[Judgement | None],
    outputs: Sequence[str],
    references: Sequence[str],
    prompt_ids: Sequence[str],
    difficulty_R: Floats | None,
    seed: int,
) -> WinRates:
    """Return the win rates of R outputs.

    Args:
        judgements: what the judge said of each, a being the output; None for equal texts.
        outputs: the policy's outputs.
        references: what each was compared with.
        prompt_ids: the prompt of each output.
        difficulty_R: difficulty of each prompt, for the length-controlled regression; None leaves it out.
        seed: seed of the bootstrap.
    """
    verdicts = [("tie", 0.5) if j is None else (j.outcome, j.probability) for j in judgements]
    usable = [i for i, (_, probability) in enumerate(verdicts) if probability is not None]
    asked = [j for j in judgements if j is not None]
    parsed = [j.outcome for j in asked if j.outcome != "unparsed"]
    tokens, cost = sum(j.tokens_in + j.tokens_out for j in asked), float(sum(j.cost for j in asked))
    inconsistent = parsed.count("inconsistent") / len(parsed) if parsed else None
    unparsed = len(verdicts) - len(usable)
    if not usable:
        return WinRates(None, None, None, inconsistent, unparsed, tokens, cost)

    numbers: dict[str, int] = {}
    prompt_R = np.array([numbers.setdefault(prompt_ids[i], len(numbers)) for i in usable])
    preference_R = np.array([verdicts[i][1] for i in usable], dtype=np.float64)
    point_R = np.array([POINTS[verdicts[i][0]] for i in usable])
    delta_R = np.array([float(len(outputs[i]) - len(references[i])) for i in usable])
    replicate_SR = _replicates(prompt_R, seed)
    controlled = length_controlled(
        preference_R, delta_R, prompt_R, None if difficulty_R is None else difficulty_R[usable], replicate_SR
    )
    alone = len(numbers) == 1  # one prompt says nothing about others
    return WinRates(
        _estimate(float(preference_R.mean()), _means(preference_R, replicate_SR), len(usable), alone),
        _estimate(float(point_R.mean()), _means(point_R, replicate_SR), len(usable), alone),
        None if controlled is None else _estimate(*controlled, len(usable), alone),
        inconsistent,
        unparsed,
        tokens,
        cost,
    )


def _replicates(prompt_R: NDArray[np.int64], seed: int) -> Floats:
    """Return how often each replicate draws each comparison, `[S, R]`: prompts are drawn, with all they have."""
    prompts = int(prompt_R.max()) + 1
    drawn_SX = generator(seed, "bootstrap").multinomial(prompts, np.full(prompts, 1 / prompts), size=REPLICATES)
    return drawn_SX[:, prompt_R].astype(np.float64)


def _means(value_R: Floats, replicate_SR: Floats) -> Floats:
    return np.asarray(replicate_SR @ value_R / replicate_SR.sum(axis=1))


def _estimate(value: float, replicate_S: Floats, n: int, alone: bool) -> Estimate:
    low, high = (0.0, 1.0) if alone else np.quantile(replicate_S, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(value, float(low), float(high), n)
