"""Explicit reward of a sequence classifier with one output: scoring of token ids, and a saved classifier's scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from duelist.models.policy.loading import load_pretrained
from duelist.models.policy.padding import batches_by_count, padded
from duelist.models.policy.positions import length_thresholds

FOLDER = "reward_model"  # beside a round's weights: the reward model that its labels trained


def reward_scorer(model: Any, pad: int, batch_size: int = 64) -> Callable[[Sequence[Sequence[int]]], list[float]]:
    """Return a function from token ids of prompts with responses to rewards."""

    def score(sequences: Sequence[Sequence[int]]) -> list[float]:
        rewards = [0.0] * len(sequences)
        device, lengths = next(model.parameters()).device, [len(s) for s in sequences]
        for batch in batches_by_count(range(len(sequences)), lengths, batch_size, length_thresholds(model.config)):
            ids = padded([sequences[i] for i in batch], pad, device)
            mask = padded([[1] * lengths[i] for i in batch], 0, device)
            with torch.inference_mode():
                scores = model(input_ids=ids, attention_mask=mask).logits[:, 0].float().tolist()
            for i, score in zip(batch, scores, strict=True):
                rewards[i] = score
        return rewards

    return score


def saved_rewards(folder: Path, sequences: Sequence[Sequence[int]], device: torch.device) -> list[float]:
    """Return the rewards of sequences of token ids by the classifier in a folder.

    Raises:
        ModelError: if it cannot be loaded.
    """
    from transformers import AutoModelForSequenceClassification

    model = load_pretrained(AutoModelForSequenceClassification, str(folder), "the round's reward model", dtype="auto")
    model = model.to(device).eval()
    return reward_scorer(model, model.config.pad_token_id)(sequences)
