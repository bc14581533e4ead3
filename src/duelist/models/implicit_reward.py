"""The implicit reward of responses that were just drawn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from duelist.models.logprobs import TokenizedResponse, sequence_log_probs
from duelist.models.policy import Policy
from duelist.progress import Progress
from duelist.types import Response


def log_ratios(
    policy: Policy, responses: Sequence[Response], max_tokens: int, progress: Progress
) -> NDArray[np.float64]:
    """log(π_θ(y|x) / π_ref(y|x)) of R responses, in nats; β times this is their implicit reward.

    Args:
        policy: the model and its reference.
        responses: what to score.
        max_tokens: tokens per forward pass, padding included.
        progress: told how many log-probabilities are done.
    """
    own_R, reference_R = log_probs(policy, responses, max_tokens, progress)
    return own_R - reference_R


def log_probs(
    policy: Policy, responses: Sequence[Response], max_tokens: int, progress: Progress
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """log π_θ(y|x) and log π_ref(y|x) of R responses, in nats; arguments as for `log_ratios`."""
    sequences = [TokenizedResponse(r.prompt_token_ids, r.token_ids) for r in responses]
    with progress.stage("Log-probabilities", 2 * len(sequences)) as advance:
        own_R = sequence_log_probs(policy.model, sequences, max_tokens=max_tokens, progress=advance)
        with policy.as_reference():
            reference_R = sequence_log_probs(policy.model, sequences, max_tokens=max_tokens, progress=advance)
    return own_R, reference_R
