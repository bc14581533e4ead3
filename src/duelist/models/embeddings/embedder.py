"""The interface of what turns responses into vectors."""

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
    """Turns a prompt and a response into a vector.

    Attributes:
        exact: whether a response's vector is the same to the last bit, whatever is embedded together with it.
    """

    exact: ClassVar[bool] = False

    @abstractmethod
    def embed(self, prompts: Sequence[Prompt], responses: Sequence[Response], progress: Progress) -> Vectors:
        """One vector per response, `[R, H]`; `prompts[i]` is what `responses[i]` answers.

        Raises:
            DataError: if a response has no vector or does not fit the model.
        """
