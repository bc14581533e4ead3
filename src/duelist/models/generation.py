"""Decoding from a policy: batched by length, seeded, with the token ids kept as they were drawn."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from duelist.models.policy import Policy
from duelist.models.process_state import global_generators_kept
from duelist.models.tokenization import check_length, prompt_token_ids, require_chat_template
from duelist.progress import Progress
from duelist.types import Distribution, Prompt, Response


def generate(
    policy: Policy,
    prompts: Sequence[Prompt],
    *,
    responses_per_prompt: int,
    temperature: float,
    top_p: float,
    max_new_tokens: int,
    batch_size: int,
    round: int,
    seed: int,
    progress: Progress,
    drawn_from: Distribution = "policy",
    distinct: bool = False,
    description: str = "Sampling responses",
) -> list[Response]:
    """Draw responses with transformers' `generate`, from the model as it is now (adapter on or off).

    A response's text is its tokens decoded without special tokens; its token ids are those drawn, with the
    end-of-sequence token unless it was cut at `max_new_tokens`.

    Args:
        policy: the model and tokenizer.
        prompts: what to answer.
        responses_per_prompt: draws per prompt.
        temperature: logits are divided by this.
        top_p: the nucleus' probability.
        max_new_tokens: the length limit, in tokens.
        batch_size: rows decoded together.
        round: noted in the responses.
        seed: the only source of randomness.
        progress: told how many responses are done.
        drawn_from: noted in the responses.
        distinct: list equal draws for one prompt once.
        description: shown with the progress.

    Returns:
        Responses, prompt by prompt in the order of `prompts`.

    Raises:
        DataError: if a prompt with `max_new_tokens` more does not fit in the context.
        ModelError: if a conversational prompt meets a tokenizer without chat template.
    """
    require_chat_template(policy.tokenizer, prompts, policy.name)
    prompt_ids = [prompt_token_ids(policy.tokenizer, p) for p in prompts]
    for prompt, ids in zip(prompts, prompt_ids, strict=True):
        what = f"max_new_tokens={max_new_tokens}"
        check_length(prompt, len(ids) + max_new_tokens, policy.context_length, what)
    rows = [i for i in range(len(prompts)) for _ in range(responses_per_prompt)]
    by_length = sorted(rows, key=lambda i: len(prompt_ids[i]))  # neighbours of one length need no padding
    drawn: dict[int, list[Response]] = {i: [] for i in range(len(prompts))}
    policy.model.eval()
    with (
        global_generators_kept(),
        progress.stage(description, len(rows)) as advance,
    ):
        torch.manual_seed(seed)  # `generate` draws from the global generator: it is set here and given back after
        for start in range(0, len(rows), batch_size):
            batch = by_length[start : start + batch_size]
            sampled = _generate_batch(policy, [prompt_ids[i] for i in batch], temperature, top_p, max_new_tokens)
            for i, ids in zip(batch, sampled, strict=True):
                text = policy.tokenizer.decode(ids, skip_special_tokens=True)
                drawn[i].append(Response.of(prompts[i], text, prompt_ids[i], ids, drawn_from, round))
            advance(len(batch))
    if distinct:
        return [r for i in drawn for r in {r.id: r for r in drawn[i]}.values()]
    return [r for i in drawn for r in drawn[i]]


def _generate_batch(
    policy: Policy, prompt_ids: list[list[int]], temperature: float, top_p: float, max_new_tokens: int
) -> list[list[int]]:
    width = max(map(len, prompt_ids))
    pad = policy.tokenizer.pad_token_id
    input_ids = torch.tensor([[pad] * (width - len(ids)) + ids for ids in prompt_ids], device=policy.device)
    mask = torch.tensor([[0] * (width - len(ids)) + [1] * len(ids) for ids in prompt_ids], device=policy.device)
    with torch.no_grad():
        output = policy.model.generate(
            input_ids=input_ids,
            attention_mask=mask,
            do_sample=True,
            temperature=temperature,
            top_p=top_p,
            top_k=0,  # transformers' default of 50 would cut the distribution
            max_new_tokens=max_new_tokens,
            eos_token_id=sorted(policy.stop_token_ids),
            pad_token_id=pad,
        )
    return [_up_to_stop(row, policy.stop_token_ids) for row in output[:, width:].tolist()]


def _up_to_stop(ids: list[int], stop: frozenset[int]) -> list[int]:
    for t, token in enumerate(ids):
        if token in stop:
            return ids[: t + 1]
    return ids
