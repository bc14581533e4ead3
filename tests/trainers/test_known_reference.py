"""The reference's log-probabilities are computed once for each sequence, and change nothing that is trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from trained_policies import adapter_weights, fresh, responses_to

from duelist.progress import Silent
from duelist.trainers.dpo import DPO
from duelist.trainers.dpo_settings import DPOTrainerConfig
from duelist.trainers.known_reference import KnownReference
from duelist.trainers.trl_dpo import TokenizedDPOTrainer
from duelist.types import Preference, Prompt


def preferences_of(tiny_model: Path, share: float) -> list[Preference]:
    """Every pair of three responses to each of four prompts: 12 pairs, 12 sequences."""
    policy = fresh(tiny_model)
    found = []
    for i in range(4):
        prompt = Prompt.of([{"role": "user", "content": f"w{i} w{i + 1}"}])
        texts = [f"w{i} w3 w4", f"w9 w{i + 2}", "w5"]
        responses = responses_to(policy, prompt, texts)
        for a, b in ((0, 1), (0, 2), (1, 2)):
            found.append(Preference(prompt, responses[a], responses[b], f"{i}{a}{b}", "someone", share=share))
    return found


def trained(tiny_model: Path, preferences: Sequence[Preference]) -> dict[str, torch.Tensor]:
    policy = fresh(tiny_model)
    train = {"num_train_epochs": 3, "learning_rate": 5e-3, "per_device_train_batch_size": 4}
    DPO(DPOTrainerConfig(train=train)).train(policy, preferences, 0.5, 0, Silent())
    return adapter_weights(policy)


@pytest.mark.parametrize("share", [1.0, 0.8])
def test_training_equals_one_that_computes_the_reference_at_every_step(
    tiny_model: Path, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    preferences = preferences_of(tiny_model, share)
    computed = 0
    original = TokenizedDPOTrainer._reference_now

    def counted(self: TokenizedDPOTrainer, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        nonlocal computed
        computed += len(batch["input_ids"])
        return original(self, batch)

    monkeypatch.setattr(TokenizedDPOTrainer, "_reference_now", counted)
    once = trained(tiny_model, preferences)
    assert computed == 12
    monkeypatch.setattr(TokenizedDPOTrainer, "_reference_is_known", False)
    at_every_step = trained(tiny_model, preferences)
    for name, weights in once.items():
        torch.testing.assert_close(weights, at_every_step[name], rtol=1e-4, atol=1e-5)


def test_the_same_tokens_with_another_prompt_end_or_padding_are_told_apart_or_not() -> None:
    """Where the completion begins makes another sequence; padding does not."""

    def batch(ids: list[int], attention: list[int], completion: list[int]) -> dict[str, torch.Tensor]:
        named = {"input_ids": ids, "attention_mask": attention, "completion_mask": completion}
        return {name: torch.tensor([row]) for name, row in named.items()}

    known = KnownReference()
    numbers = iter([-1.0, -2.0])

    def compute(batch: dict[str, torch.Tensor]) -> torch.Tensor:
        return torch.tensor([next(numbers)])

    assert known.of(batch([5, 6, 7], [1, 1, 1], [0, 1, 1]), compute).tolist() == [-1.0]
    assert known.of(batch([5, 6, 7], [1, 1, 1], [0, 0, 1]), compute).tolist() == [-2.0]
    assert known.of(batch([5, 6, 7, 0], [1, 1, 1, 0], [0, 1, 1, 0]), compute).tolist() == [-1.0]
