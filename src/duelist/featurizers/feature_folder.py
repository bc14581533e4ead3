"""Log-probabilities and projected gradients by response, in a folder: whatever is there need not be computed again.

A folder belongs to one state of the model (weights, configuration, what is trained) and one projection, and is refused
for any other. Within it, a row is found by a hash of the tokens that the model reads, so that another budget, rule,
order of the pool or list of past pairs finds what it shares with those before. A row counts once its numbers have
reached the disk: a kill leaves it uncounted.

    state.json    format (2), model (a hash), and of the gradients: dimension, seed, precision
    rows.bin      a record a row: the response's key, which of its numbers are there, and the numbers
    gradient.bin  a row each: the projected gradient scaled to unit norm
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal, final

import numpy as np
from numpy.typing import NDArray

from duelist.errors import StorageError, full_disk_as_storage_error
from duelist.files.locks import held
from duelist.types import Response

Precision = Literal["float32", "float16"]

HALF_ABOVE = 8 * 2**30  # bytes of float32 gradients above which they are stored in float16
FORMAT = 2  # of a folder; in the first, the model's hash was of its weights alone
SAVE_SECONDS = 1.0  # at most so much work is lost when a run is killed

POLICY, REFERENCE, GRADIENT = 1, 2, 4  # which numbers a row has
_RECORD = np.dtype([("key", "<u8"), ("has", "u1"), ("policy", "<f8"), ("reference", "<f8"), ("norm", "<f8")])


def response_keys(responses: Sequence[Response]) -> NDArray[np.uint64]:
    """A 64-bit hash of what the model reads of each response, `[R]`: the prompt's tokens and its own."""
    hashes = (
        hashlib.blake2b(
            np.array([len(r.prompt_token_ids), *r.prompt_token_ids, *r.token_ids], "<i8").tobytes(), digest_size=8
        )
        for r in responses
    )
    return np.fromiter((int.from_bytes(h.digest(), "little") for h in hashes), np.uint64, len(responses))


