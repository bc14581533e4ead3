"""The policy as it was after any round: one model in memory, its weights and reference read from the artifacts."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path

from duelist.errors import ModelError
from duelist.models.policy.config import PolicyConfig
from duelist.models.policy.policy import Policy
from duelist.trainers.base import TrainingPlan


class RoundPolicies:
    """Holds one model, and gives it the weights and the reference that a round calls for.

    Round 0's weights are those that the study starts from; the initial reference is the base model, which a fresh
    adapter does not change, but a trained one does.

    Args:
        config: the model.
        plan: what the trainer wants training to start from and to be held close to.
        trained: the folder of a round's weights.
        seed: a fresh adapter is drawn from it.
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
        self._loaded: int | None = None  # the round whose weights the model holds; None: not those of any round

    @cached_property
    def initial(self) -> Policy:
        """The model with the weights that the recipe names, or fresh ones.

        Raises:
            ModelError: if it is not the base model that the study began with.
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
        """The policy as round t left it, with the reference that it was trained against."""
        return self._with(t, t - 1 if self._plan.reference == "previous" and t > 0 else None)

    def to_train(self, t: int) -> Policy:
        """The policy at the weights that round t starts from, with the reference it is to be held close to.

        The caller changes the weights: they are read from the artifact when they are next asked for.
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
        is_base = reference is None or (reference == 0 and self._fresh)
        policy.set_reference(None if is_base else self._trained(reference or 0))
        return policy

    def _with_kept_start(self) -> PolicyConfig:
        """The configuration with round 0's own weights in place of the files they came from, which may be gone."""
        if self._base is None:
            return self._config
        start = None if self._config.initial_adapter is None else str(self._trained(0))
        return self._config.model_copy(update={"initial_adapter": start, "initial_model": None})
