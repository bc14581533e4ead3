"""A policy that another process reads must be the one in memory."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from duelist.errors import ModelError
from duelist.models.policy.config import PolicyConfig
from duelist.models.policy.kept import KeptPolicy
from duelist.models.policy.policy import Policy


@pytest.fixture
def kept(tiny_model: Path, tmp_path: Path) -> KeptPolicy:
    """A policy whose adapter was changed and saved."""
    config = PolicyConfig(model=str(tiny_model), lora={"r": 2, "target_modules": "all-linear"})
    policy = Policy.load(config, seed=3)
    for name, parameter in policy.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(0))
    policy.save_weights(tmp_path)
    return KeptPolicy(config, 3, tmp_path, None, torch.get_num_threads(), policy)


def sent(kept: KeptPolicy) -> KeptPolicy:
    found = pickle.loads(pickle.dumps(kept))
    assert isinstance(found, KeptPolicy)
    return found


def test_the_policy_in_memory_serves_this_process_and_its_twin_another(kept: KeptPolicy) -> None:
    assert kept.here is not None and kept.load(None) is kept.here
    there = sent(kept)
    assert there.here is None and there == sent(kept)  # workers do not load an equal one again
    first = there.load(None)
    assert first is not kept.here and first.fingerprint() == kept.here.fingerprint()
    for parameter in (p for name, p in first.model.named_parameters() if "lora_" in name):
        parameter.data.zero_()
    assert there.load(first) is first  # the weights of a round are read into the model that is held
    assert first.fingerprint() == kept.here.fingerprint()
    assert sent(there).fingerprint == there.fingerprint


def test_the_base_model_is_read_whatever_was_trained(kept: KeptPolicy) -> None:
    assert kept.here is not None
    there, whole = sent(kept.of_base()), sent(kept)
    held = there.load(whole.load(None))
    assert there.kind == whole.kind and held.reference_folder is None
    assert held.fingerprint(trained=False) == kept.here.fingerprint(trained=False)
    for parameter in (p for name, p in kept.here.model.named_parameters() if "lora_" in name):
        parameter.data.zero_()
    assert sent(kept.of_base()) == there != sent(kept)


def test_a_base_model_with_another_configuration_is_refused(kept: KeptPolicy) -> None:
    assert kept.here is not None
    there = sent(kept.of_base())
    held = there.load(None)
    held.model.config.rms_norm_eps *= 2  # the weights are the same
    with pytest.raises(ModelError, match=r"fingerprint .* give all machines the same model"):
        there.load(held)


def test_another_policy_is_refused(kept: KeptPolicy) -> None:
    assert kept.here is not None
    there = sent(kept)
    with pytest.raises(ModelError, match=r"fingerprint .* give all machines the same model"):
        replace(there, weights=None).load(None)  # a fresh adapter
    with pytest.raises(ModelError, match=r"has cpu: set `engine.gpus`"):
        replace(there, device="cuda").load(None)
    kept.here.save_weights(Path(str(kept.weights)))
    assert there.load(None).fingerprint() == there.fingerprint
