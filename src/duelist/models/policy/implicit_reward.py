"""Implicit reward of responses: log-probabilities under the policy relative to the reference.

Reference: ActiveDPO (arXiv 2505.19241), Section 2; its formula lacks the logarithm of the ratio.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from duelist.progress import Progress
from duelist.types import Response

if TYPE_CHECKING:
    from duelist.models.policy.policy import Policy


def log_ratios(
    policy: Policy, responses: Sequence[Response], max_tokens: int, progress: Progress, what: str = "Log-probabilities"
) -> NDArray[np.float64]:
    """Return log(π_θ(y|x) / π_ref(y|x)) of R responses, in nats; β times this is their implicit reward.

    Args:
        policy: the model and its reference.
        responses: the responses to score.
        max_tokens: maximum number of tokens per forward pass, padding included.
        progress: reports the number of log-probabilities done.
        what: label of the progress bar.
    """
    own_R, reference_R = log_probs(policy, responses, max_tokens, progress, what)
    return own_R - reference_R


def log_probs(
    policy: Policy, responses: Sequence[Response], max_tokens: int, progress: Progress, what: str = "Log-probabilities"
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return log π_θ(y|x) and log π_ref(y|x) of R responses, in nats; arguments as for `log_ratios`."""
    from duelist.models.policy.logprobs import sequence_log_probs, tokenized

    sequences = tokenized(responses)
    with progress.stage(what, 2 * len(sequences)) as advance:
        own_R = sequence_log_probs(policy.model, sequences, max_tokens=max_tokens, progress=advance)
        with policy.as_reference():
            reference_R = sequence_log_probs(policy.model, sequences, max_tokens=max_tokens, progress=advance)
    return own_R, reference_R
