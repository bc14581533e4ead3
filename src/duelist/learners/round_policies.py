"""The policy as it was after any round: one model in memory, its adapter and reference read from the artifacts."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path

from duelist.errors import ModelError
from duelist.models.policy import Policy, PolicyConfig
from duelist.trainers.base import TrainingPlan


class RoundPolicies:
    """Holds one model, and gives it the weights and the reference that a round calls for."""

    def __init__(
        self, config: PolicyConfig, plan: TrainingPlan, adapter: Callable[[int], Path], seed: int, base: str | None
    ) -> None:
        """Hold the model that `config` names; `base` is the fingerprint that its base model must have, if any."""
        self._base = base
        self._config = config
        self._plan = plan
        self._adapter = adapter
        self._seed = seed
        self._loaded: int | None = None  # the round whose weights the model holds; None: not those of any round

    @cached_property
    def initial(self) -> Policy:
        """The model with its fresh adapter.

        Raises:
            ModelError: if it is not the base model that the study began with.
        """
        policy = Policy.load(self._config, self._seed)
        found = policy.fingerprint(adapters=False)
        if self._base not in (None, found):
            raise ModelError(
                f"A study goes on with the base model it began with, but {self._config.model} has other weights now "
                f"(fingerprint {found}, then {self._base}): restore that model, or begin a new study."
            )
        return policy

    def after(self, t: int) -> Policy:
        """The policy as round t left it, with the reference that it was trained against."""
        reference = max(t - 1, 0) if self._plan.reference == "previous" else 0
        return self._with(t, reference)

    def to_train(self, t: int) -> Policy:
        """The policy at the weights that round t starts from, with the reference it is to be held close to.

        The caller changes the weights: they are read from the artifact when they are next asked for.
        """
        reference = t - 1 if self._plan.reference == "previous" else 0
        policy = self._with(reference if self._plan.restart == "from_reference" else t - 1, reference)
        self._loaded = None
        return policy

    def reference(self, t: int) -> Path | None:
        """Round t's adapter as a reference. A fresh adapter changes nothing, so for round 0 it is the bare base "
        "model."""
        return None if t == 0 else self._adapter(t)

    def _with(self, t: int, reference: int) -> Policy:
        policy = self.initial
        if self._loaded != t:
            policy.load_adapter(self._adapter(t))
            self._loaded = t
        policy.set_reference(self.reference(reference))
        return policy
