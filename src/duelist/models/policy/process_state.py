"""Process-wide state, set for a block and restored: random generators and torch's number of threads."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def torch_threads(n: int) -> Iterator[None]:
    """Run torch with `n` threads within the block; another number rounds sums differently."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def global_generators_kept() -> Iterator[None]:
    """Restore Python's, NumPy's and torch's global generators after the block.

    Libraries that can only draw from the global generators (transformers' `generate`, TRL's trainers) run within.
    """
    python_state, numpy_state = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        try:
            yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)
