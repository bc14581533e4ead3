"""Log-probabilities and gradients of many responses, on disk as they are made: a killed run goes on where it was.

What a folder of features has of a response is not computed again (`feature_folder`); the rest is, in batches of like
length.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from duelist.errors import DuelistError
from duelist.featurizers.base import FeatureJob, Featurizer, distinct_responses
from duelist.featurizers.feature_folder import GRADIENT, POLICY, REFERENCE, FeatureFolder, Precision, scratch_array
from duelist.featurizers.gradient import Normalize, pair_gradients
from duelist.featurizers.margin import implicit_rewards, prompt_entropies
from duelist.models.gradients.lora_gradients import LoraGradients
from duelist.models.policy.logprobs import TokenizedResponse, batches_by_tokens, sequence_log_probs, tokenized
from duelist.models.policy.policy import Policy
from duelist.progress import Progress
from duelist.types import Response

MAPPED_ABOVE = 2 * 2**30  # bytes of float32 pair features above which they are not held in memory
PAIRS_AT_ONCE = 4096  # pairs per block of such a file


class ResponseFeatures:
    """Features of R responses, from a folder as far as they are there.

    Attributes:
        policy_R: log π_θ(y|x), in nats.
        reference_R: log π_ref(y|x), in nats; 0 if not asked for.
        norm_R: the gradients' norms before scaling; 0 if not asked for.
        length_R: the responses' lengths in tokens.
        dimension: D; 0 if gradients were not asked for.
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
            StorageError: if the folder holds features of another model or another projection, or cannot be used.
        """
        engine = (
            LoraGradients(policy.model, dimension=dimension, seed=seed, max_tokens=max_tokens) if gradients else None
        )
        if engine is not None and engine.note is not None:
            progress.note(engine.note)
        self.dimension = engine.dimension if engine else 0
        self.length_R = np.array([len(r.token_ids) for r in responses], np.int64)
        sequences = tokenized(responses)
        model = policy.fingerprint()

        def fill(
            numbers: int, what: str, compute: Callable[[NDArray[np.int64], list[TokenizedResponse]], None]
        ) -> None:
            missing_X = kept.missing(numbers)
            if len(missing_X) < len(responses):
                progress.note(
                    f"{what}: {len(responses) - len(missing_X)} of {len(responses)} responses found in {folder}"
                )
            with progress.stage(what, len(responses)) as advance:
                advance(len(responses) - len(missing_X))
                for index_B in batches_by_tokens([sequences[i].input_length for i in missing_X], max_tokens):
                    positions_B = missing_X[index_B]
                    compute(positions_B, [sequences[i] for i in positions_B])
                    advance(len(positions_B))

        def differentiate(positions_B: NDArray[np.int64], some: list[TokenizedResponse]) -> None:
            assert engine is not None
            policy_B, gradient_BD = engine(some)
            kept.put(positions_B, policy_B=policy_B, gradient_BD=gradient_BD)

        def run(positions_B: NDArray[np.int64], some: list[TokenizedResponse]) -> None:
            kept.put(positions_B, policy_B=sequence_log_probs(policy.model, some, max_tokens=max_tokens))

        def run_reference(positions_B: NDArray[np.int64], some: list[TokenizedResponse]) -> None:
            kept.put(positions_B, reference_B=sequence_log_probs(policy.model, some, max_tokens=max_tokens))

        with FeatureFolder.open(folder, model, responses, width=self.dimension, seed=seed, precision=precision) as kept:
            if engine is not None:
                fill(POLICY | GRADIENT, "Gradients", differentiate)
            else:
                fill(POLICY, "Log-probabilities", run)
            if margins:
                with policy.as_reference():
                    fill(REFERENCE, "Reference", run_reference)
        self.policy_R, self.reference_R = kept.numbers("policy"), kept.numbers("reference")
        self.norm_R = kept.numbers("norm")
        self._kept = kept

    def unit(self, positions_S: NDArray[np.int64]) -> NDArray[np.float32]:
        """The projected gradients of some of the responses, scaled to unit norm, `[S, D]`.

        Raises:
            DuelistError: if gradients were not asked for.
        """
        if self._kept.unit_XD is None:
            raise DuelistError("Pair features need gradients, but these response features were computed without any.")
        return np.asarray(self._kept.unit_XD[self._kept.row_R[positions_S]], np.float32)


def pair_features(
    computed: ResponseFeatures, index_N2: NDArray[np.int64], beta: float, normalize: Normalize, folder: Path
) -> NDArray[Any]:
    """φ of N pairs from their responses' stored gradients, `[N, D]`.

    In memory, as float32, up to `MAPPED_ABOVE` bytes. A larger pool's are written to a memory-mapped file in `folder`
    that goes with the process, a block of pairs at a time: float16 where they are scaled to unit norm, else float32,
    for small gradients underflow.

    Args:
        computed: the responses' features, with gradients.
        index_N2: positions of each pair's a and b among the responses.
        beta: see `pair_gradients`.
        normalize: see `pair_gradients`.
        folder: where the file goes.
    """

    def block(index_M2: NDArray[np.int64]) -> NDArray[Any]:
        responses_S, position_M2 = np.unique(index_M2, return_inverse=True)
        gradient_SD = computed.unit(responses_S)
        if normalize != "response":
            gradient_SD = gradient_SD * computed.norm_R[responses_S, None].astype(np.float32)
        length_S = computed.length_R[responses_S]
        return pair_gradients(gradient_SD, position_M2.reshape(index_M2.shape), beta, normalize, length_S)

    shape = (len(index_N2), computed.dimension)
    if shape[0] * shape[1] * 4 <= MAPPED_ABOVE:
        return block(index_N2)
    dtype = np.float16 if normalize in ("response", "pair") else np.float32
    phi_ND = scratch_array(folder, np.dtype(dtype), shape)
    for start in range(0, shape[0], PAIRS_AT_ONCE):
        rows = slice(start, start + PAIRS_AT_ONCE)
        phi_ND[rows] = block(index_N2[rows])
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
        fields: dict[str, NDArray[Any]] = {}
        if "gradient_ND" in job.wanted:
            fields["gradient_ND"] = pair_features(computed, index_N2, job.beta, self.normalize, self.folder)
        if with_reference:
            fields |= implicit_rewards(computed.policy_R - computed.reference_R, index_N2, job.beta)
        if "prompt_entropy_N" in job.wanted:
            fields["prompt_entropy_N"] = prompt_entropies(computed.policy_R, [r.prompt_id for r in responses], index_N2)
        return fields
