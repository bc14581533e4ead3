"""A process among several that shard a model (FSDP2): computes its features, and checks what it holds meanwhile."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from transformers import AutoModelForCausalLM

from duelist.errors import ModelError
from duelist.featurizers.response_numbers import Gradients
from duelist.models.gradients.lora_gradients import LoraGradients
from duelist.models.policy.logprobs import sequence_log_probs
from duelist.models.policy.response_batches import plan_batches
from duelist.models.policy.sharding import in_turns
from tiny_models import random_sequences, with_lora

FAMILIES = ("llama", "mistral", "mixtral")
TARGETS = ["q_proj", "v_proj"]  # a mixture's experts see some tokens only
DIMENSION, SEED, MAX_TOKENS = 257, 7, 60


def features(model: Any) -> dict[str, np.ndarray]:
    """Features of nine responses, in five batches: two processes do not divide them evenly."""
    sequences = random_sequences(9)
    log_prob_R, gradient_RD = LoraGradients(model, dimension=DIMENSION, seed=SEED, max_tokens=MAX_TOKENS)(sequences)
    with model.disable_adapter():
        reference_R = sequence_log_probs(model, sequences, max_tokens=MAX_TOKENS)
    # As a study's engine and `select` do: each process a batch in every turn, planned once for all.
    task = Gradients(DIMENSION, SEED, MAX_TOKENS)
    planned = plan_batches(model, sequences, MAX_TOKENS, square=False)
    batches = [[sequences[i] for i in index_B] for index_B in planned]
    passed: list[int] = []
    counting = model.get_input_embeddings().register_forward_hook(lambda *call: passed.append(len(call[1][0])))
    found = list(in_turns(model, partial(task, SimpleNamespace(model=model)), batches))
    counting.remove()
    assert [len(log_prob_B) for log_prob_B, _ in found] == list(map(len, batches))
    assert set(passed) <= set(map(len, batches))
    turns_RD = np.empty_like(gradient_RD)
    for index_B, (_, gradient_BD) in zip(planned, found, strict=True):
        turns_RD[index_B] = gradient_BD
    return {"log_probs": log_prob_R, "gradients": gradient_RD, "reference": reference_R, "turns": turns_RD}


def sharded(model: Any) -> int:
    """How many parameters are DTensors."""
    return sum(isinstance(parameter, DTensor) for parameter in model.parameters())


def watched(model: Any) -> list[bool]:
    """Whether the first layer holds a part of its weights only, each time that the last one runs."""
    found: list[bool] = []
    layers = model.get_base_model().model.layers
    first = layers[0].self_attn.o_proj
    layers[-1].register_forward_hook(lambda *_: found.append(isinstance(first.weight, DTensor)))
    return found


def main(folder: Path) -> None:
    torch.distributed.init_process_group("gloo")
    torch.set_num_threads(1)
    rank = torch.distributed.get_rank()
    for family in FAMILIES:
        # As `policy.load` and `trainer.sharded` do: the base model is sharded, each process has the adapter.
        shared = {"distributed_config": {"fsdp_size": 2}}
        base = AutoModelForCausalLM.from_pretrained(folder / family, dtype="float32", **shared)
        model = with_lora(base, target_modules=TARGETS)
        assert sharded(model) == sum(1 for n, _ in model.named_parameters() if "lora_" not in n)
        in_parts = watched(model)
        np.savez(folder / f"{family}-loaded-{rank}.npz", **features(model))
        assert in_parts and all(in_parts)
        # As torch's users and accelerate do: everything is sharded.
        whole = AutoModelForCausalLM.from_pretrained(folder / family, dtype="float32")
        model = with_lora(whole, target_modules=TARGETS)
        for layer in model.get_base_model().model.layers:
            fully_shard(layer)
        fully_shard(model)
        assert sharded(model) == sum(1 for _ in model.parameters())
        in_parts = watched(model)
        np.savez(folder / f"{family}-wrapped-{rank}.npz", **features(model))
        assert in_parts and all(in_parts)
    # One unit, which stays gathered after a pass.
    model = with_lora(AutoModelForCausalLM.from_pretrained(folder / "llama", dtype="float32"), target_modules=TARGETS)
    fully_shard(model)
    np.savez(folder / f"llama-at-once-{rank}.npz", **features(model))
    in_parts_of_layers = {"distributed_config": {"tp_size": 2}}
    base = AutoModelForCausalLM.from_pretrained(folder / "llama", dtype="float32", **in_parts_of_layers)
    try:
        LoraGradients(with_lora(base, target_modules=["o_proj"]), dimension=DIMENSION, seed=SEED, max_tokens=MAX_TOKENS)
    except ModelError as error:
        (folder / f"refused-{rank}.txt").write_text(str(error), encoding="utf-8")
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
