"""The interface of a learner: what a study trains, round by round."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from duelist.errors import RecipeError
from duelist.featurizers.base import Featurizer
from duelist.models.trained import Models
from duelist.types import Evaluation, Preference

_NOT_ONLINE = "`online: true` needs a policy that is trained step by step, but this recipe has none: set it to false."


class Learner(ABC):
    """The models of a study as any round left them, and how they get from one round to the next.

    A round's weights are an artifact in a folder of their own. A learner fills that folder and reads it; it keeps
    nothing that is not there, so that a resumed study goes on from the same weights.
    """

    @property
    @abstractmethod
    def artifact(self) -> str:
        """The name of that folder, in a round's folder and, for the latest round, in the study's."""

    @property
    @abstractmethod
    def margins(self) -> Featurizer:
        """The cheapest way to this learner's `margin_N`."""

    @abstractmethod
    def models(self, t: int) -> Models:
        """The models as round t left them; round 0 is before any label."""

    @abstractmethod
    def save_initial(self, target: Path) -> Mapping[str, Any]:
        """Write round 0's weights, and return what a resumed study must find unchanged."""

    @abstractmethod
    def train(self, t: int, preferences: Sequence[Preference], target: Path) -> Mapping[str, float]:
        """Train in round t, write the weights, and return numbers worth reporting."""

    def step(self, t: int, preferences: Sequence[Preference]) -> Mapping[str, float]:
        """Online: train in round t by one optimizer step, and return numbers worth reporting.

        Raises:
            RecipeError: if this learner cannot.
        """
        raise RecipeError(_NOT_ONLINE)

    def optimizer_state(self, t: int) -> dict[str, Any]:
        """Online: the optimizer's state after round t.

        Raises:
            RecipeError: if this learner cannot train online.
        """
        raise RecipeError(_NOT_ONLINE)

    @abstractmethod
    def evaluate(self, t: int, initial: Evaluation | None) -> Evaluation:
        """Measure the models as round t left them.

        Args:
            t: the round.
            initial: the evaluation of round 0, for comparison; None in round 0.
        """
