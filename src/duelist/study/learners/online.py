"""Learner whose rounds are optimizer steps: policy in memory after the last step, replayed from a checkpoint otherwise.

See docs/adr/0005-online-mode.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, final

import torch

from duelist.errors import user_code
from duelist.models.policy.policy import Policy
from duelist.models.trained import Models
from duelist.progress import Progress, Silent
from duelist.seeding import derived_seed
from duelist.store import codecs
from duelist.store.codecs import Codec
from duelist.store.decisions import decision_from
from duelist.study.learners.base import Learner
from duelist.study.learners.policy import PolicyLearner
from duelist.trainers.decisions import ScaledDecisions
from duelist.trainers.persistent_optimizer import PersistentOptimizer
from duelist.types import Decision


def _write_state(path: Path, state: dict[str, Any]) -> None:
    torch.save(state, path)


def _read_state(path: Path) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state


OPTIMIZER = Codec("optimizer.pt", _write_state, _read_state)


@final
class OnlineLearner(Learner):
    """Learner that holds the policy and its optimizer after one round, and moves them to another.

    Args:
        inner: the learner that reads and writes checkpoints.
    """

    def __init__(self, inner: PolicyLearner) -> None:
        self.artifact, self.margins = inner.artifact, inner.margins
        self._inner = inner
        self._recipe = inner.recipe
        self._trainer = inner.components.trainer
        self._folder = inner.folder
        self._at: int | None = None  # the round of policy and optimizer; None: in the middle of a step, or new
        self._policy: Policy | None = None
        self._optimizer = PersistentOptimizer(inner.recipe.rounds)

    def models(self, t: int) -> Models:
        return self._inner.models_of(self._after(t))

    def train(self, t: int, preferences: Sequence[Decision], target: Path) -> Mapping[str, Any]:
        """Write the weights after round t, whose step has been taken; round 0 is the same as in any study."""
        if t == 0:
            return self._inner.train(0, preferences, target)
        self._after(t).save_weights(target)
        return {}

    def step(self, t: int, preferences: Sequence[Decision]) -> Mapping[str, float]:
        """Take round t's step from the policy of the round before."""
        return self._advance(self._after(t - 1), t, preferences, self._inner.progress)

    def optimizer_state(self, t: int) -> dict[str, Any]:
        """Return the optimizer's state after round t."""
        self._after(t)
        return self._optimizer.state()

    def _after(self, t: int) -> Policy:
        """Return the policy after round t; the caller must not change it."""
        policy = self._policy
        if policy is None or self._at is None or not self._checkpoint_before(t) <= self._at <= t:
            policy = self._load(self._checkpoint_before(t))
        missing = range((self._at or 0) + 1, t + 1)
        if missing:
            with self._inner.progress.stage("Training again since the checkpoint", len(missing)) as advance:
                for s in missing:
                    self._advance(policy, s, self._decisions(s), Silent())
                    advance(1)
        return policy

    def _advance(
        self, policy: Policy, t: int, preferences: Sequence[Decision], progress: Progress
    ) -> Mapping[str, float]:
        done: Mapping[str, float] = {}
        self._at = None  # until the step is complete
        if preferences:
            seed = derived_seed(self._recipe.seed, "train", t)
            with user_code(self._trainer):
                done = self._trainer.step(policy, preferences, self._recipe.beta, seed, self._optimizer, progress)
        self._at = t
        return done

    def _load(self, checkpoint: int) -> Policy:
        self._at = None
        # The weights from which the next round's training starts; the caller may change them.
        self._policy = self._inner.policies.to_train(checkpoint + 1)
        state = self._folder.read(checkpoint, "optimizer", OPTIMIZER) if checkpoint else {}
        self._optimizer = PersistentOptimizer(self._recipe.rounds, state)
        self._at = checkpoint
        return self._policy

    def _checkpoint_before(self, t: int) -> int:
        """Return the last round up to t whose weights are kept."""
        return next(s for s in range(t, -1, -1) if s == 0 or self._folder.stage(s, "train") is not None)

    def _decisions(self, t: int) -> ScaledDecisions:
        """Return the decisions and the scales of round t's step, regardless of answers that arrived later."""
        step = self._folder.read(t, "step", codecs.STEP)
        store = self._folder.store
        rounds = (0, 1) if t == 1 else (t,)  # the first step trains on what was known before
        questions = {x.question.id: x.question for x in store.asked() if x.round in rounds}
        prompts = store.prompts()
        decisions = tuple(decision_from(row, questions, prompts) for row in step["preferences"])
        return ScaledDecisions(decisions, tuple(step.get("scales", ())))  # steps on pairs alone have none
