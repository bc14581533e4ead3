"""A process among several that train a sharded model with TRL, and select with it when they are done."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from test_model_in_memory import LORA, POOL, trainer_of
from transformers import AutoModelForCausalLM, AutoTokenizer

import duelist
from duelist.errors import ModelError
from duelist.models.policy.sharding import is_sharded
from duelist.selection.callback import SelectCallback


def main(tiny_model: Path, folder: Path) -> None:
    base = AutoModelForCausalLM.from_pretrained(
        tiny_model, dtype="float32", distributed_config={"fsdp_size": 2}
    )  # begins the group of processes
    torch.manual_seed(0)
    model = get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", **LORA))
    rank = torch.distributed.get_rank()
    seen: list[duelist.Picks] = []
    callback = SelectCallback(POOL, folder / "picks", budget=4, on_picks=seen.append, dimension=64)
    trainer = trainer_of(model, folder / str(rank), AutoTokenizer.from_pretrained(tiny_model), callbacks=[callback])
    trainer.args.learning_rate = 0.0
    trainer.train()
    assert is_sharded(trainer.model)
    assert len(seen) == (rank == 0)  # one process tells of the picks
    picks = duelist.select(POOL, trainer, budget=4, dimension=64)
    found = {"rows": picks.rows, "scores": [pick.score for pick in picks]}
    (folder / f"found-{rank}.json").write_text(json.dumps(found), encoding="utf-8")
    try:
        duelist.select(POOL, trainer, budget=4, dimension=64, features=folder / "features")
    except ModelError as error:
        (folder / f"refused-{rank}.txt").write_text(str(error), encoding="utf-8")
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
