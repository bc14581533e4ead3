"""Shares of sharded models, and models that are refused for where their weights are."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from duelist.errors import ModelError
from duelist.models.gradients.lora_gradients import LoraGradients
from duelist.models.policy import sharding
from duelist.models.policy.config import PolicyConfig
from duelist.models.policy.policy import Policy
from duelist.models.policy.sharding import in_turns
from tiny_models import random_sequences, tiny_model, with_lora


def test_a_whole_model_is_one_processs() -> None:
    model = torch.nn.Linear(2, 2)
    run: list[int] = []
    assert list(in_turns(model, lambda batch: run.append(batch) or -batch, [1, 2, 3])) == [-1, -2, -3]
    assert run == [1, 2, 3]


@pytest.mark.parametrize("processes", [1, 2, 3, 5])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5])
def test_every_process_computes_a_batch_a_turn_and_gets_all_results(
    count: int, processes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharding, "is_sharded", lambda model: processes > 1)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: processes)
    batches, seen = list("abcde")[:count], []
    for process in range(processes):
        own: list[str] = []
        seen.append(own)

        def gather(found: list[str], mine: str, own: list[str] = own, process: int = process) -> None:
            start = processes * (len(own) - 1)
            found[:] = [batches[min(start + p, len(batches) - 1)].upper() for p in range(processes)]
            assert found[process] == mine

        def compute(batch: str, own: list[str] = own) -> str:
            own.append(batch)
            return batch.upper()

        monkeypatch.setattr(torch.distributed, "get_rank", lambda process=process: process)
        monkeypatch.setattr(torch.distributed, "all_gather_object", gather)
        assert list(in_turns(torch.nn.Identity(), compute, batches)) == list("ABCDE")[:count]
    assert len({len(own) for own in seen}) == 1, "a pass takes all processes"
    assert {x for own in seen for x in own} == set(batches)


def test_a_device_map_may_place_the_policy(tiny_model: Path) -> None:
    with_map = PolicyConfig(model=str(tiny_model), device="cpu", load={"device_map": {"": "cpu"}})
    expected = Policy.load(PolicyConfig(model=str(tiny_model), device="cpu"), 1)
    assert Policy.load(with_map, 1).fingerprint() == expected.fingerprint()


def test_weights_offloaded_from_their_device_are_refused_with_the_remedy(tiny_model: Path, tmp_path: Path) -> None:
    layers = {"model.embed_tokens": "cpu", "model.layers.0": "cpu", "model.layers.1": "disk"}
    device_map = {**layers, "model.norm": "cpu", "model.rotary_emb": "cpu", "lm_head": "cpu"}
    load = {"device_map": device_map, "offload_folder": str(tmp_path)}
    with pytest.raises(ModelError, match=r"such as model\.layers\.1\..*FSDP2"):
        Policy.load(PolicyConfig(model=str(tiny_model), device="cpu", load=load), 1)


def test_gradients_of_an_offloaded_model_in_memory_are_refused() -> None:
    model = with_lora(tiny_model("llama", torch.float32))
    model.get_base_model().model.layers[0].to("meta")
    with pytest.raises(ModelError, match="lends them to the forward pass only"):
        LoraGradients(model, dimension=64, seed=0, max_tokens=60)


def test_gradients_of_a_tensor_parallel_model_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = with_lora(tiny_model("llama", torch.float32))
    assert LoraGradients(model, dimension=64, seed=0, max_tokens=60)(random_sequences(2))
    monkeypatch.setattr(model.get_base_model(), "_tp_size", 2)  # as transformers marks such a model
    with pytest.raises(ModelError, match=r"tensor parallelism.*fsdp_size.*device_map"):
        LoraGradients(model, dimension=64, seed=0, max_tokens=60)
