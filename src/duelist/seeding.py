"""Named, derived random generators: the same seed and names give the same stream on every machine.

Nothing in Duelist draws from a global generator. A stage's randomness is a function of the study's seed, the round and
the stage's name, so a resumed study draws what an undisturbed one would have drawn, and skipping a stage whose
artifact exists changes no other stage.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray


def derived_seed(seed: int, *names: str | int) -> int:
    """A 63-bit seed that depends on `seed` and on every name, and on nothing else."""
    text = "/".join([str(seed), *map(str, names)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def generator(seed: int, *names: str | int) -> np.random.Generator:
    """A NumPy generator of its own for the named purpose."""
    return np.random.default_rng(derived_seed(seed, *names))


def hash_keys(rng: np.random.Generator, ids: Iterable[str]) -> NDArray[np.uint64]:
    """One uniform 64-bit key per id: a random order of the ids that does not depend on the order they come in.

    The generator gives one salt; the key is a hash of (salt, id). Sorting by key is a uniformly random permutation, and
    breaking ties by it is a coin toss that comes out the same for any order of the pool.
    """
    salt = rng.bytes(16)
    digests = (hashlib.blake2b(i.encode(), key=salt, digest_size=8).digest() for i in ids)
    return np.fromiter((int.from_bytes(d, "little") for d in digests), dtype=np.uint64)


def hash_uniform(seed: int, *names: str | int) -> float:
    """A number in [0, 1) that depends on the seed and the names only."""
    return derived_seed(seed, *names) / 2.0**63
