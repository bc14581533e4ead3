"""Training in several processes: equal to one process, whatever the weights and however the batches divide."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from trained_policies import adapter_weights, fresh, moved, responses_to

from duelist.errors import DuelistError, ModelError, RecipeError
from duelist.models.policy.config import PolicyConfig
from duelist.models.policy.policy import Policy
from duelist.progress import Advance, Progress, Silent
from duelist.trainers.decisions import ScaledDecisions
from duelist.trainers.dpo import DPO
from duelist.trainers.dpo_settings import DPOTrainerConfig
from duelist.trainers.own_share import COUNTED, OwnShare, shared_out
from duelist.types import Decision, Preference, Prompt, RankedSet

BETA, SEED = 0.5, 3
# Seven pairs in batches of three: the last batch has one, and two processes never divide a batch evenly.
TRAIN = {"num_train_epochs": 2, "learning_rate": 1e-3, "per_device_train_batch_size": 3, "logging_steps": 2}


@pytest.mark.parametrize("processes", [1, 2, 3, 8])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 8])
def test_the_mean_over_processes_is_the_mean_of_the_batch(size: int, processes: int) -> None:
    loss = np.random.default_rng(size).normal(size=size)
    means, seen = [], []
    for process in range(processes):
        rows, counted = shared_out(size, process, processes)
        assert len(rows) == len(counted) == -(-size // processes)  # processes wait for one another
        means.append(np.mean(loss[rows] * counted))
        seen += [row for row, c in zip(rows, counted, strict=True) if c > 0]
    assert sorted(seen) == list(range(size))
    assert np.mean(means) == pytest.approx(loss.mean(), abs=1e-12)


def test_a_share_is_a_batch_of_the_processs_own_rows() -> None:
    batch = OwnShare(lambda rows: {"rows": list(rows)}, 1, 2)(["a", "b", "c"])
    assert batch["rows"] == ["b", "a"]  # one of its own, and one that counts nothing
    assert batch[COUNTED].tolist() == pytest.approx([4 / 3, 0])


def pairs(policy: Policy, count: int = 7) -> list[Preference]:
    made = []
    for i in range(count):
        prompt = Prompt(f"p{i}", ({"role": "user", "content": f"w{i} w{i + 1}"},))
        chosen, rejected = responses_to(policy, prompt, [f"w{i}" + f" w{3 * i}" * (1 + i % 4), "w5 w6 w7"])
        made.append(Preference(prompt, chosen, rejected, pair_id=f"q{i}", annotator="x"))
    return made


def weighted(policy: Policy) -> list[Preference]:
    """Pairs of different weights; three of them are a judge's alone, and make no further steps."""
    return [
        replace(p, weight=0.3 + 0.4 * i, share=1 - 0.1 * (i % 3), labelled=i < 4) for i, p in enumerate(pairs(policy))
    ]


def rankings(policy: Policy) -> ScaledDecisions:
    """Rankings of two, three and four responses, of which the first counts more than the others."""
    made = []
    for i in range(5):
        prompt = Prompt(f"p{i}", ({"role": "user", "content": f"w{i}"},))
        texts = [f"w{i + j} w{7 * j % 11}" + " w2" * j for j in range(2 + i % 3)]
        ranks = tuple(range(len(texts)))
        made.append(RankedSet(prompt, responses_to(policy, prompt, texts), ranks, "ranking", f"q{i}", "x", 1 + i / 2))
    return ScaledDecisions(tuple(made), (1.0, 0.5))


class Watching(Progress):
    """Progress that writes down what is reported."""

    def __init__(self) -> None:
        self.reported: list[int] = []

    @contextmanager
    def stage(self, description: str, total: int) -> Iterator[Advance]:
        self.reported.append(total)
        yield self.reported.append

    def note(self, text: str) -> None:
        pass


def trained(policy: Policy, decisions: Any, processes: int, train: dict[str, Any] = TRAIN) -> dict[str, float]:
    config = DPOTrainerConfig(processes=processes, train=train)
    progress = Watching()
    report = DPO(config).train(policy, decisions, BETA, SEED, progress)
    assert progress.reported == [report["optimizer_steps"], *[1] * int(report["optimizer_steps"])]
    return dict(report)


@pytest.mark.full
@pytest.mark.parametrize("decisions", [pairs, weighted, rankings])
def test_two_processes_equal_one(tiny_model: Path, tmp_path: Path, decisions: Any) -> None:
    alone, together = moved(tiny_model), moved(tiny_model)
    before = adapter_weights(alone)
    alone.save_weights(tmp_path)
    if decisions is weighted:  # against a reference that is an adapter of its own
        alone.set_reference(tmp_path)
        together.set_reference(tmp_path)
    expected = trained(alone, decisions(alone), 1)
    found = trained(together, decisions(alone), 2)
    assert found == pytest.approx(expected, abs=1e-6)
    for name, weights in adapter_weights(alone).items():
        assert torch.allclose(adapter_weights(together)[name], weights, rtol=0, atol=1e-6), name
    assert any((weights - before[n]).abs().max() > 1e-4 for n, weights in adapter_weights(alone).items())


@pytest.mark.full
def test_two_processes_that_share_the_weights_equal_one(tiny_model: Path) -> None:
    alone, together = moved(tiny_model), moved(tiny_model)
    expected = trained(alone, pairs(alone), 1)
    found = dict(
        DPO(DPOTrainerConfig(processes=2, sharded=True, train=TRAIN)).train(
            together, pairs(alone), BETA, SEED, Silent()
        )
    )
    assert found == pytest.approx(expected, abs=1e-6)
    for name, weights in adapter_weights(alone).items():
        assert torch.allclose(adapter_weights(together)[name], weights, rtol=0, atol=1e-6), name
