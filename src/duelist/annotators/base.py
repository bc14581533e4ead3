"""Interfaces of an annotator, and of one that labels some questions before people are asked."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from duelist.engines.base import Engine
from duelist.models.rewards.functions import Reward
from duelist.progress import Progress
from duelist.settings.context import Checked, Context
from duelist.types import Answer, Batch, Label, Prompt, Question, content_id


class Annotator(Checked, ABC):
    """Source of labels.

    Attributes:
        reward: the reward that determines its labels, if any; the evaluation reports it.
        label_temperature: Bradley–Terry temperature of its labels, in units of that reward; None if unknown.
    """

    reward: Reward | None = None
    label_temperature: float | None = None

    @abstractmethod
    def annotate(self, batch: Batch, seed: int, progress: Progress) -> Sequence[Label | Answer]:
        """Return one or more labels per pair, and answers per larger question.

        Outcomes without a preference (such as ties) are returned unchanged.

        Give each label the id `label_id(seed, pair, annotator)`. A repeated call then returns the same label, so a
        killed study ends in the same state as an uninterrupted one.

        Args:
            batch: the questions, with their prompts.
            seed: the only source of randomness; the same in every round of a study.
            progress: receives the number of finished questions.
        """

    def keep_in(self, folder: Path) -> None:
        """Use this folder for what is expensive to ask for again. Called before `annotate`; the default keeps nothing.

        Args:
            folder: a folder of the study's own, which may not exist yet.
        """

    def compute_with(self, engine: Engine, progress: Progress) -> None:
        """Compute with this engine what a model in memory computes batch by batch; the default does so for `reward`.

        Called before `annotate` and after `keep_in`.

        Args:
            engine: the engine.
            progress: is told of failures that were recovered from.
        """
        if self.reward is not None:
            self.reward.compute_with(engine, progress)

    def check(self, context: Context) -> None:
        if self.reward is not None:
            self.reward.check(context)


@dataclass(frozen=True)
class History:
    """What a study knows before a round's questions are labelled.

    Attributes:
        questions: the questions of the earlier rounds that count, by id.
        prompts: their prompts, by id.
        labels: each annotator's latest label on each of them, judges' labels that are not trained on included.
        looks: number of rounds of the whole study that follow a labelled one: how often it can be asked for.
    """

    questions: Mapping[str, Question]
    prompts: Mapping[str, Prompt]
    labels: Sequence[Label]
    looks: int


@dataclass(frozen=True)
class Prelabelling:
    """Labels that were given before people are asked.

    Attributes:
        labels: the labels. Pairs without one that counts are left to people. One with a judgement counts until a person
            decides the pair; give each its judgement.
        info: facts about how the labels were chosen, as JSON; recorded with the study.
    """

    labels: Sequence[Label]
    info: Mapping[str, Any]


class Prelabeller(Annotator, ABC):
    """Annotator that labels some pairs by what was answered in earlier rounds, and leaves the others to people."""

    @property
    @abstractmethod
    def people(self) -> Annotator:
        """The annotator of the pairs that are left."""

    @abstractmethod
    def prelabel(self, batch: Batch, history: History, seed: int, progress: Progress) -> Prelabelling:
        """Return the labels of the pairs that need no person. The study records them once per round, when it asks.

        Args:
            batch: the round's questions, with their prompts.
            history: the questions and labels of earlier rounds.
            seed: as in `annotate`.
            progress: receives the number of finished questions, and what the user should know.
        """

    def annotate(self, batch: Batch, seed: int, progress: Progress) -> Sequence[Label | Answer]:
        return self.people.annotate(batch, seed, progress)


def label_id(seed: int, question: Question, annotator: str) -> str:
    """Return the id of an annotator's label or answer to a question in the study with this seed."""
    return content_id("label", seed, question.id, annotator)
