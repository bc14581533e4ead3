"""Selection by two processes that train a sharded model, against selection by one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from test_model_in_memory import LORA, POOL
from transformers import AutoModelForCausalLM, AutoTokenizer

import duelist
from launching import in_two_processes


@pytest.mark.full
def test_every_process_selects_what_one_would(tiny_model: Path, tmp_path: Path) -> None:
    in_two_processes(Path(__file__).with_name("sharded_training.py"), tiny_model, tmp_path)
    base: Any = AutoModelForCausalLM.from_pretrained(tiny_model)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", **LORA))
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    expected = duelist.select(POOL, model, tokenizer=tokenizer, beta=0.7, budget=4, dimension=64)
    for rank in range(2):
        found = json.loads((tmp_path / f"found-{rank}.json").read_text(encoding="utf-8"))
        assert found["rows"] == expected.rows
        assert found["scores"] == pytest.approx([pick.score for pick in expected], rel=1e-5)
        assert "leave the folder out" in (tmp_path / f"refused-{rank}.txt").read_text(encoding="utf-8")
    written = (tmp_path / "picks" / "end.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["row"] for line in written] == expected.rows
