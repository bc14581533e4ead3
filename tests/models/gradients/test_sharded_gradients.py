"""Features of models that are sharded over two processes, against those of one process."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from sharded_process import FAMILIES, TARGETS, features

from launching import in_two_processes
from tiny_models import tiny_model, with_lora


@pytest.fixture(scope="module")
def computed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which two processes wrote what they computed."""
    folder = tmp_path_factory.mktemp("sharded")
    for family in FAMILIES:
        tiny_model(family, torch.float32).save_pretrained(folder / family)
    in_two_processes(Path(__file__).with_name("sharded_process.py"), folder)
    return folder


@pytest.mark.full
@pytest.mark.parametrize(("family", "how"), [*product(FAMILIES, ("loaded", "wrapped")), ("llama", "at-once")])
def test_features_of_two_processes_are_those_of_one(computed: Path, family: str, how: str) -> None:
    expected = features(with_lora(tiny_model(family, torch.float32), target_modules=TARGETS))
    norm = np.linalg.norm(expected["gradients"], axis=1).max()
    for rank in range(2):
        with np.load(computed / f"{family}-{how}-{rank}.npz") as found:
            for name in ("gradients", "turns"):
                np.testing.assert_allclose(found[name] / norm, expected["gradients"] / norm, rtol=0, atol=1e-6)
            for name in ("log_probs", "reference"):
                np.testing.assert_allclose(found[name], expected[name], rtol=1e-6)


@pytest.mark.full
def test_a_tensor_parallel_model_is_refused_with_the_remedy(computed: Path) -> None:
    for rank in range(2):
        assert "fsdp_size" in (computed / f"refused-{rank}.txt").read_text(encoding="utf-8")
