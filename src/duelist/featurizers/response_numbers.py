"""Numbers of responses under a policy: log π_θ(y|x), log π_ref(y|x) and the projected gradient of log π_θ(y|x).

They are computed in batches of similar length and stored in a cache (`feature_folder`). Cached numbers are not computed
again, so a killed run resumes where it stopped. The features of pairs follow from them (`gradient`, `margin`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, final

import numpy as np
from numpy.typing import NDArray

from duelist.engines.base import ended
from duelist.errors import ModelError
from duelist.featurizers.base import FeatureJob
from duelist.featurizers.feature_folder import FeatureFolder, Number
from duelist.featurizers.shards import Shard, ShardFolder
from duelist.files.sequences import Computed
from duelist.models.gradients.lora_gradients import LoraGradients
from duelist.models.policy.implicit_reward import LogProbs
from duelist.models.policy.logprobs import check_sequences
from duelist.models.policy.policy import Policy
from duelist.models.policy.response_batches import TokenizedResponse, plan_by_length, tokenized
from duelist.models.policy.sharding import in_turns, processes_of
from duelist.progress import Progress
from duelist.types import Response

CHECKED_TOGETHER = 1024  # responses in memory while they are checked
AGAINST_REFERENCE = frozenset({"margin_N", "log_ratio_N2", "reward_R"})  # features that need log π_ref


@final
@dataclass(frozen=True)
class Gradients:
    """Task: log π_θ(y|x) of the responses of one batch, and their projected gradients (see `LoraGradients`).

    Attributes:
        dimension: D; None for no projection.
        seed: seed of the projection.
        max_tokens: tokens per pass, padding included.
        shards: where the gradients are written; None: they are returned.
    """

    one_pass: ClassVar[bool] = True
    dimension: int | None
    seed: int
    max_tokens: int
    shards: ShardFolder | None = None

    def __call__(
        self, policy: Policy, batch: Sequence[TokenizedResponse]
    ) -> tuple[NDArray[np.float64], NDArray[Any] | Shard]:
        engine = LoraGradients(policy.model, dimension=self.dimension, seed=self.seed, max_tokens=self.max_tokens)
        log_prob_B, gradient_BD = engine(batch, divided=False)
        return log_prob_B, gradient_BD if self.shards is None else self.shards.write(gradient_BD)


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
    sequences = Computed(len(responses), lambda i: tokenized([responses[i]])[0])
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

    def fill(
        what: str, numbers: Sequence[Number], task: Callable[[Policy, Sequence[TokenizedResponse]], Any], square: bool
    ) -> None:
        def plan(missing_X: NDArray[np.int64]) -> list[NDArray[np.int64]]:
            length_X = np.empty(len(missing_X), np.int64)
            for start in range(0, len(missing_X), CHECKED_TOGETHER):
                some = [sequences[i] for i in missing_X[start : start + CHECKED_TOGETHER].tolist()]
                check_sequences(policy.model, some)
                length_X[start : start + len(some)] = [s.input_length for s in some]
            return [missing_X[index_B] for index_B in plan_by_length(policy.model, length_X, max_tokens, square)]

        planned = kept.batches(numbers, plan)
        batches = Computed(len(planned), lambda at: [sequences[i] for i in planned[at].tolist()])
        if processes > 1:
            computed = in_turns(policy.model, partial(task, policy), batches)
        else:
            computed = job.models.map(task, batches, job.progress)
        several = (values if len(numbers) > 1 else (values,) for values in computed)
        with ended(computed):
            _save(what, kept, planned, (dict(zip(numbers, values, strict=True)) for values in several), job.progress)

    if engine is not None and engine.note is not None:
        job.progress.note(engine.note)
    with FeatureFolder.open(job.cache, state, responses, engine.dtype if engine else None) as kept:
        if engine is not None:
            # A temporary folder is out of reach of other machines.
            shards = None if job.models.engine.in_process or job.cache.folder is None else kept.shards
            task = Gradients(engine.projection, job.seed, max_tokens, shards)
            fill("Gradients", ("policy", "gradient"), task, square=False)
        else:
            fill("Log-probabilities", ("policy",), LogProbs(False, max_tokens), square=True)
        if job.wanted & AGAINST_REFERENCE:
            fill("Reference", ("reference",), LogProbs(True, max_tokens), square=True)
        yield kept


def _save(
    what: str,
    kept: FeatureFolder,
    batches: Sequence[NDArray[np.int64]],
    computed: Iterable[Mapping[Number, NDArray[Any] | Shard]],
    progress: Progress,
) -> None:
    """Store the numbers of each batch as they are computed."""
    found = kept.count - sum(map(len, batches))
    with progress.stage(what, kept.count) as advance:
        if found:
            progress.note(f"{what}: {found} of {kept.count} responses found in {kept.folder}")
            advance(found)
        for positions_B, numbers in zip(batches, computed, strict=True):
            kept.put(positions_B, numbers)
            advance(len(positions_B))
    kept.save()
