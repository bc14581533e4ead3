"""The policy after any round: one model in memory, its weights and reference read from the artifacts."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path

from duelist.errors import ModelError
from duelist.models.policy.config import PolicyConfig
from duelist.models.policy.kept import KeptPolicy
from duelist.models.policy.policy import Policy
from duelist.trainers.base import TrainingPlan


class RoundPolicies:
    """One model in memory, loaded with the weights and the reference of any round.

    Round 0's weights are the study's initial weights. The initial reference is the base model, which a fresh adapter
    leaves unchanged, but a trained adapter does not.

    Args:
        config: the model.
        plan: the trainer's plan: the weights to start from, and the reference.
        trained: returns the folder of a round's weights.
        seed: seed of a fresh adapter.
        base: the fingerprint that the base model must have; None before round 0 is done.
        fresh: whether round 0's policy is the base model itself.
    """

    def __init__(
        self,
        config: PolicyConfig,
        plan: TrainingPlan,
        trained: Callable[[int], Path],
        seed: int,
        base: str | None,
        fresh: bool,
    ) -> None:
        self._base = base
        self._config = config
        self._plan = plan
        self._trained = trained
        self._seed = seed
        self._fresh = fresh
        self._loaded: int | None = None  # the round whose weights the model has; None: not those of any round

    @cached_property
    def initial(self) -> Policy:
        """The model with the weights that the recipe names, or fresh ones.

        Raises:
            ModelError: if it is not the base model with which the study began.
        """
        policy = Policy.load(self._with_kept_start(), self._seed)
        found = policy.fingerprint(trained=False)
        if self._base not in (None, found):
            raise ModelError(
                f"A study goes on with the base model it began with, but {self._config.model} has other weights now "
                f"(fingerprint {found}, then {self._base}): restore that model, or begin a new study."
            )
        return policy

    def after(self, t: int) -> Policy:
        """Return the policy after round t, with the reference against which it was trained."""
        return self._with(t, self._reference_after(t))

    def kept(self, t: int, policy: Policy, threads: int) -> KeptPolicy:
        """Return how workers with `threads` torch threads get `policy`, which is the one after round t."""
        weights, reference = self._trained(t), self._reference(self._reference_after(t))
        reference = None if reference is None else reference.absolute()  # workers may have another working folder
        return KeptPolicy(self._with_kept_start(), self._seed, weights.absolute(), reference, threads, policy)

    def to_train(self, t: int) -> Policy:
        """Return the policy with the weights from which round t starts, and with its reference.

        The caller changes the weights, so the next call reads them from the artifact again.
        """
        reference = t - 1 if self._plan.reference == "previous" else None
        policy = self._with((reference or 0) if self._plan.restart == "from_reference" else t - 1, reference)
        self._loaded = None
        return policy

    def _with(self, t: int, reference: int | None) -> Policy:
        policy = self.initial
        if self._loaded != t:
            policy.load_weights(self._trained(t))
            self._loaded = t
        policy.set_reference(self._reference(reference))
        return policy

    def _reference_after(self, t: int) -> int | None:
        return t - 1 if self._plan.reference == "previous" and t > 0 else None

    def _reference(self, t: int | None) -> Path | None:
        """Return the folder of the reference of a round; None for the base model."""
        return None if t is None or (t == 0 and self._fresh) else self._trained(t)

    def _with_kept_start(self) -> PolicyConfig:
        """Return the configuration with round 0's weights in place of the original files, which may be gone."""
        if self._base is None:
            return self._config
        start = None if self._config.initial_adapter is None else str(self._trained(0))
        return self._config.model_copy(update={"initial_adapter": start, "initial_model": None})
