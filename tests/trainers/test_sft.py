"""Supervised fine-tuning: our tokens, TRL's loss computed again without TRL, and what the folder holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from duelist.data.sources import RowSource
from duelist.errors import DataError, RecipeError
from duelist.models.policy.config import PolicyConfig
from duelist.models.policy.tokenization import encode_responses
from duelist.progress import Silent
from duelist.trainers.sft import SFTStageConfig, demonstrations
from duelist.trainers.trl_sft import fine_tune
from duelist.types import Prompt

PROMPT = [{"role": "user", "content": "w1 w2"}]


def rows(path: Path, content: list[dict[str, Any]]) -> RowSource:
    path.write_text("".join(json.dumps(row) + "\n" for row in content), encoding="utf-8")
    return RowSource(str(path))


@pytest.fixture
def source(tmp_path: Path) -> RowSource:
    content = [
        {"prompt": [{"role": "user", "content": f"w{i} w{i + 1}"}],
         "completion": [{"role": "assistant", "content": " ".join(["w30"] * (i + 1))}]}
        for i in range(6)
    ]  # fmt: skip
    return rows(tmp_path / "demonstrations.jsonl", content)


def test_any_column_of_a_response_gives_the_tokens_of_sampling_and_dpo(tiny_model: Path, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    said = [{"role": "assistant", "content": "w3 w4 w5"}]
    other = [{"role": "assistant", "content": "w9"}]
    content = [
        {"prompt": PROMPT, "completion": said},
        {"prompt": PROMPT, "response": "w3 w4 w5"},
        {"prompt": PROMPT, "chosen": said},
        {"prompt": PROMPT, "chosen": said, "rejected": other},
        {"chosen": [*PROMPT, *said], "rejected": [*PROMPT, *other]},  # the prompt within
    ]
    found = demonstrations(rows(tmp_path / "rows.jsonl", content), tokenizer, 64, "m")
    prompt_ids, (ids,) = encode_responses(tokenizer, Prompt.of(PROMPT), ["w3 w4 w5"])
    assert set(found.sequences) == {(*prompt_ids, *ids)} and len(found.sequences) == 5
    assert set(found.prompt_lengths) == {len(prompt_ids)}
    assert ids[-1] == tokenizer.eos_token_id


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": PROMPT, "answer": "w3"}, r"one of completion, response, chosen, but .* has only prompt, answer"),
        ({"prompt": PROMPT, "completion": "w3 " * 70}, "context of 64 tokens"),
        ({"prompt": PROMPT, "completion": " "}, "must hold text"),
        (None, "at least one demonstration"),
    ],
)
def test_rows_that_cannot_be_trained_on_are_refused(
    tiny_model: Path, tmp_path: Path, row: dict[str, Any] | None, message: str
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    with pytest.raises(DataError, match=message):
        demonstrations(rows(tmp_path / "rows.jsonl", [] if row is None else [row]), tokenizer, 64, "m")


@pytest.mark.parametrize("lora", [None, {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"]}])
def test_the_loss_is_the_mean_over_the_responses_tokens_and_one_step_lowers_it(
    tiny_model: Path, source: RowSource, tmp_path: Path, lora: dict[str, Any] | None
) -> None:
    before = AutoModelForCausalLM.from_pretrained(tiny_model)
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    data = demonstrations(source, tokenizer, 64, "m")
    train = {"per_device_train_batch_size": 6, "num_train_epochs": 1, "learning_rate": 1e-2}
    target = tmp_path / "made"
    target.mkdir()
    policy = PolicyConfig(model=str(tiny_model), device="cpu")
    generator = torch.get_rng_state()
    done = fine_tune(policy, SFTStageConfig(train=train, lora=lora), source, 0, target, Silent())
    assert torch.equal(torch.get_rng_state(), generator)
    assert done["optimizer_steps"] == 1 and done["demonstrations"] == 6
    assert done["train_loss"] == pytest.approx(mean_loss(before, data), rel=1e-5)  # of the one step's batch, before it
    after = AutoModelForCausalLM.from_pretrained(target)
    assert mean_loss(after, data) < mean_loss(before, data)
    old, new = before.state_dict(), after.state_dict()
    assert old.keys() == new.keys()
    moved = {name for name in old if not torch.equal(old[name], new[name])}
    trained = old.keys() if lora is None else {n for n in old if "q_proj" in n or "v_proj" in n}
    assert moved == set(trained)
    assert AutoTokenizer.from_pretrained(target).chat_template == tokenizer.chat_template
    assert not (target / "adapter_config.json").exists()


def mean_loss(model: Any, data: Any) -> float:
    """The mean negative log-probability of all responses' tokens, one sequence at a time."""
    losses = []
    for ids, start in zip(data.sequences, data.prompt_lengths, strict=True):
        with torch.inference_mode():
            log_prob_TV = model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
        losses += [-float(log_prob_TV[t - 1, ids[t]]) for t in range(start, len(ids))]
    return sum(losses) / len(losses)


def test_the_model_is_saved_in_the_policys_type(tiny_model: Path, source: RowSource, tmp_path: Path) -> None:
    train = {"per_device_train_batch_size": 6, "max_steps": 1}
    policy = PolicyConfig(model=str(tiny_model), device="cpu", dtype="bfloat16")
    (tmp_path / "made").mkdir()
    fine_tune(policy, SFTStageConfig(train=train), source, 0, tmp_path / "made", Silent())
    saved = AutoModelForCausalLM.from_pretrained(tmp_path / "made")
    assert {p.dtype for p in saved.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ({"packing": True}, "makes the token ids itself"),
        ({"max_length": 5}, "never cuts a sequence"),
        ({"learning_rat": 1}, "learning_rate"),
    ],
)
def test_settings_that_duelist_decides_or_trl_lacks_are_refused(train: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SFTStageConfig(train=train)
    with pytest.raises(RecipeError, match="refused them"):
        SFTStageConfig(train={"per_device_train_batch_size": 0, "optim": "none such"}).trl_settings.filled(on_cpu=True)
