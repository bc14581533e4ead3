"""The interface of an annotator."""

from __future__ import annotations

from abc import ABC, abstractmethod

from duelist.models.rewards.functions import Reward
from duelist.progress import Progress
from duelist.settings.context import Checked, Context
from duelist.types import Batch, Label, Pair, content_id


class Annotator(Checked, ABC):
    """Decides comparisons.

    Attributes:
        reward: what it decides by, if that is a reward; the evaluation reports it.
        label_temperature: Bradley–Terry temperature of its labels, in units of that reward; None where not known.
    """

    reward: Reward | None = None
    label_temperature: float | None = None

    @abstractmethod
    def annotate(self, batch: Batch, seed: int, progress: Progress) -> list[Label]:
        """One label per pair or more; an outcome that is no preference is returned as what it is.

        A label whose id is `label_id(seed, pair, annotator)` is the same act of labelling whenever it is made again, so
        that a study that was killed ends as one that was not.

        Args:
            batch: the pairs that were asked, with their prompts.
            seed: the only source of randomness; the same for the same study whatever the round.
            progress: told how many pairs are done.
        """

    def check(self, context: Context) -> None:
        if self.reward is not None:
            self.reward.check(context)


def label_id(seed: int, pair: Pair, annotator: str) -> str:
    """The id of the label that an annotator gives to a pair in the study of a seed."""
    return content_id("label", seed, pair.id, annotator)
