"""A model that another process reads must be the one of this process."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from duelist.errors import ModelError
from duelist.judges.config import JudgeConfig
from duelist.judges.language_model import read_judge
from duelist.models.policy.fixed_model import FixedModel, fingerprint


def source_of(folder: Path) -> FixedModel:
    return FixedModel(read_judge, JudgeConfig(model=str(folder), device="cpu"), "the judge")


def sent(source: FixedModel) -> FixedModel:
    found = pickle.loads(pickle.dumps(source))
    assert isinstance(found, FixedModel)
    return found


def test_each_process_loads_a_fixed_model_once(tiny_model: Path) -> None:
    source = source_of(tiny_model)
    assert source.load(None) is source.here is source.load(None)
    there = sent(source)
    assert "here" not in vars(there) and there == sent(source) == sent(there)  # workers do not load an equal one again
    assert there.kind == source.kind and there.kind != source_of(tiny_model / "..").kind
    assert there.expected is not None and there.expected.threads == torch.get_num_threads()
    found = there.load(None)
    assert found is not source.here and fingerprint(found) == source.fingerprint
    assert not found.training


def test_another_model_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    model.save_pretrained(tmp_path)
    there = sent(source_of(tmp_path))
    with torch.no_grad():
        model.lm_head.weight[0, 0] += 1e-3
    model.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"read the judge has the fingerprint .* give all machines the same model"):
        there.load(None)
    assert there.expected is not None
    with pytest.raises(ModelError, match=r"has cpu: set `engine.gpus`, or `device` to cpu"):
        replace(there, expected=replace(there.expected, device="cuda")).load(None)
