"""Tasks for processes that each hold a part of a policy."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from ray_work import once

from duelist.errors import NumericalError


@dataclass(frozen=True)
class Holding:
    """A task that tells, for each batch, how many parameters its process has in part, and how many whole."""

    one_pass: ClassVar[bool] = True

    def __call__(self, policy: Any, batch: int) -> tuple[int, int, int]:
        from torch.distributed.tensor import DTensor

        in_part = [isinstance(parameter, DTensor) for parameter in policy.model.parameters()]
        return batch, sum(in_part), len(in_part) - sum(in_part)


@dataclass(frozen=True)
class KilledOnce:
    """A task whose process is killed with -9 at one batch, the first time."""

    one_pass: ClassVar[bool] = True
    flag: Path
    at: int

    def __call__(self, policy: Any, batch: int) -> int:
        if batch == self.at and once(self.flag):
            os.kill(os.getpid(), signal.SIGKILL)
        return batch * batch


@dataclass(frozen=True)
class Refusing:
    """A task that raises an error of Duelist's in each process, or another one."""

    one_pass: ClassVar[bool] = True
    own: bool

    def __call__(self, policy: Any, batch: int) -> int:
        raise NumericalError("There must be no batch.") if self.own else OSError("a hiccup")
