"""Container of the models that a study trains."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from duelist.engines.base import Batch, Engine, InMemory, Result, Source
from duelist.engines.local import Local
from duelist.errors import RecipeError
from duelist.models.embeddings.cache import EmbeddingCache
from duelist.progress import Progress

if TYPE_CHECKING:
    from duelist.models.policy.policy import Policy
    from duelist.models.rewards.network import RewardModel


@dataclass(frozen=True)
class Models:
    """Models of a study: a policy, a reward model or both.

    Attributes:
        policy: the language model being aligned, with its reference.
        reward_model: the reward model being trained.
        embeddings: source of the embeddings that the reward model reads.
        embeddings_folder: storage for a featurizer with its own embeddings.
        classifier: folder of the explicit reward model that the last round's labels trained (`rlhf`); None if none is
            kept, or no round has trained one.
        engine: computes with the policy, batch by batch.
        kept: how the engine's workers get the policy; None if it is in memory only.
    """

    policy: Policy | None = None
    reward_model: RewardModel | None = None
    embeddings: EmbeddingCache | None = None
    embeddings_folder: Path | None = None
    classifier: Path | None = None
    engine: Engine = field(default_factory=Local)
    kept: Source[Policy] | None = None

    def map(
        self, task: Callable[[Policy, Batch], Result], batches: Sequence[Batch], progress: Progress
    ) -> Iterator[Result]:
        """Yield `task(policy, batch)` for each batch, in order; the engine's workers compute them.

        Args:
            task: see `Engine.map`.
            batches: see `Engine.map`.
            progress: is told of failures that were recovered from.

        Raises:
            RecipeError: if the study has no policy, or the workers of another process cannot get it.
        """
        source = InMemory(self.policy_for("Computing in batches")) if self.kept is None else self.kept
        return self.engine.map(source, task, batches, progress)

    def policy_for(self, user: str) -> Policy:
        """Return the policy, or raise if the study has none.

        Args:
            user: the component that needs it, for the message.

        Raises:
            RecipeError: if the study has none.
        """
        if self.policy is None:
            raise RecipeError(f"{user} needs a policy, but the recipe has none: set `policy`, or choose another one.")
        return self.policy

    def reward_model_for(self, user: str) -> tuple[RewardModel, EmbeddingCache]:
        """Return the reward model and its embeddings, or raise if the study trains none.

        Args:
            user: the component that needs them, for the message.

        Raises:
            RecipeError: if the study trains none.
        """
        if self.reward_model is None or self.embeddings is None:
            raise RecipeError(
                f"{user} needs a reward model that the study trains, but this recipe trains a policy: use trainer "
                "`bradley_terry`, or choose another one."
            )
        return self.reward_model, self.embeddings