@final
class FeatureFolder:
    """The rows of R responses in a folder, made where they are not there yet. Use it within `open`.

    Attributes:
        row_R: each response's row.
    """

    def __init__(
        self, folder: Path, model: str, keys_R: NDArray[np.uint64], width: int, seed: int, precision: Precision | None
    ) -> None:
        self._folder = folder
        state = self._state(model, len(keys_R), width, seed, precision)
        self._rows = self._map("rows.bin", _RECORD, self._size("rows.bin") // _RECORD.itemsize)
        self.row_R = self._allocated(keys_R)
        self._gradient: NDArray[Any] | None = None
        if width:
            numbers = np.dtype((np.dtype(state["precision"]), (width,)))
            finished_X = np.flatnonzero(self._rows["has"] & GRADIENT)
            if self._size("gradient.bin") < numbers.itemsize * (1 + int(finished_X.max(initial=-1))):
                raise self._damaged("gradient.bin")
            self._gradient = self._map("gradient.bin", numbers, len(self._rows))
        self._unsaved: list[tuple[int, NDArray[np.int64]]] = []
        self._saved_at = time.monotonic()

    @staticmethod
    @contextmanager
    def open(
        folder: Path,
        model: str,
        responses: Sequence[Response],
        *,
        width: int,
        seed: int,
        precision: Precision | None,
    ) -> Iterator[FeatureFolder]:
        """Within the block, no other process works on the folder.

        Args:
            folder: is made if it does not exist.
            model: a hash of the model's state.
            responses: the R responses.
            width: D, the gradients' dimensions; 0 where gradients are not wanted.
            seed: the projection's.
            precision: how gradients are stored; where left out, as they are, or float16 above 8 GiB.

        Raises:
            StorageError: if the folder cannot be written, is damaged or in use, or belongs to another model or
                projection.
        """
        in_use = StorageError(
            f"One process at a time may work on a folder of features, but another one works on {folder}: wait for it, "
            "or give another --features folder."
        )
        with _as_storage_error(folder):
            folder.mkdir(parents=True, exist_ok=True)
        with held(folder / ".lock", "A folder of features", in_use):
            with _as_storage_error(folder):
                found = FeatureFolder(folder, model, response_keys(responses), width, seed, precision)
            yield found
            found.save()

    def missing(self, numbers: int) -> NDArray[np.int64]:
        """Positions of the responses that lack one of these numbers (`POLICY | REFERENCE`, say)."""
        return np.flatnonzero(self._rows["has"][self.row_R] & numbers != numbers)

    def put(
        self,
        positions_B: NDArray[np.int64],
        *,
        policy_B: NDArray[np.float64] | None = None,
        reference_B: NDArray[np.float64] | None = None,
        gradient_BD: NDArray[Any] | None = None,
    ) -> None:
        """Keep what was computed of some responses; it is saved every `SAVE_SECONDS`, and at the end of `open`."""
        row_B, has = self.row_R[positions_B], 0
        if policy_B is not None:
            self._rows["policy"][row_B] = policy_B
            has |= POLICY
        if reference_B is not None:
            self._rows["reference"][row_B] = reference_B
            has |= REFERENCE
        if gradient_BD is not None:
            assert self._gradient is not None  # a width was given
            norm_B = np.linalg.norm(gradient_BD.astype(np.float64, copy=False), axis=1)
            safe_B1 = np.where(norm_B > 0, norm_B, 1.0)[:, None]
            self._gradient[row_B] = (gradient_BD / safe_B1).astype(self._gradient.dtype)
            self._rows["norm"][row_B] = norm_B
            has |= GRADIENT
        self._unsaved.append((has, row_B))
        if time.monotonic() - self._saved_at >= SAVE_SECONDS:
            self.save()

    def save(self) -> None:
        """Let the numbers reach the disk, and only then let them count."""
        with _as_storage_error(self._folder):
            self._sync()
            for has, row_B in self._unsaved:
                self._rows["has"][row_B] |= has
            self._unsaved = []
            self._sync()
        self._saved_at = time.monotonic()

    def numbers(self, name: Literal["policy", "reference", "norm"]) -> NDArray[np.float64]:
        """One number of each response, `[R]`: a log-probability in nats, or the gradient's norm before scaling."""
        return np.asarray(self._rows[name][self.row_R])

    @property
    def unit_XD(self) -> NDArray[Any] | None:
        """The gradients scaled to unit norm, a row each, not in the responses' order; None without gradients."""
        return self._gradient

    def _sync(self) -> None:
        for array in (self._gradient, self._rows):
            if isinstance(array, np.memmap):
                array.flush()

    def _state(self, model: str, count: int, width: int, seed: int, precision: Precision | None) -> Mapping[str, Any]:
        """What the folder belongs to, once it is known to be this model and projection."""
        path = self._folder / "state.json"
        found: dict[str, Any] = {}
        if path.is_file():
            try:
                found = dict(json.loads(path.read_text(encoding="utf-8")))
            except (ValueError, TypeError) as error:
                raise self._damaged(path.name) from error
            if found.get("format") != FORMAT:
                raise StorageError(
                    f"A folder of features must have format {FORMAT}, but {self._folder} has {found.get('format', 1)}: "
                    "another version of Duelist made it. One that did not look at the model's configuration and at "
                    "which of its matrices are trained may have computed other features. Delete it, or give another "
                    "--features folder."
                )
            if not (self._folder / "rows.bin").is_file():
                raise self._damaged("rows.bin")
        else:
            for name in ("rows.bin", "gradient.bin"):
                (self._folder / name).unlink(missing_ok=True)
        wanted: dict[str, Any] = {"format": FORMAT, "model": model}
        if width:
            half = count * width * 4 > HALF_ABOVE
            kept = found.get("precision", "float16" if half else "float32")
            wanted |= {"dimension": width, "seed": seed, "precision": precision or kept}
        different = [k for k in wanted if k in found and found[k] != wanted[k]]
        if different:
            raise StorageError(
                f"A folder of features belongs to one model and projection, but {self._folder} was made with other "
                f"values of {', '.join(different)} ({different[0]}: {found[different[0]]!r} there, "
                f"{wanted[different[0]]!r} now): delete it, or give another --features folder."
            )
        if width and "dimension" not in found:
            (self._folder / "gradient.bin").unlink(missing_ok=True)
        (self._folder / "rows.bin").touch()
        temporary = path.with_name("state.json.tmp")
        temporary.write_text(json.dumps({**found, **wanted}), encoding="utf-8")
        temporary.replace(path)
        return {**found, **wanted}

    def _allocated(self, keys_R: NDArray[np.uint64]) -> NDArray[np.int64]:
        """A row for each response: its own, or one that nobody has finished, or a new one."""
        done_X = np.flatnonzero(self._rows["has"] > 0)
        row_of = dict(zip(self._rows["key"][done_X].tolist(), done_X.tolist(), strict=True))
        new = [key for key in dict.fromkeys(keys_R.tolist()) if key not in row_of]
        if new:
            free_X = np.flatnonzero(self._rows["has"] == 0)
            rows = len(self._rows)
            row_X = np.concatenate([free_X, np.arange(rows, rows + len(new))])[: len(new)]
            self._rows = self._map("rows.bin", _RECORD, max(rows, int(row_X[-1]) + 1))
            self._rows["key"][row_X] = new
            row_of |= dict(zip(new, row_X.tolist(), strict=True))
        return np.array([row_of[key] for key in keys_R.tolist()], np.int64)

    def _map(self, name: str, dtype: np.dtype[Any], rows: int) -> NDArray[Any]:
        """The file as an array of at least so many rows; new ones are zeros."""
        path, needed = self._folder / name, rows * dtype.itemsize
        if not needed:
            return np.empty(0, dtype)
        with path.open("ab") as file:
            if file.tell() < needed:
                _reserve(file, needed)
        return np.memmap(path, dtype=dtype.base, mode="r+", shape=(rows, *dtype.shape))

    def _size(self, name: str) -> int:
        path = self._folder / name
        return path.stat().st_size if path.is_file() else 0

    def _damaged(self, name: str) -> StorageError:
        return StorageError(
            f"{self._folder / name} must be what was saved, but it is gone or damaged: delete {self._folder}, or give "
            "another --features folder."
        )


def scratch_array(folder: Path, dtype: np.dtype[Any], shape: tuple[int, int]) -> NDArray[Any]:
    """A memory-mapped array in a file of `folder` that has no name and goes with the process, however it ends.

    Raises:
        StorageError: if the disk has no room for it.
    """
    with _as_storage_error(folder), tempfile.TemporaryFile(dir=folder) as file:
        _reserve(file, shape[0] * shape[1] * dtype.itemsize)
        return np.memmap(file, dtype=dtype, mode="r+", shape=shape)


def _reserve(file: IO[bytes], size: int) -> None:
    """Make a file so many bytes long. A full disk shows here, not as a crash when a mapped page is written."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)
    else:
        file.truncate(size)


@contextmanager
def _as_storage_error(folder: Path) -> Iterator[None]:
    try:
        with full_disk_as_storage_error(f"the features in {folder}"):
            yield
    except StorageError:
        raise
    except OSError as error:
        raise StorageError(
            f"{folder} must be a folder that can be written, but it cannot: {error}. Mend it, or give another "
            "--features folder."
        ) from error
