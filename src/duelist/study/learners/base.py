"""The interface of a learner: the trained model (policy or reward model), round by round."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from duelist.featurizers.base import Featurizer
from duelist.models.trained import Models
from duelist.types import Decision


class Learner(ABC):
    """Models of a study after any round, and the training between rounds.

    A round's weights are an artifact in a separate folder. A learner writes that folder and reads it. It keeps no other
    state, so a resumed study continues from the same weights.

    Attributes:
        artifact: the name of that folder, in a round's folder and, for the latest round, in the study's.
        margins: the cheapest featurizer of this learner's `margin_N`.
    """

    artifact: str
    margins: Featurizer

    @abstractmethod
    def models(self, t: int) -> Models:
        """Return the models after round t; round 0 is before any label."""

    @abstractmethod
    def train(self, t: int, preferences: Sequence[Decision], target: Path) -> Mapping[str, Any]:
        """Train in round t, write the weights, and return numbers worth reporting.

        Fitted scales of the stages of rankings come with the decisions (`ScaledDecisions`).

        Round 0 has no labels: it writes the study's initial weights, and returns facts that must be the same when the
        study is resumed.
        """
