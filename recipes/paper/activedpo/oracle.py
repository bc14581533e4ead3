"""The paper's oracle: a reward model that reads a question and an answer as two segments."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any


def score(
    prompts: Sequence[str], completions: Sequence[str], *, model: str, batch_size: int = 32, **columns: Any
) -> list[float]:
    """The reward of each completion, as a segment of its own behind the prompt, the way the model was trained.

    Nothing is cut: DeBERTa-v3 has relative positions, so a sequence may be longer than those it was trained on.

    Args:
        prompts: plain text.
        completions: plain text, `completions[i]` answers `prompts[i]`.
        model: a folder or hub name of a sequence-classification model with one output.
        batch_size: texts scored together.
        **columns: the prompts' other columns; not used.
    """
    import torch

    tokenizer, network = _loaded(model)
    answers = [completion.strip() for completion in completions]
    order = sorted(range(len(answers)), key=lambda i: len(prompts[i]) + len(answers[i]))
    rewards = [0.0] * len(answers)
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        texts = tokenizer([prompts[i] for i in batch], [answers[i] for i in batch], padding=True, return_tensors="pt")
        with torch.no_grad():
            logits = network(**texts.to(network.device)).logits
        for i, value in zip(batch, logits[:, 0].tolist(), strict=True):
            rewards[i] = float(value)
    return rewards


@functools.cache
def _loaded(model: str) -> tuple[Any, Any]:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from duelist.models.loading import device_of, load_pretrained

    network = load_pretrained(AutoModelForSequenceClassification, model, "annotator.arguments.model")
    return load_pretrained(AutoTokenizer, model, "annotator.arguments.model"), network.to(device_of("auto")).eval()
