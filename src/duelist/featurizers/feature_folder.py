"""Cache of log-probabilities and projected gradients by response, in a folder.

A folder belongs to one state of the model (weights, configuration, trained parameters) and one projection. Rows are
looked up by a hash of the response and of the tokens that the model reads. A run with another budget, rule, pool order
or list of past pairs reuses the rows of the responses it shares. A row counts once its numbers have reached the disk; a
row of a killed run does not count before that.

    state.json    format (4), model (a hash); for gradients also dimension, seed, precision
    rows.bin      one record per row: the response's key, which numbers it has, its unfinished batch, the numbers
    gradient.bin  one row per response: the projected gradient as computed; in float16, scaled to unit norm
    shards/       gradients that workers computed: a file for each batch (`shards.py`); the record names it
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, final

import numpy as np
from numpy.typing import NDArray

from duelist.errors import StorageError
from duelist.featurizers.mapped_files import as_storage_error, damaged, file_size, mapped_array
from duelist.featurizers.shards import Shard
from duelist.featurizers.stored_gradients import StoredGradients, discard_gradients
from duelist.files.locks import held
from duelist.files.scratch import give_back, in_temporary_files
from duelist.types import Response

Precision = Literal["float32", "float16"]
Number = Literal["policy", "reference", "gradient"]

HALF_ABOVE = 8 * 2**30  # bytes of gradients above which `automatic` stores float16
FORMAT = 4  # version of the folder format
SAVE_SECONDS = 1.0  # maximum work lost when a run is killed

_BITS: Mapping[Number, int] = {"policy": 1, "reference": 2, "gradient": 4}  # flags of the numbers that a row has
_RECORD = np.dtype(
    [
        *(("key", "<u8"), ("has", "u1"), ("batch", "<i8"), ("policy", "<f8"), ("reference", "<f8"), ("scale", "<f8")),
        *(("shard", "<u8"), ("at", "<i4")),  # of a gradient: its shard and the row there; 0: it is in gradient.bin
    ]
)


@dataclass(frozen=True)
class FeatureCache:
    """Storage settings for the numbers of responses.

    Attributes:
        folder: created if it does not exist; None for a temporary folder, deleted once the features are computed.
        precision: storage type of gradients: `computed` keeps the computed type; `automatic` does too, but uses float16
            above 8 GiB. Every value except `computed` also allows float16 for the pair features of large pools.
        disposable: whether to discard data that is damaged or belongs to another model or projection. Otherwise it is
            rejected with an error.
    """

    folder: Path | None = None
    precision: Precision | Literal["computed", "automatic"] = "computed"
    disposable: bool = False


@final
class FeatureFolder:
    """Rows of R responses in a folder; missing rows are created. Use it through `open`.

    Attributes:
        folder: path of the folder.
        count: R.
        exact: whether rounding to float16 is ruled out.
        dimension: D of the gradients; 0 if no gradients were requested.
        dtype: type in which gradients are read.
        shards: where workers write the gradients of their batches.
    """

    def __init__(
        self,
        folder: Path,
        cache: FeatureCache,
        state: Mapping[str, Any],
        responses: Sequence[Response],
        computed_in: np.dtype[Any] | None,
    ) -> None:
        self.folder = folder
        self.count = len(responses)
        self.exact = cache.precision == "computed"
        self.dimension = int(state.get("dimension", 0))
        stored_in = self._matched_state(cache, state, computed_in)
        self.dtype = np.promote_types(stored_in, np.float32)
        path = self.folder / "rows.bin"
        self._rows = mapped_array(path, _RECORD, file_size(path) // _RECORD.itemsize)
        self._row_R = self._allocated(np.fromiter(map(_key, responses), np.uint64, len(responses)))
        finished = (self._rows["has"] & _BITS["gradient"]) > 0
        self._gradients = StoredGradients(self.folder, self._rows, finished, stored_in, self.dimension)
        self.shards = self._gradients.shards
        self._unsaved: list[tuple[int, NDArray[np.int64]]] = []
        self._saved_at = time.monotonic()

    @staticmethod
    @contextmanager
    def open(
        cache: FeatureCache,
        state: Mapping[str, Any],
        responses: Sequence[Response],
        computed_in: np.dtype[Any] | None,
    ) -> Iterator[FeatureFolder]:
        """Open and lock the folder for the block; no other process can use it meanwhile.

        Args:
            cache: the folder and the storage type of gradients.
            state: dependencies of the numbers: `model`, a hash; for gradients also `dimension` and `seed`.
            responses: the R responses.
            computed_in: the type in which gradients are computed; None if no gradients are wanted.

        Raises:
            StorageError: if the folder cannot be written or is in use; if it is damaged or belongs to another model or
                projection, and is not disposable.
        """
        with ExitStack() as stack:
            folder = cache.folder
            if folder is None:
                with in_temporary_files("features"):
                    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="duelist-features-")))
            in_use = StorageError(
                f"One process at a time may work on a folder of features, but another one works on {folder}: wait for "
                "it, or give another --features folder."
            )
            with as_storage_error(folder):
                folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(held(folder / ".lock", "A folder of features", in_use))
            with as_storage_error(folder):
                try:
                    found = FeatureFolder(folder, cache, state, responses, computed_in)
                except StorageError:
                    if not cache.disposable:
                        raise
                    (folder / "state.json").unlink(missing_ok=True)  # without it, the other files are ignored
                    found = FeatureFolder(folder, cache, state, responses, computed_in)
            yield found

    def batches(
        self, numbers: Sequence[Number], plan: Callable[[NDArray[np.int64]], list[NDArray[np.int64]]]
    ) -> list[NDArray[np.int64]]:
        """Return the batches still to compute, as positions among the responses, for all responses to have `numbers`.

        The last bits of a number depend on its batch. After a kill, the remaining batches of the original plan are
        therefore computed, each one whole even if some of its rows exist. If that plan does not match the responses
        requested now, the responses without numbers are planned again.

        Args:
            numbers: the required numbers.
            plan: groups positions into batches.
        """
        bits = sum(_BITS[number] for number in numbers)
        missing_X = np.flatnonzero(self._rows["has"][self._row_R] & bits != bits)
        if not len(missing_X):
            return []
        batch_R = self._rows["batch"][self._row_R]
        planned = np.count_nonzero(self._rows["batch"]) == np.count_nonzero(batch_R)  # and no other rows are planned
        if not planned or (batch_R[missing_X] % 8 != bits).any():
            self._rows["batch"] = 0
            for number, positions_B in enumerate(plan(missing_X), start=1):
                self._rows["batch"][self._row_R[positions_B]] = 8 * number + bits
            self._sync()
            batch_R = self._rows["batch"][self._row_R]
        order_R = np.argsort(batch_R, kind="stable")
        unfinished = set(batch_R[missing_X].tolist())
        batches = np.split(order_R, np.flatnonzero(np.diff(batch_R[order_R])) + 1)
        return [index_B for index_B in batches if int(batch_R[index_B[0]]) in unfinished]

    def put(self, positions_B: NDArray[np.int64], numbers: Mapping[Number, NDArray[Any] | Shard]) -> None:
        """Store computed numbers of some responses. They are saved every `SAVE_SECONDS`, and by `save`."""
        row_B = self._row_R[positions_B]
        for name, values in numbers.items():
            if name != "gradient":
                self._rows[name][row_B] = values
                continue
            # Of a batch that is computed again whole, finished rows stay where they are: they have the same bits.
            at_X = np.flatnonzero(self._rows["has"][row_B] & _BITS["gradient"] == 0)
            self._gradients.put(row_B[at_X], at_X, values)
        self._unsaved.append((sum(_BITS[name] for name in numbers), row_B))
        if time.monotonic() - self._saved_at >= SAVE_SECONDS:
            self.save()

    def save(self) -> None:
        """Flush the numbers to the disk, then mark their rows as finished."""
        with as_storage_error(self.folder):
            self._sync()
            for has, row_B in self._unsaved:
                self._rows["has"][row_B] |= has
            self._unsaved = []
            self._sync()
        self._saved_at = time.monotonic()

    def log_probs(self, number: Literal["policy", "reference"]) -> NDArray[np.float64]:
        """Return log π(y|x) of each response under the policy or its reference, `[R]`, in nats."""
        return np.asarray(self._rows[number][self._row_R])

    def gradients(self, positions_S: NDArray[np.int64]) -> NDArray[Any]:
        """Return the projected gradients of some of the responses, `[S, D]`."""
        row_S = self._row_R[positions_S]
        stored_SD = self._gradients.read(row_S)
        if stored_SD.dtype == self.dtype:
            return np.asarray(stored_SD)
        scale_S1 = self._rows["scale"][row_S, None].astype(self.dtype)
        return np.asarray(stored_SD.astype(self.dtype) * scale_S1)

    def _sync(self) -> None:
        self._gradients.flush()
        if isinstance(self._rows, np.memmap):
            self._rows.flush()
            give_back(self._rows)

    def _matched_state(
        self, cache: FeatureCache, state: Mapping[str, Any], computed_in: np.dtype[Any] | None
    ) -> np.dtype[Any]:
        """Check that the folder is for this model and projection; return the type in which gradients are stored."""
        found: dict[str, Any] = self._found_state()
        wanted: dict[str, Any] = {"format": FORMAT, **state}
        if computed_in is not None:
            large = self.count * self.dimension * computed_in.itemsize > HALF_ABOVE
            automatic = found.get("precision", "float16" if large else computed_in.name)
            named = {"computed": computed_in.name, "automatic": automatic}
            wanted["precision"] = named.get(cache.precision, cache.precision)
        different = [k for k in wanted if k in found and found[k] != wanted[k]]
        if different:
            raise StorageError(
                f"A folder of features belongs to one model and projection, but {self.folder} was made with other "
                f"values of {', '.join(different)} ({different[0]}: {found[different[0]]!r} there, "
                f"{wanted[different[0]]!r} now): delete it, or give another --features folder."
            )
        if "dimension" in wanted and "dimension" not in found:
            discard_gradients(self.folder)
        (self.folder / "rows.bin").touch()
        temporary = self.folder / "state.json.tmp"
        temporary.write_text(json.dumps({**found, **wanted}), encoding="utf-8")
        temporary.replace(self.folder / "state.json")
        stored_in: np.dtype[Any] = np.dtype(wanted.get("precision", "float32"))
        return stored_in

    def _found_state(self) -> dict[str, Any]:
        path = self.folder / "state.json"
        if not path.is_file():
            (self.folder / "rows.bin").unlink(missing_ok=True)
            discard_gradients(self.folder)
            return {}
        try:
            found = dict(json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            raise damaged(self.folder, path.name) from error
        if found.get("format") != FORMAT:
            raise StorageError(
                f"A folder of features must have format {FORMAT}, but {self.folder} has {found.get('format', 1)}: "
                "another version of Duelist made it. Format 1 did not look at the model's configuration and at which "
                "of its matrices are trained; format 2 kept gradients scaled to unit norm; format 3 had no shards. "
                "Delete it, or give another --features folder."
            )
        if not (self.folder / "rows.bin").is_file():
            raise damaged(self.folder, "rows.bin")
        return found

    def _allocated(self, key_R: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Return a row for each response: its own row, an unused row or a new row."""
        begun = (self._rows["has"] > 0) | (self._rows["batch"] > 0)
        begun_X, free_X = np.flatnonzero(begun), np.flatnonzero(~begun)
        known_X = self._rows["key"][begun_X]
        by_key_X = np.argsort(known_X, kind="stable")
        # Of equal keys, the last row. Where no key is as small (−1), it is the row of the largest key, which differs.
        at_R = np.searchsorted(known_X, key_R, "right", sorter=by_key_X) - 1
        row_R = np.full(len(key_R), -1)
        if len(begun_X):
            found_R = by_key_X[at_R]
            row_R = np.where(known_X[found_R] == key_R, begun_X[found_R], -1)
        new_R = np.flatnonzero(row_R < 0)
        if len(new_R):
            rows = len(self._rows)
            row_R[new_R] = np.concatenate([free_X, np.arange(rows, rows + len(new_R))])[: len(new_R)]
            self._rows = mapped_array(self.folder / "rows.bin", _RECORD, max(rows, int(row_R[new_R[-1]]) + 1))
            self._rows["key"][row_R[new_R]] = key_R[new_R]
        return row_R


def _key(response: Response) -> int:
    """Return a 64-bit hash of a response and of the tokens that the model reads: the prompt's and its own."""
    tokens = np.array([len(response.prompt_token_ids), *response.prompt_token_ids, *response.token_ids], "<i8")
    digest = hashlib.blake2b(response.id.encode() + tokens.tobytes(), digest_size=8).digest()
    return int.from_bytes(digest, "little")
