"""The interface of an annotator."""

from __future__ import annotations

from abc import ABC, abstractmethod

from duelist.progress import Progress
from duelist.types import Batch, Label


class Annotator(ABC):
    """Decides comparisons."""

    @abstractmethod
    def annotate(self, batch: Batch, seed: int, progress: Progress) -> list[Label]:
        """One label per pair or more; an outcome that is no preference is returned as what it is.

        Args:
            batch: the pairs that were asked, with their prompts.
            seed: the only source of randomness; the same for the same study whatever the round.
            progress: told how many pairs are done.
        """
