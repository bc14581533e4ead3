"""Log-probabilities and gradients of many responses, on disk as they are made: a killed run goes on where it was.

Rows are computed in order of length, a chunk at a time; after each chunk the memory-mapped files are synced and the
number of rows done is written atomically. A folder of features belongs to one list of responses, one state of the model
and one projection; it is refused for any other.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from duelist.errors import DuelistError, StorageError
from duelist.featurizers.base import FeatureJob, Featurizer, distinct_responses, tokenized
from duelist.featurizers.gradient import Normalize, pair_gradients
from duelist.featurizers.margin import implicit_rewards, prompt_entropies
from duelist.models.logprobs import sequence_log_probs
from duelist.models.lora_gradients import LoraGradients
from duelist.models.policy import Policy
from duelist.progress import Progress
from duelist.types import Response, content_id

CHUNK = 512  # responses between two savings
HALF_ABOVE = 8 * 2**30  # bytes of float32 gradients above which they are stored in float16
MAPPED_ABOVE = 2 * 2**30  # bytes of float32 pair features above which they are not held in memory
PAIRS_AT_ONCE = 4096  # pairs per block of such a file

Precision = Literal["float32", "float16"]


class ResponseFeatures:
    """Features of R responses in a folder.

    Attributes:
        log_probs_R2: log π(y|x) under the policy and under its reference, in nats; the second NaN if not asked for.
        unit_RD: each response's projected gradient scaled to unit norm, memory-mapped; None if not asked for.
        norm_R: the gradients' norms before scaling.
        length_R: the responses' lengths in tokens.
        reused: how many rows were there already.
    """

    def __init__(
        self,
        folder: Path,
        policy: Policy,
        responses: Sequence[Response],
        *,
        dimension: int | None,
        seed: int,
        max_tokens: int,
        gradients: bool,
        margins: bool,
        progress: Progress,
        precision: Precision | None = None,
    ) -> None:
        """Compute what is missing.

        Raises:
            StorageError: if the folder holds features of other responses, another model or another projection.
        """
        engine = (
            LoraGradients(policy.model, dimension=dimension, seed=seed, max_tokens=max_tokens) if gradients else None
        )
        width = engine.dimension if engine else 0
        precision = precision or ("float16" if len(responses) * width * 4 > HALF_ABOVE else "float32")
        identity = {
            "responses": content_id(*(r.id for r in responses)),
            "count": len(responses),
            "model": policy.fingerprint(),
            "dimension": width,
            "seed": seed,
            "margins": margins or self._has_margins(folder),
            "precision": precision,
        }
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        done = self._begin(identity)
        self.reused = done
        self.length_R = np.array([len(r.token_ids) for r in responses], np.int64)
        self.log_probs_R2 = self._array("log_probs.npy", (len(responses), 2), "float64", done)
        self.norm_R = self._array("norm.npy", (len(responses),), "float64", done)
        self.unit_RD = self._array("gradient.npy", (len(responses), width), precision, done) if width else None
        order_R = np.argsort([-len(r.prompt_token_ids) - len(r.token_ids) for r in responses], kind="stable")
        with progress.stage("Features", len(responses)) as advance:
            advance(done)
            for start in range(done, len(responses), CHUNK):
                rows = order_R[start : start + CHUNK]
                some = [responses[i] for i in rows]
                self._compute(policy, engine, some, rows, bool(identity["margins"]), max_tokens)
                self._save_progress(identity, start + len(rows))
                advance(len(rows))

    def _compute(
        self,
        policy: Policy,
        engine: LoraGradients | None,
        responses: Sequence[Response],
        rows: NDArray[np.int64],
        margins: bool,
        max_tokens: int,
    ) -> None:
        sequences = tokenized(responses)
        if engine is not None and self.unit_RD is not None:
            log_probs_R, gradient_RD = engine(sequences)
            norm_R = np.linalg.norm(gradient_RD.astype(np.float64, copy=False), axis=1)
            safe_R1 = np.where(norm_R > 0, norm_R, 1.0)[:, None]
            self.unit_RD[rows] = (gradient_RD / safe_R1).astype(self.unit_RD.dtype)
            self.norm_R[rows] = norm_R
        else:
            log_probs_R = sequence_log_probs(policy.model, sequences, max_tokens=max_tokens)
        self.log_probs_R2[rows, 0] = log_probs_R
        self.log_probs_R2[rows, 1] = np.nan
        if margins:
            with policy.as_reference():
                self.log_probs_R2[rows, 1] = sequence_log_probs(policy.model, sequences, max_tokens=max_tokens)

    @staticmethod
    def _has_margins(folder: Path) -> bool:
        """Whether a rule that needs margins was here before: one that does not can go on from the same features."""
        state = folder / "state.json"
        return state.is_file() and bool(json.loads(state.read_text(encoding="utf-8")).get("margins"))

    def _begin(self, identity: Mapping[str, Any]) -> int:
        state = self._folder / "state.json"
        if not state.is_file():
            return 0
        found = json.loads(state.read_text(encoding="utf-8"))
        done = int(found.pop("done"))
        different = [k for k in identity if found.get(k) != identity[k]]
        if different:
            raise StorageError(
                f"A folder of features belongs to one pool, model and projection, but {self._folder} was made with "
                f"other "
                f"values of {', '.join(different)} ({different[0]}: {found.get(different[0])!r} there, "
                f"{identity[different[0]]!r} now): delete it, or give another --features folder."
            )
        return done

    def _array(self, name: str, shape: tuple[int, ...], dtype: str, done: int) -> NDArray[Any]:
        path = self._folder / name
        if done and path.is_file():
            array: NDArray[Any] = np.load(path, mmap_mode="r+")
            if array.shape == shape and array.dtype == np.dtype(dtype):
                return array
        if done:
            raise StorageError(
                f"{path} must be the features that were saved, but it is gone or damaged: delete its folder."
            )
        return np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)

    def _save_progress(self, identity: Mapping[str, Any], done: int) -> None:
        for array in (self.log_probs_R2, self.norm_R, self.unit_RD):
            if isinstance(array, np.memmap):
                array.flush()
        temporary = self._folder / "state.json.tmp"
        temporary.write_text(json.dumps({**identity, "done": done}), encoding="utf-8")
        temporary.replace(self._folder / "state.json")


def pair_features(
    computed: ResponseFeatures, index_N2: NDArray[np.int64], beta: float, normalize: Normalize, folder: Path
) -> NDArray[Any]:
    """φ of N pairs from their responses' stored gradients, `[N, D]`.

    In memory, as float32, up to `MAPPED_ABOVE` bytes; a larger pool's are written to a memory-mapped float16 file in
    `folder`, a block of pairs at a time.

    Args:
        computed: the responses' features, with gradients.
        index_N2: positions of each pair's a and b among the responses.
        beta: see `pair_gradients`.
        normalize: see `pair_gradients`.
        folder: where the file goes.
    """
    unit_RD = computed.unit_RD
    if unit_RD is None:
        raise DuelistError("Pair features need gradients, but these response features were computed without any.")

    def block(index_M2: NDArray[np.int64]) -> NDArray[Any]:
        responses_S, position_M2 = np.unique(index_M2, return_inverse=True)
        gradient_SD = np.asarray(unit_RD[responses_S], dtype=np.float32)
        if normalize != "response":
            gradient_SD = gradient_SD * computed.norm_R[responses_S, None].astype(np.float32)
        length_S = computed.length_R[responses_S]
        return pair_gradients(gradient_SD, position_M2.reshape(index_M2.shape), beta, normalize, length_S)

    shape = (len(index_N2), unit_RD.shape[1])
    if shape[0] * shape[1] * 4 <= MAPPED_ABOVE:
        return block(index_N2)
    phi_ND = np.lib.format.open_memmap(folder / "pairs.npy", mode="w+", dtype=np.float16, shape=shape)
    for start in range(0, shape[0], PAIRS_AT_ONCE):
        rows = slice(start, start + PAIRS_AT_ONCE)
        phi_ND[rows] = block(index_N2[rows])
    phi_ND.flush()
    return phi_ND


class Stored(Featurizer):
    """The policy's features from a folder that a killed run goes on from: gradients, margins, entropies."""

    def __init__(
        self,
        folder: Path,
        *,
        dimension: int | None,
        normalize: Normalize,
        max_tokens: int,
        precision: Precision | None = None,
    ) -> None:
        self.folder = folder
        self.dimension = dimension
        self.normalize = normalize
        self.max_tokens = max_tokens
        self.precision = precision

    @property
    def provides(self) -> tuple[str, ...]:
        return ("gradient_ND", "margin_N", "log_ratio_N2", "prompt_entropy_N")

    def compute(self, job: FeatureJob) -> Mapping[str, NDArray[Any]]:
        responses, index_N2 = distinct_responses(job.pairs)
        with_reference = bool(job.wanted & {"margin_N", "log_ratio_N2"})
        computed = ResponseFeatures(
            self.folder,
            job.models.policy_for("Choosing by its gradients or margins"),
            responses,
            dimension=self.dimension,
            seed=job.seed,
            max_tokens=self.max_tokens,
            gradients="gradient_ND" in job.wanted,
            margins=with_reference,
            progress=job.progress,
            precision=self.precision,
        )
        log_prob_R = np.asarray(computed.log_probs_R2[:, 0])
        fields: dict[str, NDArray[Any]] = {}
        if computed.unit_RD is not None:
            fields["gradient_ND"] = pair_features(computed, index_N2, job.beta, self.normalize, self.folder)
        if with_reference:
            fields |= implicit_rewards(log_prob_R - np.asarray(computed.log_probs_R2[:, 1]), index_N2, job.beta)
        if "prompt_entropy_N" in job.wanted:
            fields["prompt_entropy_N"] = prompt_entropies(log_prob_R, [r.prompt_id for r in responses], index_N2)
        return fields
