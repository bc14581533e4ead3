"""A model that compares the responses: a language model here or on a server, a reward model, or a function.

Reference: Zheng et al., "Judging LLM-as-a-judge with MT-Bench and Chatbot Arena", 2023 (both orders, position bias).
Formula:   the label is what the judge says in both orders; `inconsistent` if it contradicts itself, and `unparsed` if
           one verdict cannot be used. Neither is a preference (`Judgement.outcome`).
Cost:      two verdicts per pair, in tokens and money as the judge counts them (`JudgeConfig`).
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

from duelist.annotators.base import Annotator, label_id
from duelist.engines.base import Engine
from duelist.errors import RecipeError
from duelist.judges.base import Comparison, Judge
from duelist.judges.config import JudgeConfig
from duelist.judges.of import judge_of
from duelist.progress import Progress
from duelist.settings.context import Context
from duelist.types import Batch, Label, Outcome


class JudgeAnnotator(Annotator):
    """A language model, a reward model or a function that compares the two responses in both orders."""

    def __init__(self, config: JudgeConfig) -> None:
        self.config = config
        self.judge: Judge = judge_of(config)

    def keep_in(self, folder: Path) -> None:
        self.judge = judge_of(self.config, folder)

    def compute_with(self, engine: Engine, progress: Progress) -> None:
        self.judge.compute_with(engine, progress)

    def check(self, context: Context) -> None:
        require_comparable(context)
        self.judge.check(context)

    def annotate(self, batch: Batch, seed: int, progress: Progress) -> list[Label]:
        pairs = batch.pairs
        comparisons = [Comparison.of(pair, batch.prompts[pair.a.prompt_id]) for pair in pairs]
        name = self.judge.name
        return [
            Label(pair.id, name, cast(Outcome, x.outcome), id=label_id(seed, pair, name), judgement=x)
            for pair, x in zip(pairs, self.judge.judge(comparisons, seed, progress), strict=True)
        ]


def require_comparable(context: Context) -> None:
    """Require questions that a judge can answer: pairs of responses to one prompt.

    Raises:
        RecipeError: if a question may have more than two responses, or responses to different prompts.
    """
    if context.sets_of > 2:
        raise RecipeError(
            f"A judge compares two responses, but this recipe asks about up to {context.sets_of}: set `pairing` to "
            "pairs (`sets_of: 2`), or use another annotator."
        )
    if context.within_prompts is False:
        raise RecipeError(
            "A judge compares two responses to one prompt, but this recipe's pairs may cross prompts: use the pairing "
            "`in_prompt`, or another annotator."
        )
