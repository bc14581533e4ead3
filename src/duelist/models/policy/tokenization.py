"""Tokenization of prompts and responses, shared by sampling, features and training.

The ids equal those of TRL's `DPOTrainer` for the same texts. The tokenizer's chat template renders a conversational
prompt, a plain response gets an end-of-sequence token, and a response begins where the tokenised prompt and the
tokenised whole first differ. Nothing is ever truncated.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from duelist.errors import DataError, ModelError
from duelist.types import Prompt


def require_chat_template(tokenizer: Any, prompts: Sequence[Prompt], model: str) -> None:
    """Require a chat template for conversational prompts.

    Raises:
        ModelError: if a prompt is conversational and the tokenizer has no chat template.
    """
    if getattr(tokenizer, "chat_template", None) is None and any(not p.plain for p in prompts):
        raise ModelError(
            f"Conversational prompts need a tokenizer with a chat template, but that of {model} has none: use the "
            "model's instruction-tuned version, set `policy.chat_template` to a template file (a reward model needs "
            "one in its own folder, and so does the model of `duelist select`), or give plain-text prompts."
        )


def prompt_token_ids(tokenizer: Any, prompt: Prompt) -> list[int]:
    """Return the token ids from which the model generates a response to `prompt`."""
    if prompt.plain:
        return list(tokenizer(text=prompt.as_trl())["input_ids"])
    return _rendered(tokenizer, prompt, [dict(m) for m in prompt.messages], add_generation_prompt=True)


def encode_responses(tokenizer: Any, prompt: Prompt, texts: Sequence[str]) -> tuple[list[int], list[list[int]]]:
    """Return the token ids of a prompt and of complete responses to it, tokenised as in TRL.

    If tokens merge across the boundary, all responses begin where the first of them differs from the prompt.

    Returns:
        The prompt's ids, and each response's ids, end-of-sequence included.
    """
    alone = prompt_token_ids(tokenizer, prompt)
    wholes = [_whole(tokenizer, prompt, text) for text in texts]
    start = min((_common_prefix(alone, whole) for whole in wholes), default=len(alone))
    return alone[:start], [whole[start:] for whole in wholes]


def require_own_tokens(prompt: Prompt, prompt_ids: Sequence[int]) -> None:
    """Require a prompt that keeps at least one token of its own, from which to predict the response.

    Raises:
        DataError: if all its tokens merge with the response's; the message names the prompt.
    """
    if not prompt_ids:
        raise DataError(
            f"A prompt must be at least one token of its own, but all of {str(prompt.as_trl())[:60]!r} merges with its "
            "response: end the prompt with a space or a line break, or use the conversational format."
        )


def check_length(prompt: Prompt, length: int, context: int | None, what: str) -> None:
    """Require a sequence that fits in the model's context.

    Raises:
        DataError: if `length` exceeds `context`; the message names the prompt.
    """
    if context is not None and length > context:
        start = str(prompt.messages[-1]["content"])[:60]
        raise DataError(
            f"A sequence must fit in the model's context of {context} tokens, but prompt {prompt.id} ({start!r}...) "
            f"with {what} makes {length}. Nothing is cut silently: shorten or drop the prompt, lower max_new_tokens, "
            "or use a model with a longer context."
        )


def _whole(tokenizer: Any, prompt: Prompt, text: str) -> list[int]:
    if prompt.plain:
        end = tokenizer.eos_token or ""
        whole = str(prompt.as_trl()) + (text if text.endswith(end) else text + end)
        return list(tokenizer(text=whole)["input_ids"])
    return _rendered(tokenizer, prompt, [*map(dict, prompt.messages), {"role": "assistant", "content": text}])


def _rendered(tokenizer: Any, prompt: Prompt, messages: list[dict[str, Any]], **options: Any) -> list[int]:
    try:
        return list(tokenizer.apply_chat_template(messages, tokenize=True, return_dict=True, **options)["input_ids"])
    except Exception as error:  # a template may raise any error, such as for an unknown role or order of roles
        raise DataError(
            f"Every prompt must suit the model's chat template, but it refuses prompt {prompt.id} "
            f"({str(messages[0]['content'])[:60]!r}..., roles {', '.join(str(m['role']) for m in messages)}): {error}. "
            "Rewrite the prompt or drop it."
        ) from error


def _common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    for i, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            return i
    return min(len(a), len(b))
