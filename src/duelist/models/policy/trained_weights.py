"""The interface of what is trained in a policy, and of where its reference's weights are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, ClassVar

import torch


class TrainedWeights(ABC):
    """The weights of a model that are trained, and the reference's.

    Attributes:
        artifact: what a folder with these weights is called in a study.
        model: computes what the policy computes; within `as_reference`, what the reference computes.
        reference_folder: where the reference's weights were read from; None for the base model.
    """

    artifact: ClassVar[str]
    model: Any
    reference_folder: Path | None = None

    @property
    @abstractmethod
    def reference_model(self) -> Any | None:
        """The reference where it is a model of its own; None where it is another state of `model`."""

    @abstractmethod
    def parameters(self) -> Iterator[tuple[str, torch.Tensor, bool]]:
        """Each parameter of the base model and of the trained weights: its name, and whether it is trained."""

    @abstractmethod
    def as_reference(self) -> AbstractContextManager[None]:
        """Within the block, `model` computes what the reference computes."""

    @abstractmethod
    def set_reference(self, folder: Path | None) -> None:
        """Let the reference be the weights saved in `folder`, or the base model (None)."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write the trained weights into an existing folder."""

    @abstractmethod
    def load(self, folder: Path) -> None:
        """Replace the trained weights by those saved in `folder`.

        Raises:
            ModelError: if they cannot be read, or do not have exactly these weights' names and shapes.
        """
