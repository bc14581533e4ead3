"""The held-out evaluation of a policy, against transformers' own decoding."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from duelist.data.rows import row_prompt
from duelist.evaluation.held_out import EvaluationConfig, evaluate
from duelist.models.policy.config import PolicyConfig
from duelist.models.policy.policy import Policy
from duelist.models.policy.tokenization import prompt_token_ids
from duelist.progress import Silent


@pytest.mark.parametrize("how", [{"temperature": 0}, {"top_k": 1}])
def test_a_greedy_evaluation_measures_the_responses_of_transformers(
    tiny_model: Path, tiny_prompts: Path, how: dict[str, int]
) -> None:
    policy = Policy.load(PolicyConfig(model=str(tiny_model), device="cpu"), seed=0)
    rows = [json.loads(line) for line in tiny_prompts.read_text("utf-8").splitlines()[:5]]
    prompts = [row_prompt(row, "here") for row in rows]
    config = EvaluationConfig(max_new_tokens=6, **how)  # type: ignore[arg-type]
    found = [evaluate(policy, prompts, None, None, config, beta=0.1, seed=seed, progress=Silent()) for seed in (0, 1)]
    assert found[0].samples == found[1].samples  # no chance in it
    for prompt, sample in zip(prompts, found[0].samples, strict=True):
        ids = torch.tensor([prompt_token_ids(policy.tokenizer, prompt)])
        output = policy.model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=6
        )
        expected = policy.tokenizer.decode(output[0, ids.shape[1] :], skip_special_tokens=True)
        assert sample["response"] == expected
