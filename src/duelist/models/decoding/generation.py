"""Responses drawn from a policy as it is now, for whatever is not a sampler: the evaluation above all."""

from __future__ import annotations

from collections.abc import Sequence

from duelist.models.decoding.local import Decoding, LocalDecoder, ResponseRequest
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
    """Draw responses from the model as it is now (adapter on or off); see `duelist.models.decoding.local.LocalDecoder`.

    Args:
        policy: the model and tokenizer.
        prompts: what to answer.
        how: temperature, length limit ...
        responses_per_prompt: draws per prompt.
        round: noted in the responses.
        seed: the only source of randomness.
        progress: told how many responses are done.
        description: shown with the progress.

    Returns:
        Responses, prompt by prompt in the order of `prompts`.

    Raises:
        DataError: if a prompt with `max_new_tokens` more does not fit in the context.
        ModelError: if a conversational prompt meets a tokenizer without chat template.
    """
    wanted = [ResponseRequest(p) for p in prompts for _ in range(responses_per_prompt)]
    return LocalDecoder(policy).draw(wanted, how, round=round, seed=seed, progress=progress, what=description)
