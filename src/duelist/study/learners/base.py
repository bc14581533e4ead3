"""The interface of a learner: what a study trains, round by round."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from duelist.featurizers.base import Featurizer
from duelist.models.trained import Models
from duelist.types import Preference


class Learner(ABC):
    """The models of a study as any round left them, and how they get from one round to the next.

    A round's weights are an artifact in a folder of their own. A learner fills that folder and reads it; it keeps
    nothing that is not there, so that a resumed study goes on from the same weights.

    Attributes:
        artifact: the name of that folder, in a round's folder and, for the latest round, in the study's.
        margins: the cheapest way to this learner's `margin_N`.
    """

    artifact: str
    margins: Featurizer

    @abstractmethod
    def models(self, t: int) -> Models:
        """The models as round t left them; round 0 is before any label."""

    @abstractmethod
    def train(self, t: int, preferences: Sequence[Preference], target: Path) -> Mapping[str, Any]:
        """Train in round t, write the weights, and return numbers worth reporting.

        Round 0 has no labels: it writes the weights that the study starts from, and returns what a resumed study must
        find unchanged.
        """
