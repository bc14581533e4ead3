"""Numbers of responses under a policy: log π_θ(y|x), log π_ref(y|x) and the projected gradient of log π_θ(y|x).

They are computed in batches of similar length and stored in a cache (`feature_folder`). Cached numbers are not computed
again, so a killed run resumes where it stopped. The features of pairs follow from them (`gradient`, `margin`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from duelist.errors import ModelError
from duelist.featurizers.base import FeatureJob
from duelist.featurizers.feature_folder import FeatureFolder, Number
from duelist.models.gradients.lora_gradients import LoraGradients
from duelist.models.policy.logprobs import (
    TokenizedResponse,
    check_sequences,
    plan_batches,
    sequence_log_probs,
    tokenized,
)
from duelist.models.policy.policy import Policy
from duelist.models.policy.sharding import processes_of
from duelist.progress import Progress
from duelist.types import Response

AGAINST_REFERENCE = frozenset({"margin_N", "log_ratio_N2", "reward_R"})  # features that need log π_ref

Compute = Callable[[list[TokenizedResponse]], Mapping[Number, NDArray[Any]]]


@contextmanager
def response_numbers(
    job: FeatureJob,
    policy: Policy,
    responses: Sequence[Response],
    max_tokens: int,
    engine: LoraGradients | None = None,
) -> Iterator[FeatureFolder]:
    """Compute the numbers of R responses that `job.cache` lacks, and yield the cache while it is locked.

    Every process of a sharded model makes this call, and gets all numbers.

    Args:
        job: the cache, and the wanted features, which determine whether the reference is needed.
        policy: the policy and its reference.
        responses: the R responses.
        max_tokens: tokens per pass, padding included.
        engine: computes gradients along with log π_θ, if given; built for the policy's model and `job.seed`.

    Raises:
        StorageError: if the cache cannot be used.
        DuelistError: if the policy cannot compute the numbers, or it is sharded and the cache has a folder.
    """
    sequences = tokenized(responses)
    _, processes = processes_of(policy.model)
    if processes > 1 and job.cache.folder:
        raise ModelError(
            f"A folder of features is for one process, but the model is sharded over {processes}, which compute them "
            "together: leave the folder out."
        )
    # No other run sees a temporary folder, so it needs no hash of the model.
    state: dict[str, Any] = {"model": policy.fingerprint() if job.cache.folder else None}
    if engine is not None:
        state |= {"dimension": engine.dimension, "seed": job.seed}

    def differentiate(some: list[TokenizedResponse]) -> Mapping[Number, NDArray[Any]]:
        assert engine is not None
        log_prob_B, gradient_BD = engine(some)
        return {"policy": log_prob_B, "gradient": gradient_BD}

    def log_probs(number: Number) -> Compute:
        return lambda some: {number: sequence_log_probs(policy.model, some, max_tokens=max_tokens)}

    def fill(what: str, numbers: Sequence[Number], compute: Compute, square: bool = True) -> None:
        def plan(missing_X: NDArray[np.int64]) -> list[NDArray[np.int64]]:
            some = [sequences[i] for i in missing_X]
            check_sequences(policy.model, some)
            return [missing_X[index_B] for index_B in plan_batches(policy.model, some, max_tokens, square)]

        batches = kept.batches(numbers, plan)
        turns = [np.concatenate(batches[i : i + processes]) for i in range(0, len(batches), processes)]
        _run(what, kept, turns, lambda b: compute([sequences[i] for i in b]), job.progress)

    if engine is not None and engine.note is not None:
        job.progress.note(engine.note)
    with FeatureFolder.open(job.cache, state, responses, engine.dtype if engine else None) as kept:
        if engine is not None:
            fill("Gradients", ("policy", "gradient"), differentiate, square=False)
        else:
            fill("Log-probabilities", ("policy",), log_probs("policy"))
        if job.wanted & AGAINST_REFERENCE:
            with policy.as_reference():
                fill("Reference", ("reference",), log_probs("reference"))
        yield kept


def _run(
    what: str,
    kept: FeatureFolder,
    batches: Sequence[NDArray[np.int64]],
    compute: Callable[[NDArray[np.int64]], Mapping[Number, NDArray[Any]]],
    progress: Progress,
) -> None:
    found = kept.count - sum(map(len, batches))
    with progress.stage(what, kept.count) as advance:
        if found:
            progress.note(f"{what}: {found} of {kept.count} responses found in {kept.folder}")
            advance(found)
        for positions_B in batches:
            kept.put(positions_B, compute(positions_B))
            advance(len(positions_B))
    kept.save()
