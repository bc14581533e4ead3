"""Cascade: a judge labels what it is trusted with, people label the rest and a random audit.

Reference: Clopper and Pearson, 1934, with fixed-sequence testing of thresholds (`duelist.people.certification`).
Formula:   the judge takes a pair if it decides it in both orders, its score is at least the slice's threshold, and the
           pair is no audit; the threshold is the laxest above which people's votes of earlier rounds certify an error
           of at most `max_error`, at level 1 − 5 % / (rounds that look · slices).
Cost:      the judge on every pair; people on every pair until it is trusted: with max_error 0.05 and one look 59 votes
           without an error, and more with more looks (docs/cascade.md).
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from duelist.annotators.base import Annotator, History, Prelabeller, Prelabelling
from duelist.annotators.judge import JudgeAnnotator, require_comparable
from duelist.cascade.evidence import calibration_from
from duelist.cascade.labelling import Policy, labels_of
from duelist.cascade.trust import level_of
from duelist.cascade.words import in_words
from duelist.engines.base import Engine
from duelist.errors import RecipeError
from duelist.judges.base import Comparison, Judge
from duelist.judges.config import JudgeConfig
from duelist.judges.of import judge_of
from duelist.people.certification import audits_needed
from duelist.progress import Progress
from duelist.recipe.component import Component
from duelist.settings.context import Context
from duelist.types import Batch


class CascadeConfig(BaseModel):
    """Settings of the `cascade` annotator."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    judge: JudgeConfig = Field(description="The judge, with the settings of the annotator `judge`.")
    people: Component[Annotator] = Field(
        description="Who labels what the judge is not trusted with, and the audits: another annotator, with its `name`."
    )
    max_error: float = Field(
        default=0.05,
        gt=0,
        lt=0.5,
        description="Largest error of the judge's labels: the probability that one random person disagrees.",
    )
    audit_fraction: float = Field(
        default=0.2, gt=0, le=1, description="Share of the pairs, drawn at random, that people always label."
    )
    slice_by: str | None = Field(
        default=None,
        description="Column of the prompts whose values get thresholds of their own, where they have enough audits; "
        "null: one threshold.",
    )


class Cascade(Prelabeller):
    """A judge that is trusted as far as people's votes certify it, and people for everything else."""

    def __init__(self, config: CascadeConfig) -> None:
        self.config = config
        self.judge: Judge = judge_of(config.judge)
        self._people = config.people.build()
        self.reward = self._people.reward
        self.label_temperature = self._people.label_temperature

    def keep_in(self, folder: Path) -> None:
        self.judge = judge_of(self.config.judge, folder)
        self._people.keep_in(folder)

    def compute_with(self, engine: Engine, progress: Progress) -> None:
        self.judge.compute_with(engine, progress)
        self._people.compute_with(engine, progress)

    @property
    def people(self) -> Annotator:
        return self._people

    def prelabel(self, batch: Batch, history: History, seed: int, progress: Progress) -> Prelabelling:
        comparisons = [Comparison.of(pair, batch.prompts[pair.a.prompt_id]) for pair in batch.pairs]
        judgements = self.judge.judge(comparisons, seed, progress)
        policy = Policy(self.judge.name, self.config.max_error, self.config.audit_fraction, self.config.slice_by)
        found, _ = labels_of(batch, judgements, history, policy, seed)
        for line in in_words(found.info):
            progress.note(f"Judge: {line}")
        return found

    def check(self, context: Context) -> None:
        config = self.config
        if isinstance(self._people, Prelabeller):
            raise RecipeError(
                f"`annotator.people` must label what the judge leaves, but {config.people.name!r} leaves pairs to "
                "others itself: name another annotator."
            )
        if isinstance(self._people, JudgeAnnotator) and self._people.judge.name == self.judge.name:
            raise RecipeError(
                f"`annotator.people` must be others than the judge, but both are {self.judge.name!r} in the record, "
                "which could not tell their labels apart: use another model, rubric or function name."
            )
        require_comparable(context)
        self._people.check(context)
        self.judge.check(context)
        of_column = () if config.slice_by is None else context.train
        missing = [p.id for p in of_column if config.slice_by not in p.columns]
        if missing:
            raise RecipeError(
                f"`annotator.slice_by` must be a column of the prompts, but {len(missing)} of {len(context.train)} "
                f"have no {config.slice_by!r} (the first is {missing[0]}): correct the name."
            )
        context.lookups.notes.append(self._cost(context))

    def _cost(self, context: Context) -> str:
        """Return how many votes the judge's trust costs, in words."""
        budgets, config = context.budgets, self.config
        looks = max(len(budgets) - 1 - context.lookahead, 0)
        needed = audits_needed(config.max_error, level_of(looks))
        pairs = round(needed / calibration_from(config.audit_fraction))
        begin = (
            f"The judge is trusted with nothing until {needed} votes of people on random pairs agree with it "
            f"(max_error {config.max_error:g}, {looks} looks; more if any disagrees)"
        )
        before = 0
        for t, budget in enumerate(budgets[:looks], 1):
            before += budget
            if before >= pairs:
                return (
                    f"{begin}. These are the votes on about {pairs} pairs, so it is trusted from round "
                    f"{t + 1 + context.lookahead} on at the earliest, and people label every pair until then. After "
                    f"that, people label at least {config.audit_fraction:.0%} of the pairs."
                )
        return (
            f"{begin}. These are the votes on about {pairs} pairs, but only {before} are asked before the last round: "
            "people will label every pair. Raise `max_error` or the budget, or set `annotator` to the people alone."
        )
