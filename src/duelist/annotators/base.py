"""Interface of an annotator."""

from __future__ import annotations

from abc import ABC, abstractmethod

from duelist.models.rewards.functions import Reward
from duelist.progress import Progress
from duelist.settings.context import Checked, Context
from duelist.types import Batch, Label, Question, content_id


class Annotator(Checked, ABC):
    """Source of labels.

    Attributes:
        reward: the reward that determines its labels, if any; the evaluation reports it.
        label_temperature: Bradley–Terry temperature of its labels, in units of that reward; None if unknown.
    """

    reward: Reward | None = None
    label_temperature: float | None = None

    @abstractmethod
    def annotate(self, batch: Batch, seed: int, progress: Progress) -> list[Label]:
        """Return one or more labels per pair; outcomes without a preference (such as ties) are returned unchanged.

        Give each label the id `label_id(seed, pair, annotator)`. A repeated call then returns the same label, so a
        killed study ends in the same state as an uninterrupted one.

        Args:
            batch: the pairs to label, with their prompts.
            seed: the only source of randomness; the same in every round of a study.
            progress: receives the number of finished pairs.
        """

    def check(self, context: Context) -> None:
        if self.reward is not None:
            self.reward.check(context)


def label_id(seed: int, pair: Question, annotator: str) -> str:
    """Return the id of an annotator's label of a pair in the study with this seed."""
    return content_id("label", seed, pair.id, annotator)
