"""The engine `sharded`: two processes that each hold a part of the policy, against one process."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sharded_work import Holding, KilledOnce, Refusing

from duelist.engines.base import InMemory
from duelist.engines.launcher import Failure
from duelist.engines.sharded import Sharded, ShardedConfig
from duelist.errors import EngineError, NumericalError, RecipeError
from duelist.models.policy.config import PolicyConfig
from duelist.models.policy.kept import KeptPolicy
from duelist.models.policy.policy import Policy
from duelist.preflight.examination import examine
from duelist.progress import Silent
from duelist.recipe.reading import parse_recipe
from duelist.study.study import Study
from duelist.testing import check_engine

slow = pytest.mark.timeout(1200)  # each start of processes imports the libraries in both
TWO = ShardedConfig(processes=2, retries=1)


class Notes(Silent):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def kept(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> KeptPolicy:
    """A policy with an adapter; processes find the modules of these tests."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), *sys.path]))
    lora = {"r": 2, "target_modules": ["q_proj", "v_proj"]}
    config = PolicyConfig(model=str(tiny_model), device="cpu", lora=lora, load={"device_map": {"": "cpu"}})
    return KeptPolicy(config, 3, None, None, torch.get_num_threads(), Policy.load(config, 3))


def test_what_cannot_be_shared_is_computed_here(kept: KeptPolicy) -> None:
    check_engine(Sharded(TWO))
    assert kept.here is not None
    whole = len(list(kept.here.model.parameters()))
    for source in (InMemory(kept.here), replace(kept, config=kept.config.model_copy(update={"adapter": "none"}))):
        assert list(Sharded(TWO).map(source, Holding(), [1], Silent())) == [(1, 0, whole)]
    there = kept.sharded(2)
    assert there is not None and there[0].config.load == {"distributed_config": {"fsdp_size": 2}} and there[1] == "cpu"


def test_more_processes_than_gpus_are_refused(kept: KeptPolicy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(RecipeError, match=r"`engine\.processes` needs a GPU for each process"):
        replace(kept, here=None, device="cuda").sharded(2)


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"online": True}, "online.*engine to local"), ({"policy": {"adapter": "none"}}, r"policy\.adapter.*to lora")],
)
def test_recipes_that_cannot_use_it_are_refused(
    changes: dict[str, Any], words: str, tiny_recipe: dict[str, Any]
) -> None:
    if "policy" in changes:
        changes = {"policy": {"model": tiny_recipe["policy"]["model"], "adapter": "none"}}
        changes |= {"acquisition": "margin", "featurizers": {"margin": {}}}
    with pytest.raises(RecipeError, match=words):
        examine(parse_recipe({**tiny_recipe, **changes, "engine": {"name": "sharded"}}))


@slow
@pytest.mark.full
def test_each_process_holds_a_part_and_a_killed_one_costs_a_start(kept: KeptPolicy, tmp_path: Path) -> None:
    engine, told = Sharded(TWO), Notes()
    assert kept.here is not None
    names = [name for name, _ in kept.here.model.named_parameters()]
    adapter = sum("lora_" in name for name in names)
    expected = [(batch, len(names) - adapter, adapter) for batch in range(5)]
    assert list(engine.map(kept, Holding(), list(range(5)), told)) == expected
    assert not told.notes
    task = KilledOnce(tmp_path / "flag", at=3)
    assert list(engine.map(kept, task, list(range(6)), told)) == [0, 1, 4, 9, 16, 25]
    assert len(told.notes) == 1 and "start again" in told.notes[0]


@slow
@pytest.mark.full
def test_errors_of_the_processes_arrive(kept: KeptPolicy) -> None:
    with pytest.raises(NumericalError, match=r"There must be no batch\."):
        list(Sharded(TWO).map(kept, Refusing(own=True), [1, 2], Silent()))
    with pytest.raises(EngineError, match=r"ended 1 times without a new one\. process \d: OSError: a hiccup"):
        list(Sharded(ShardedConfig(processes=2, retries=0)).map(kept, Refusing(own=False), [1, 2], Silent()))


@slow
@pytest.mark.full
def test_a_study_s_gradients_and_picks_are_those_of_one_process(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    tiny_recipe |= {"rounds": 1, "featurizers": {"gradient": {"dimension": 512, "max_tokens": 60}, "margin": {}}}
    found: list[dict[str, Any]] = []
    for name, engine in (("alone", "local"), ("together", {"name": "sharded", "processes": 2})):
        with Study.create(tmp_path / name, parse_recipe({**tiny_recipe, "engine": engine})) as study:
            stages = study.stages
            stages.measure_initial_model()
            candidates = stages.pair(1, stages.sample(1, stages.prompts(1)), [])
            features = stages.featurize(1, candidates, [])
            study.run()
            picks = [(x.question.id, x.score, x.margin) for x in study.store.asked(1)]
            found.append({"gradient": features.gradient_ND, "picks": picks, "metrics": study.store.metrics()[-1]})
    alone, together = found
    scale = np.abs(alone["gradient"]).max()
    np.testing.assert_allclose(together["gradient"] / scale, alone["gradient"] / scale, rtol=0, atol=1e-6)
    assert [x[0] for x in together["picks"]] == [x[0] for x in alone["picks"]]
    for of_one, of_two in zip(alone["picks"], together["picks"], strict=True):
        assert of_two[1:] == pytest.approx(of_one[1:], rel=1e-5, abs=1e-6)
    assert together["metrics"]["win_rate"] == pytest.approx(alone["metrics"]["win_rate"])


def test_more_processes_than_gpus_are_refused_before_the_study(
    tiny_recipe: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("duelist.study.components._is_on_cpu", lambda policy, lookups: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(RecipeError, match=r"`engine\.processes` needs a GPU for each process, but it is 2"):
        examine(parse_recipe({**tiny_recipe, "engine": {"name": "sharded"}}))


@pytest.mark.parametrize(
    ("retries", "given", "message"),
    [
        (0, [1, 1, 1, 0], "ended 1 times without a new one"),
        (1, [0, 1, 0, 0], "ended 2 times without a new one"),
        (1, [0, 2, 0, 1, 1], None),
    ],
)
def test_only_starts_without_a_new_result_count(
    kept: KeptPolicy, monkeypatch: pytest.MonkeyPatch, retries: int, given: list[int], message: str | None
) -> None:
    """Starts of processes that give some results each and end."""
    starts = iter(given)

    def some(self: Sharded, folder: Path, job: tuple[Any, Any, list[int]], device: str) -> Iterator[int]:
        yield from job[2][: next(starts)]

    monkeypatch.setattr(Sharded, "_results", some)
    monkeypatch.setattr("duelist.engines.sharded.failure_of", lambda folder, processes: Failure("killed"))
    found, told = [], Notes()
    with nullcontext() if message is None else pytest.raises(EngineError, match=message):
        for result in Sharded(ShardedConfig(retries=retries)).map(kept, Holding(), [1, 2, 3, 4], told):
            found.append(result)
    assert found == [1, 2, 3, 4][: sum(given)] and next(starts, None) is None
    assert len(told.notes) == len(given) - 1
