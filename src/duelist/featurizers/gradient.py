"""Gradient differences of the implicit reward over the LoRA parameters, randomly projected.

Reference: Lin et al., ActiveDPO, arXiv 2505.19241, Section 3.3 (LoRA gradient with random projection; normalisation).
Formula:   φ = ∇r(x, y_a) − ∇r(x, y_b),  ∇r = β ∇log π_θ(y|x);
           `normalize: response` scales each ∇r to unit norm first, `pair` scales φ, `token` divides each ∇r by its
           response's number of tokens, `none` scales nothing.
Unit:      none if scaled to unit norm; else β times nats (per token with `token`) per unit of the parameters.
Cost:      one forward and one backward pass over each distinct response, m of them for m(m−1)/2 pairs.

Only the policy is differentiated: the reference does not depend on θ. Before the first update, LoRA's B is zero and so
is every gradient in A; the features then come from B's gradients only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from duelist.errors import DuelistError, RecipeError
from duelist.featurizers.base import FeatureJob, Featurizer, distinct_responses
from duelist.featurizers.feature_folder import FeatureFolder
from duelist.featurizers.mapped_files import scratch_array
from duelist.featurizers.margin import log_prob_features
from duelist.files.scratch import give_back
from duelist.settings.context import Context

MAPPED_ABOVE = 2 * 2**30  # bytes of pair features above which they are memory-mapped
PAIRS_AT_ONCE = 1024  # pairs per block of features

Normalize = Literal["response", "pair", "token", "none"]


class GradientConfig(BaseModel):
    """Settings of the `gradient` featurizer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dimension: int | None = Field(
        default=8192, gt=0, description="D, number of dimensions after projection; null: no projection."
    )
    normalize: Normalize = Field(
        default="response",
        description="Scale each response's gradient (`response`) or each pair's difference (`pair`) to unit norm; "
        "divide each response's gradient by its number of tokens (`token`); or scale nothing (`none`).",
    )
    max_tokens: int = Field(default=8192, gt=0, description="Tokens per backward pass, padding included.")


class Gradient(Featurizer):
    """Featurizer with one projected gradient per distinct response; a pair's feature is the difference of two.

    Margins, if wanted, cost one more forward pass, under the reference.
    """

    def __init__(self, config: GradientConfig) -> None:
        self.config = config

    @property
    def provides(self) -> tuple[str, ...]:
        return ("gradient_ND", "gradient_RD", "margin_N", "log_ratio_N2", "prompt_entropy_N", "reward_R")

    def check(self, context: Context) -> None:
        if context.adapter == "none" and context.needs & {"gradient_ND", "target_MD"}:
            raise RecipeError(
                "Gradient features are those of a LoRA adapter, which the acquisition "
                f"{context.names['acquisition']!r} needs, but `policy.adapter` is none: set `policy.adapter: lora`, or "
                "choose a rule on margins or embeddings."
            )
        if context.sets_of > 2 and self.config.normalize == "pair":
            raise RecipeError(
                "`featurizers.gradient.normalize: pair` scales the difference of two responses, but questions have up "
                f"to {context.sets_of} (`pairing.sets_of`): set it to response, token or none."
            )

    def compute(self, job: FeatureJob) -> Mapping[str, NDArray[Any]]:
        from duelist.featurizers.response_numbers import response_numbers
        from duelist.models.gradients.lora_gradients import LoraGradients

        policy = job.models.policy_for("The `gradient` featurizer")
        responses, index_N2 = distinct_responses(job.questions)
        dimension, limit = self.config.dimension, self.config.max_tokens
        engine = LoraGradients(policy.model, dimension=dimension, seed=job.seed, max_tokens=limit)
        with response_numbers(job, policy, responses, limit, engine) as kept:
            fields = log_prob_features(job, kept, responses, index_N2)
            length_R = None
            if self.config.normalize == "token":
                length_R = np.fromiter((len(r.token_ids) for r in responses), np.int64, len(responses))
            if "gradient_RD" in job.wanted:
                fields["gradient_RD"] = response_features(kept, length_R, job.beta, self.config.normalize)
            if "gradient_ND" in job.wanted:
                fields["gradient_ND"] = pair_features(kept, index_N2, length_R, job.beta, self.config.normalize)
        return fields


