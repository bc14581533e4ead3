"""The policy of a round for workers: they read it from where the study keeps its weights."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, final

import torch

from duelist.engines.base import Source
from duelist.engines.launcher import require_devices
from duelist.errors import ModelError
from duelist.models.policy.config import PolicyConfig
from duelist.models.policy.fixed_model import require_device
from duelist.models.policy.loading import load_in_processes
from duelist.models.policy.model_configuration import computed_with
from duelist.models.policy.policy import Policy


@final
@dataclass(frozen=True)
class KeptPolicy(Source[Policy]):
    """A policy that is in memory here, and elsewhere read from the folders of its weights.

    Attributes:
        config: the settings of its model.
        seed: seed of a fresh adapter.
        weights: folder of its trained weights; None if it has those that the settings name.
        reference: folder of its reference's weights; None for the base model.
        threads: number of torch threads, for equal results.
        here: the policy in this process; other processes do not get it.
        fingerprint: of the policy, found when the source is sent to another process.
        device: the kind of its device, found at the same time.
        base: whether only the base model is used.
    """

    config: PolicyConfig
    seed: int
    weights: Path | None
    reference: Path | None
    threads: int
    here: Policy | None = field(default=None, compare=False, repr=False)
    fingerprint: str = ""
    device: str = ""
    base: bool = False

    def load(self, held: Policy | None) -> Policy:
        """Return the policy, read into the model that is held if there is one.

        Raises:
            ModelError: if it cannot be loaded, is on another kind of device, or is not the policy that was in memory
                when the source was sent.
        """
        if self.here is not None:
            return self.here
        torch.set_num_threads(self.threads)
        policy = Policy.load(self.config, self.seed) if held is None else held
        if self.weights is not None:
            policy.load_weights(self.weights)
        policy.set_reference(self.reference)
        require_device(policy.device, self.device, "`policy.device`")
        if (found := self._fingerprint_of(policy)) != self.fingerprint:
            raise ModelError(
                f"Every worker must hold the policy of the study's own process, but one that read {self.config.model} "
                f"and {self.weights} has the fingerprint {found}, not {self.fingerprint}: give all machines the same "
                "model and the study's own folder."
            )
        return policy

    def sharded(self, processes: int) -> tuple[KeptPolicy, str] | None:
        """Return how processes get the policy of which each holds a part, and the kind of their devices.

        None if all its parameters are trained.

        Raises:
            RecipeError: if the policy is on GPUs, and there is none for each process.
        """
        if self.config.adapter == "none":
            return None
        device = self.device if self.here is None else self.here.device.type
        require_devices(device, processes, "engine.processes")
        load = load_in_processes(self.config, processes)
        return replace(self, config=self.config.model_copy(update={"load": load})), device

    def of_base(self) -> KeptPolicy:
        """Return how workers get the base model: the same policy, whose trained weights and reference do not matter."""
        return replace(self, weights=None, reference=None, base=True)

    def __getstate__(self) -> dict[str, Any]:
        if self.here is None:
            return dict(self.__dict__)
        found = {"fingerprint": self._fingerprint_of(self.here), "device": self.here.device.type}
        return {**self.__dict__, "here": None, **found}

    def _fingerprint_of(self, policy: Policy) -> str:
        """Return the hash of what is used of `policy`: all, or the base model with its configuration."""
        if not self.base:
            return policy.fingerprint()
        own = hashlib.blake2b(computed_with(policy.model.config).encode(), digest_size=16)
        return policy.fingerprint(trained=False) + own.hexdigest()
