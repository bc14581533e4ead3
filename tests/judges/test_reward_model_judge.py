"""Judge by a reward model: Bradley–Terry probabilities of its rewards, the same in both orders."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, LlamaForSequenceClassification

from duelist.judges.base import Comparison
from duelist.judges.config import JudgeConfig
from duelist.judges.of import judge_of
from duelist.progress import Silent
from duelist.types import Prompt


def test_probability_is_that_of_the_rewards(tiny_reward_model: Path) -> None:
    prompt = Prompt.of([{"role": "user", "content": "w1"}])
    asked = [Comparison(prompt, "w3", "w4 w5"), Comparison(prompt, "w4 w5", "w3"), Comparison(prompt, "w7", "w7 w8")]
    config = JudgeConfig(reward_model=str(tiny_reward_model), temperature=0.5, device="cpu")
    found = judge_of(config).judge(asked, 0, Silent())
    tokenizer = AutoTokenizer.from_pretrained(tiny_reward_model)
    model = LlamaForSequenceClassification.from_pretrained(tiny_reward_model)

    def reward(text: str) -> float:
        with torch.no_grad():
            ids = tokenizer(f"<user> w1 <assistant> {text} <eos>", add_special_tokens=False, return_tensors="pt")
            return float(model(input_ids=ids["input_ids"]).logits[0, 0])

    for c, x in zip(asked, found, strict=True):
        p = 1 / (1 + math.exp(-(reward(c.a) - reward(c.b)) / 0.5))
        assert x.a_first == x.b_first == pytest.approx((p, 1 - p, 0.0), abs=1e-5)
        assert x.outcome == ("a" if p > 0.5 else "b")
    assert found[0].probability == pytest.approx(1 - (found[1].probability or 0), abs=1e-6)
