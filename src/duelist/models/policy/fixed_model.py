"""Models that no round changes, such as judges and encoders, for this process and for workers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, final

import torch
from pydantic import BaseModel

from duelist.engines.base import Source
from duelist.errors import ModelError
from duelist.models.policy.model_configuration import computed_with
from duelist.models.policy.policy import bit_sums


@final
@dataclass(frozen=True)
class Expected:
    """What a worker must find when it loads a model, for results equal to those of the study's own process.

    Attributes:
        fingerprint: of the model.
        device: the kind of its device.
        threads: number of torch threads.
    """

    fingerprint: str
    device: str
    threads: int


@final
@dataclass(frozen=True)
class FixedModel(Source[Any]):
    """A model that is loaded once by this process and once by each worker that computes with it.

    Attributes:
        read: loads the model from its settings; a function of a module, which workers import.
        config: the settings.
        name: its folder or Hub name, for messages.
        expected: what a worker must find; None in this process.
    """

    read: Callable[[Any], Any]
    config: BaseModel
    name: str
    expected: Expected | None = None

    @property
    def kind(self) -> Hashable:
        return self.read, self.config.model_dump_json()  # several fixed models are held side by side

    @cached_property
    def here(self) -> Any:
        """The model in this process."""
        return self.read(self.config)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of what the model computes with."""
        return fingerprint(self.here)

    def load(self, held: Any | None) -> Any:
        """Return the model.

        Raises:
            ModelError: if it cannot be loaded, is on another kind of device than in the process that sent the source,
                or is not the same model.
        """
        if self.expected is None:
            return self.here
        torch.set_num_threads(self.expected.threads)
        model = self.read(self.config)
        require_device(next(model.parameters()).device, self.expected.device, "`device`")
        if (found := fingerprint(model)) != self.expected.fingerprint:
            raise ModelError(
                f"Every worker must hold the models of the study's own process, but one that read {self.name} has "
                f"the fingerprint {found}, not {self.expected.fingerprint}: give all machines the same model."
            )
        return model

    def __getstate__(self) -> dict[str, Any]:
        expected = self.expected
        if expected is None:
            device = next(self.here.parameters()).device
            expected = Expected(self.fingerprint, device.type, torch.get_num_threads())
        return {"read": self.read, "config": self.config, "name": self.name, "expected": expected}


def fingerprint(model: Any) -> str:
    """Return a hash of a model's weights and of what else its outputs depend on."""
    total = hashlib.blake2b(digest_size=16)
    config = getattr(model, "config", None)  # some models of sentence-transformers have none
    total.update((repr(model) if config is None else computed_with(config)).encode())
    if isinstance(model, torch.nn.Sequential):  # a pipeline of sentence-transformers, from texts to vectors
        own = [getattr(model, name, None) for name in ("prompts", "default_prompt_name", "truncate_dim")]
        total.update(f"{model!r}{own}{_tokenizer_of(model)}".encode())
    for name, weight in sorted(model.state_dict().items()):
        total.update(f"{name}{tuple(weight.shape)}{weight.dtype}".encode() + bit_sums(weight))
    return total.hexdigest()


def _tokenizer_of(model: Any) -> str:
    """Return what the tokenizer of a pipeline does, without what changes when it is used."""
    tokenizer = getattr(model, "tokenizer", None)
    backend = getattr(tokenizer, "backend_tokenizer", tokenizer)
    if backend is None or not hasattr(backend, "to_str"):
        return repr(tokenizer)
    content = json.loads(backend.to_str())
    return json.dumps({key: value for key, value in content.items() if key not in ("padding", "truncation")})


def require_device(found: torch.device, expected: str, setting: str) -> None:
    """Require that a worker's model is on the kind of device of the study's own process.

    Raises:
        ModelError: if it is not; `setting` is the one that names the device.
    """
    if found.type != expected:
        raise ModelError(
            f"Workers must compute on the kind of device of the study's own process, {expected}, but one has "
            f"{found.type}: set `engine.gpus`, or {setting} to cpu."
        )