def pair_features(
    kept: FeatureFolder, index_N2: NDArray[np.int64], length_R: NDArray[Any] | None, beta: float, normalize: Normalize
) -> NDArray[Any]:
    """Return φ of N pairs from their responses' stored gradients, `[N, D]`, computed block by block.

    Up to `MAPPED_ABOVE` bytes the result is in memory. A larger result is in a memory-mapped file next to the gradients
    that is deleted with the process. It has the gradients' type, or float16 if the features need not be exact and
    `normalize` is `response` or `pair`. Without unit norm, small gradients would underflow in float16.

    Args:
        kept: the stored gradients of R responses.
        index_N2: positions of each pair's a and b among the responses.
        length_R: the responses' lengths in tokens; needed for `token` only.
        beta: see `pair_gradients`.
        normalize: see `pair_gradients`.
    """
    shape = (len(index_N2), kept.dimension)
    if shape[0] * shape[1] * kept.dtype.itemsize <= MAPPED_ABOVE:
        phi_ND: NDArray[Any] = np.empty(shape, kept.dtype)
    else:
        half = not kept.exact and normalize in ("response", "pair")
        phi_ND = scratch_array(kept.folder, np.dtype(np.float16) if half else kept.dtype, shape)
    for start in range(0, shape[0], PAIRS_AT_ONCE):
        rows = slice(start, start + PAIRS_AT_ONCE)
        responses_S, position_M2 = np.unique(index_N2[rows], return_inverse=True)
        gradient_SD, length_S = kept.gradients(responses_S), None if length_R is None else length_R[responses_S]
        phi_ND[rows] = pair_gradients(gradient_SD, position_M2.reshape(-1, 2), beta, normalize, length_S)
        give_back(phi_ND)
    return phi_ND


def response_features(
    kept: FeatureFolder, length_R: NDArray[Any] | None, beta: float, normalize: Normalize
) -> NDArray[Any]:
    """Return ∇r of R responses from their stored gradients, `[R, D]`, computed block by block.

    φ of a pair is a difference of two. They are stored as `pair_features` stores φ, and the arguments are the same, but
    `normalize` may not be `pair`.
    """
    shape = (kept.count, kept.dimension)
    if shape[0] * shape[1] * kept.dtype.itemsize <= MAPPED_ABOVE:
        gradient_RD: NDArray[Any] = np.empty(shape, kept.dtype)
    else:
        half = not kept.exact and normalize == "response"
        gradient_RD = scratch_array(kept.folder, np.dtype(np.float16) if half else kept.dtype, shape)
    for start in range(0, shape[0], PAIRS_AT_ONCE):
        rows_S = np.arange(start, min(start + PAIRS_AT_ONCE, shape[0]))
        length_S = None if length_R is None else length_R[rows_S]
        gradient_RD[rows_S] = _scaled(kept.gradients(rows_S), normalize, length_S)
        if normalize in ("token", "none"):
            gradient_RD[rows_S] *= gradient_RD.dtype.type(beta)
        give_back(gradient_RD)
    return gradient_RD


def pair_gradients(
    gradient_RD: NDArray[Any],
    index_N2: NDArray[np.int64],
    beta: float,
    normalize: Normalize,
    length_R: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """Return φ of N pairs from ∇log π of their R responses, `[N, D]`. A zero gradient stays zero.

    Args:
        gradient_RD: ∇log π(y|x), projected.
        index_N2: positions of each pair's a and b.
        beta: multiplies φ if nothing is scaled to unit norm; otherwise it cancels.
        normalize: see the setting of the featurizer.
        length_R: the responses' lengths in tokens; needed for `token` only.

    Raises:
        DuelistError: if gradients per token are requested without the lengths.
    """
    gradient_RD = _scaled(gradient_RD, normalize, length_R)
    phi_ND: NDArray[Any] = gradient_RD[index_N2[:, 0]] - gradient_RD[index_N2[:, 1]]
    if normalize == "pair":
        return _unit_rows(phi_ND)
    if normalize in ("token", "none"):
        phi_ND *= phi_ND.dtype.type(beta)
    return phi_ND


def _scaled(gradient_RD: NDArray[Any], normalize: Normalize, length_R: NDArray[Any] | None) -> NDArray[Any]:
    """Return the gradients of R responses, each scaled by itself if `normalize` says so."""
    if normalize == "response":
        return _unit_rows(gradient_RD)
    if normalize == "token":
        if length_R is None:
            raise DuelistError("Gradients per token need the responses' lengths, but got none: pass `length_R`.")
        return np.asarray(gradient_RD / np.asarray(length_R, gradient_RD.dtype)[:, None])
    return gradient_RD


def _unit_rows(rows_XD: NDArray[Any]) -> NDArray[Any]:
    norm_X1 = np.linalg.norm(rows_XD, axis=1, keepdims=True)
    unit_XD: NDArray[Any] = np.divide(rows_XD, norm_X1, out=np.zeros_like(rows_XD), where=norm_X1 > 0)
    return unit_XD
