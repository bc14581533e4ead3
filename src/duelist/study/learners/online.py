"""The policy of a study whose rounds are optimizer steps: in memory as the last step left it, replayed when it is not.

See docs/adr/0005-online-mode.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, final

import torch

from duelist.errors import RecipeError, user_code
from duelist.models.policy.policy import Policy
from duelist.progress import Progress, Silent
from duelist.recipe.recipe import Recipe
from duelist.seeding import derived_seed
from duelist.store import codecs
from duelist.store.codecs import Codec
from duelist.store.folder import StudyFolder
from duelist.store.preferences import preference_from
from duelist.study.learners.round_policies import RoundPolicies
from duelist.trainers.base import Planned, TakesSteps, Trainer
from duelist.trainers.persistent_optimizer import PersistentOptimizer
from duelist.types import Preference

# The settings of TRL that say how many steps are taken, which online is one a round.
STEP_SETTINGS = ("max_steps", "num_train_epochs", "gradient_accumulation_steps")


def _write_state(path: Path, state: dict[str, Any]) -> None:
    torch.save(state, path)


def _read_state(path: Path) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state


OPTIMIZER = Codec("optimizer.pt", _write_state, _read_state)


def require_online_trainer(trainer: Planned, recipe: Recipe) -> TakesSteps:
    """The trainer as one that takes steps.

    Args:
        trainer: what the recipe names.
        recipe: the recipe, with its settings.

    Raises:
        RecipeError: if it cannot, or its settings contradict one step a round.
    """
    if not isinstance(trainer, TakesSteps):
        raise RecipeError(
            f"`online: true` needs a trainer that takes single steps, but {recipe.trainer['name']} trains in one "
            "piece: use `dpo`, or set `online` to false."
        )
    plan = trainer.plan
    for key, wanted in (("accumulate", "round"), ("restart", "continue"), ("reference", "initial")):
        if getattr(plan, key) != wanted:
            raise RecipeError(
                f"`online: true` goes on from the last step with this round's labels, so `trainer.{key}` must be "
                f"`{wanted}`, but is `{getattr(plan, key)}`: change it, or set `online` to false."
            )
    # The last two have a meaning for the training on data that is there before the study.
    for key in STEP_SETTINGS if recipe.initial is None else STEP_SETTINGS[:1]:
        if key in (recipe.trainer.get("train") or {}):
            raise RecipeError(
                f"`online: true` takes one optimizer step a round, but `trainer.train.{key}` says how many to take: "
                "remove it, and set `rounds` and `budget`."
            )
    return trainer


@final
class OnlinePolicy:
    """Holds the policy and its optimizer after one round, and brings them to another.

    Args:
        recipe: the study's.
        trainer: the recipe's.
        folder: has the checkpoints, and what every step was taken on.
        policies: reads checkpoints.
        progress: told how many steps are taken again.
    """

    def __init__(
        self, recipe: Recipe, trainer: Trainer, folder: StudyFolder, policies: RoundPolicies, progress: Progress
    ) -> None:
        self._recipe = recipe
        self._trainer = require_online_trainer(trainer, recipe)
        self._folder = folder
        self._policies = policies
        self._progress = progress
        self._at: int | None = None  # the round that policy and optimizer are at; None: in the middle of a step, or new
        self._policy: Policy | None = None
        self._carried = PersistentOptimizer(recipe.rounds)

    def after(self, t: int) -> Policy:
        """The policy as round t left it; to be left unchanged."""
        policy = self._policy
        if policy is None or self._at is None or not self._checkpoint_before(t) <= self._at <= t:
            policy = self._load(self._checkpoint_before(t))
        missing = range((self._at or 0) + 1, t + 1)
        if missing:
            with self._progress.stage("Training again since the checkpoint", len(missing)) as advance:
                for s in missing:
                    self._advance(policy, s, self._preferences(s), Silent())
                    advance(1)
        return policy

    def step(self, t: int, preferences: Sequence[Preference]) -> Mapping[str, float]:
        """Take round t's step from where the round before left the policy."""
        return self._advance(self.after(t - 1), t, preferences, self._progress)

    def optimizer_state(self, t: int) -> dict[str, Any]:
        """The optimizer's state after round t."""
        self.after(t)
        return self._carried.state()

    def _advance(
        self, policy: Policy, t: int, preferences: Sequence[Preference], progress: Progress
    ) -> Mapping[str, float]:
        done: Mapping[str, float] = {}
        self._at = None  # until the step is whole
        if preferences:
            seed = derived_seed(self._recipe.seed, "train", t)
            with user_code(self._trainer):
                done = self._trainer.step(policy, preferences, self._recipe.beta, seed, self._carried, progress)
        self._at = t
        return done

    def _load(self, checkpoint: int) -> Policy:
        self._at = None
        # The weights that the next round's training starts from, which the caller may change.
        self._policy = self._policies.to_train(checkpoint + 1)
        state = self._folder.read(checkpoint, "optimizer", OPTIMIZER) if checkpoint else {}
        self._carried = PersistentOptimizer(self._recipe.rounds, state)
        self._at = checkpoint
        return self._policy

    def _checkpoint_before(self, t: int) -> int:
        """The last round up to t whose weights are kept."""
        return next(s for s in range(t, -1, -1) if s == 0 or self._folder.stage(s, "train") is not None)

    def _preferences(self, t: int) -> list[Preference]:
        """What round t's step was taken on, whatever labels have come since."""
        rows = self._folder.read(t, "step", codecs.STEP)["preferences"]
        store = self._folder.store
        pairs = {x.pair.id: x.pair for x in store.asked(t)}
        prompts = store.prompts()
        return [preference_from(row, pairs[row["pair_id"]], prompts) for row in rows]
