"""Named, derived random generators: the same seed and names give the same stream on every machine.

Duelist never draws from a global generator. A stage's randomness is a function of the study's seed, the round and the
stage's name. So a resumed study draws the same numbers as an uninterrupted one, and skipping a stage whose artifact
exists does not change any other stage.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray


def derived_seed(seed: int, *names: str | int) -> int:
    """Return a 63-bit seed that depends only on `seed` and the names."""
    text = "/".join([str(seed), *map(str, names)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def generator(seed: int, *names: str | int) -> np.random.Generator:
    """Return a separate NumPy generator for the named purpose."""
    return np.random.default_rng(derived_seed(seed, *names))


def hash_keys(rng: np.random.Generator, ids: Iterable[str]) -> NDArray[np.uint64]:
    """Return one uniform 64-bit key per id, `[N]`: a random order of the ids, independent of their input order.

    The generator provides one salt; the key is a hash of (salt, id). Sorting by key is a uniformly random permutation.
    Breaking ties by key is a coin toss with the same result for any order of the pool.
    """
    salt = rng.bytes(16)
    digests = (hashlib.blake2b(i.encode(), key=salt, digest_size=8).digest() for i in ids)
    return np.fromiter((int.from_bytes(d, "little") for d in digests), dtype=np.uint64)


def hash_uniform(seed: int, *names: str | int) -> float:
    """Return a number in [0, 1) that depends only on the seed and the names."""
    return derived_seed(seed, *names) / 2.0**63
