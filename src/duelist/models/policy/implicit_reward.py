"""Implicit reward of responses: log-probabilities under the policy relative to the reference.

Reference: ActiveDPO (arXiv 2505.19241), Section 2; its formula lacks the logarithm of the ratio.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, final

import numpy as np
from numpy.typing import NDArray

from duelist.engines.base import Compute, ended
from duelist.engines.local import in_process
from duelist.progress import Progress
from duelist.types import Response

if TYPE_CHECKING:
    from duelist.models.policy.policy import Policy
    from duelist.models.policy.response_batches import TokenizedResponse


@final
@dataclass(frozen=True)
class LogProbs:
    """Task: log π(y|x) of the responses of one batch, under the policy or its reference."""

    one_pass: ClassVar[bool] = True
    of_reference: bool
    max_tokens: int

    def prepared(self, policy: Policy) -> AbstractContextManager[None]:
        """Make the policy its reference, if that is asked for: PEFT takes 0.1 s for it in a model of 30 layers."""
        return policy.as_reference() if self.of_reference else nullcontext()

    def __call__(self, policy: Policy, batch: Sequence[TokenizedResponse]) -> NDArray[np.float64]:
        from duelist.models.policy.logprobs import sequence_log_probs

        with self.prepared(policy):
            return sequence_log_probs(policy.model, batch, max_tokens=self.max_tokens, divided=False)


def log_ratios(
    policy: Policy,
    responses: Sequence[Response],
    max_tokens: int,
    progress: Progress,
    what: str = "Log-probabilities",
    compute: Compute[Policy] | None = None,
) -> NDArray[np.float64]:
    """Return log(π_θ(y|x) / π_ref(y|x)) of R responses, in nats; β times this is their implicit reward.

    Args:
        policy: the model and its reference.
        responses: the responses to score.
        max_tokens: maximum number of tokens per forward pass, padding included.
        progress: reports the number of log-probabilities done.
        what: label of the progress bar.
        compute: computes the batches (`Models.map`); None: this process.
    """
    own_R, reference_R = log_probs(policy, responses, max_tokens, progress, what, compute)
    return own_R - reference_R


def log_probs(
    policy: Policy,
    responses: Sequence[Response],
    max_tokens: int,
    progress: Progress,
    what: str = "Log-probabilities",
    compute: Compute[Policy] | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return log π_θ(y|x) and log π_ref(y|x) of R responses, in nats; arguments as for `log_ratios`."""
    from duelist.models.policy.logprobs import check_sequences
    from duelist.models.policy.response_batches import plan_batches, tokenized

    sequences = tokenized(responses)
    check_sequences(policy.model, sequences)
    planned = plan_batches(policy.model, sequences, max_tokens)
    batches = [[sequences[i] for i in index_B] for index_B in planned]
    log_prob_2R = np.empty((2, len(sequences)))
    with progress.stage(what, 2 * len(sequences)) as advance:
        for of_reference in (False, True):
            computed = (compute or in_process(policy))(LogProbs(of_reference, max_tokens), batches, progress)
            with ended(computed):
                for index_B, log_prob_B in zip(planned, computed, strict=True):
                    log_prob_2R[int(of_reference), index_B] = log_prob_B
                    advance(len(index_B))
    return log_prob_2R[0], log_prob_2R[1]
