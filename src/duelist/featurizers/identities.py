"""Ids and lengths of pools of any size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from duelist.files.scratch import give_back, temporary_array
from duelist.types import Features, Question

PAIRS_AT_ONCE = 1024
NAMES = ("pair_id_N", "prompt_ids_N2", "response_ids_N2", "length_N2")


def identities(pairs: Sequence[Question]) -> Features:
    """Return `Features.identities`, made part by part, and memory-mapped if they are large.

    Raises:
        StorageError: if the disk has no room for them.
    """
    n = len(pairs)
    whole = {name: getattr(Features.identities(pairs[:PAIRS_AT_ONCE]), name) for name in NAMES}
    for start in range(PAIRS_AT_ONCE, n, PAIRS_AT_ONCE):
        part = Features.identities(pairs[start : start + PAIRS_AT_ONCE])
        for name in NAMES:
            whole[name] = _with(whole[name], start, getattr(part, name), n)
    return Features(**whole)


def _with(whole: NDArray[Any], start: int, part: NDArray[Any], n: int) -> NDArray[Any]:
    """Return an array of n rows with those of `whole` before `start`, and then those of `part`."""
    dtype = np.promote_types(whole.dtype, part.dtype)  # of texts, the longest
    if len(whole) < n or whole.dtype != dtype:
        longer = temporary_array(dtype, (n, *whole.shape[1:]))
        longer[:start] = whole[:start]
        whole = longer
    whole[start : start + len(part)] = part
    give_back(whole)
    return whole
