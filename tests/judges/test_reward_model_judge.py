"""Judge by a reward model: Bradley–Terry probabilities of its rewards, the same in both orders."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, LlamaForSequenceClassification

from duelist.annotators.reward import RewardModelAnnotator, RewardModelAnnotatorConfig
from duelist.judges.base import Comparison
from duelist.judges.config import JudgeConfig
from duelist.judges.of import judge_of
from duelist.progress import Silent
from duelist.types import Prompt, Response
from pickled_workers import PickledWorkers


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


def test_workers_give_the_verdicts_of_one_process(tiny_reward_model: Path) -> None:
    config = JudgeConfig(reward_model=str(tiny_reward_model), device="cpu", batch_size=2)
    asked = [Comparison(Prompt.of("w1"), f"w{i}", "w9 " * i) for i in range(1, 5)]
    spread, workers = judge_of(config), PickledWorkers()
    spread.compute_with(workers, Silent())
    assert spread.judge(asked, 0, Silent()) == judge_of(config).judge(asked, 0, Silent())
    assert workers.batches == [2, 2]
    rewards = RewardModelAnnotator(RewardModelAnnotatorConfig(model=str(tiny_reward_model), device="cpu"))
    rewards.compute_with(workers, Silent())
    rewards.reward.score([Prompt.of("w1")], [Response.of(Prompt.of("w1"), "w2", [], [0], 0)])
    assert workers.batches == [3, 2] and len(workers.held(0)) == 2  # each model is held beside the other
