"""Cache of embeddings in memory and in a study's folder; each addition writes a file.

An embedding never changes during a study: each response is embedded once and stored by its id.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from duelist.errors import NumericalError, StorageError
from duelist.files.atomic import atomic_path, discard_temporaries
from duelist.models.embeddings.embedder import Embedder, Vectors
from duelist.progress import Progress
from duelist.types import Prompt, Response


class EmbeddingCache:
    """Embedder with a cache: each response is embedded once for all callers."""

    def __init__(self, embedder: Embedder, folder: Path | None = None) -> None:
        """Use `embedder` for responses that are neither in memory nor in `folder`.

        A model's rounding depends on the batch. A resumed study embeds other responses together than an uninterrupted
        one, so it continues with the same numbers only if they were stored.

        Raises:
            StorageError: if a file in `folder` is damaged.
        """
        self.embedder = embedder
        self._folder = None if embedder.exact else folder
        self._known = {} if self._folder is None else kept_vectors(self._folder)

    def __call__(self, prompts: Mapping[str, Prompt], responses: Sequence[Response], progress: Progress) -> Vectors:
        """Return the responses' vectors, `[R, H]`; `prompts` contains at least their prompts, by id.

        Raises:
            NumericalError: if a vector contains a number that is not finite.
            StorageError: if the disk is full.
        """
        new = list({r.id: r for r in responses if r.id not in self._known}.values())
        if new:
            vectors_RH = self.embedder.embed([prompts[r.prompt_id] for r in new], new, progress)
            bad = np.flatnonzero(~np.isfinite(vectors_RH).all(axis=1))
            if len(bad):
                raise NumericalError(
                    f"An embedding must be finite numbers, but that of response {new[bad[0]].id} "
                    f"({new[bad[0]].text[:40]!r}) is not, nor are {len(bad) - 1} others: correct the file or model."
                )
            ids = [r.id for r in new]
            if self._folder is not None:
                keep_vectors(self._folder, ids, vectors_RH)
            self._known |= dict(zip(ids, vectors_RH, strict=True))
        return np.stack([self._known[r.id] for r in responses])


def kept_vectors(folder: Path) -> dict[str, Vectors]:
    """Return all vectors stored in `folder`, by response id, and discard what a killed process left unfinished there.

    Raises:
        StorageError: if a file is damaged.
    """
    discard_temporaries(folder)
    return read_vectors(folder)


def read_vectors(folder: Path) -> dict[str, Vectors]:
    """Return all vectors stored in `folder`, by response id, while another process may write to it.

    Raises:
        StorageError: if a file is damaged.
    """
    found: dict[str, Vectors] = {}
    for path in _files(folder):
        try:
            with path.open("rb") as file, np.load(file) as arrays:
                found |= dict(zip(arrays["id"].tolist(), arrays["vector"], strict=True))
        except Exception as error:  # NumPy, zipfile and zlib each raise their own errors
            raise StorageError(
                f"Vectors must be read back as they were written, but {path} cannot be read ({error}): restore it "
                "from a copy, or delete it; its responses are then embedded again."
            ) from error
    return found


def keep_vectors(folder: Path, ids: Sequence[str], vectors_RH: Vectors) -> None:
    """Store R vectors in `folder`: all of them or, if the process dies, none.

    Raises:
        StorageError: if the disk is full.
    """
    last = [int(path.stem) for path in _files(folder)[-1:]]
    path = folder / f"{sum(last) + 1:06d}.npz"
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, id=np.asarray(ids, dtype=np.str_), vector=vectors_RH)


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("[0-9]*.npz"))
