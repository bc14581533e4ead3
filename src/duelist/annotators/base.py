"""Interface of an annotator."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

from duelist.models.rewards.functions import Reward
from duelist.progress import Progress
from duelist.settings.context import Checked, Context
from duelist.types import Answer, Batch, Label, Question, content_id


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

    def check(self, context: Context) -> None:
        if self.reward is not None:
            self.reward.check(context)


def label_id(seed: int, question: Question, annotator: str) -> str:
    """Return the id of an annotator's label or answer to a question in the study with this seed."""
    return content_id("label", seed, question.id, annotator)
