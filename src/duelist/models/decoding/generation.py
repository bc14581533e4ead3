"""Sampling from the current policy for callers other than samplers, mainly the evaluation."""

from __future__ import annotations

from collections.abc import Sequence

from duelist.models.decoding.local import LocalDecoder
from duelist.models.decoding.requests import Decoding, ResponseRequest
from duelist.models.policy.policy import Policy
from duelist.progress import Progress
from duelist.types import Prompt, Response


def generate(
    policy: Policy,
    prompts: Sequence[Prompt],
    how: Decoding,
    *,
    responses_per_prompt: int,
    round: int,
    seed: int,
    progress: Progress,
    description: str = "Sampling responses",
) -> list[Response]:
    """Draw responses from the current model (adapter on or off); see `duelist.models.decoding.local.LocalDecoder`.

    Args:
        policy: the model and tokenizer.
        prompts: prompts to respond to.
        how: decoding settings: temperature, length limit ...
        responses_per_prompt: draws per prompt.
        round: recorded in the responses.
        seed: the only source of randomness.
        progress: reports the number of responses done.
        description: label of the progress bar.

    Returns:
        Responses, prompt by prompt in the order of `prompts`.

    Raises:
        DataError: if a prompt plus `max_new_tokens` does not fit in the context.
        ModelError: if a prompt is conversational and the tokenizer has no chat template.
    """
    wanted = [ResponseRequest(p) for p in prompts for _ in range(responses_per_prompt)]
    return LocalDecoder(policy).draw(wanted, how, round=round, seed=seed, progress=progress, what=description)
