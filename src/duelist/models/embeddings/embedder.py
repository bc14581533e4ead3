"""Interface of an embedder."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from duelist.progress import Progress
from duelist.types import Prompt, Response

Vectors = NDArray[np.float32]


class Embedder(ABC):
    """Embedder: computes one vector for a prompt and a response.

    Attributes:
        exact: whether a response's vector is the same to the last bit regardless of its batch.
    """

    exact: ClassVar[bool] = False

    @abstractmethod
    def embed(self, prompts: Sequence[Prompt], responses: Sequence[Response], progress: Progress) -> Vectors:
        """Return one vector per response, `[R, H]`; `responses[i]` is a response to `prompts[i]`.

        Raises:
            DataError: if a response has no vector or does not fit the model.
        """
