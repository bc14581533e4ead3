"""Training in several processes: equal to one process, whatever the weights and however the batches divide."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from trained_policies import adapter_weights, fresh, moved, responses_to

from duelist.engines.launcher import require_devices
from duelist.errors import DuelistError, ModelError, RecipeError
from duelist.models.policy.config import PolicyConfig
from duelist.models.policy.policy import Policy
from duelist.preflight.examination import examine
from duelist.progress import Advance, Progress, Silent
from duelist.recipe.reading import parse_recipe
from duelist.trainers.decisions import ScaledDecisions
from duelist.trainers.dpo import DPO
from duelist.trainers.dpo_settings import DPOTrainerConfig
from duelist.trainers.own_share import COUNTED, OwnShare, shared_out
from duelist.types import Preference, Prompt, RankedSet

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


def trained(policy: Policy, decisions: Any, **settings: Any) -> dict[str, float]:
    config = DPOTrainerConfig.model_validate({"train": TRAIN, **settings})
    progress = Watching()
    report = DPO(config).train(policy, decisions, BETA, SEED, progress)
    assert progress.reported == [report["optimizer_steps"], *[1] * int(report["optimizer_steps"])]
    return dict(report)


def require_equal(found: Policy, expected: Policy, before: dict[str, torch.Tensor]) -> None:
    weights = dict(found.model.named_parameters())
    moved_by = 0.0
    for name, parameter in expected.model.named_parameters():
        assert torch.allclose(weights[name], parameter, rtol=0, atol=1e-6), name
        moved_by = max(moved_by, float((parameter.detach() - before[name]).abs().max()))
    assert moved_by > 1e-4


@pytest.mark.full
@pytest.mark.parametrize(
    ("decisions", "settings"),
    [
        (pairs, {}),
        (weighted, {}),
        (rankings, {}),
        (pairs, {"sharded": True, "train": {**TRAIN, "gradient_checkpointing": True}}),
        (weighted, {"sharded": True}),
    ],
    ids=["pairs", "weighted", "rankings", "sharded", "sharded and weighted"],
)
def test_two_processes_equal_one(tiny_model: Path, tmp_path: Path, decisions: Any, settings: Any) -> None:
    alone, together = moved(tiny_model), moved(tiny_model)
    alone.save_weights(tmp_path)
    for policy in (alone, together):
        for name, parameter in policy.model.named_parameters():
            if "layers.0" in name and "lora_A" in name:
                parameter.requires_grad_(False)  # it stays as it is, in every process
        if decisions is weighted:  # against a reference that is an adapter of its own
            policy.set_reference(tmp_path)
    before = {name: parameter.detach().clone() for name, parameter in alone.model.named_parameters()}
    expected = trained(alone, decisions(alone))
    found = trained(together, decisions(alone), processes=2, **settings)
    assert found == pytest.approx(expected, abs=1e-6)
    require_equal(together, alone, before)


@pytest.mark.full
def test_two_processes_that_train_all_parameters_equal_one(tiny_model: Path) -> None:
    config = PolicyConfig(model=str(tiny_model), adapter="none", device="cpu")
    alone, together = Policy.load(config, 1), Policy.load(config, 1)
    before = {name: parameter.detach().clone() for name, parameter in alone.model.named_parameters()}
    expected = trained(alone, pairs(alone))
    assert trained(together, pairs(alone), processes=2) == pytest.approx(expected, abs=1e-6)
    require_equal(together, alone, before)


@pytest.mark.full
def test_the_error_of_a_process_is_the_trainings(tiny_model: Path, tmp_path: Path) -> None:
    policy = moved(tiny_model)
    policy.save_weights(tmp_path)
    policy.set_reference(tmp_path)
    before = adapter_weights(policy)
    shutil.rmtree(tmp_path)  # so that no process finds the reference
    with pytest.raises(DuelistError, match=r"Training in 2 processes .* process \d: .*adapter_config\.json"):
        trained(policy, pairs(policy), processes=2)
    assert all(torch.equal(weights, before[name]) for name, weights in adapter_weights(policy).items())


@pytest.mark.full
def test_the_processes_of_a_killed_study_end(tiny_model: Path) -> None:
    """Kill -9 the process that started them after their first step, of too many to finish."""
    program = (
        f"import sys; sys.path[:0] = {[str(Path(__file__).parent), str(Path(__file__).parents[1])]!r}\n"
        "from pathlib import Path\n"
        "from test_processes import TRAIN, Printing, moved, pairs\n"
        "from duelist.trainers.dpo import DPO\n"
        "from duelist.trainers.dpo_settings import DPOTrainerConfig\n"
        f"policy = moved(Path({str(tiny_model)!r}))\n"
        "config = DPOTrainerConfig(processes=2, train={**TRAIN, 'num_train_epochs': 100_000})\n"
        "DPO(config).train(policy, pairs(policy), 0.5, 0, Printing())\n"
    )
    study = psutil.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    try:
        assert study.stdout.readline().strip() == b"a step"
        started = study.children(recursive=True)
        assert len(started) >= 3  # the launcher and two processes
    finally:
        study.kill()
        study.communicate()
    _, alive = psutil.wait_procs(started, timeout=120)
    assert not alive


class Printing(Progress):
    """Progress that prints a line for each step."""

    @contextmanager
    def stage(self, description: str, total: int) -> Iterator[Advance]:
        yield lambda steps: print("a step", flush=True)  # noqa: T201

    def note(self, text: str) -> None:
        pass


def test_a_process_ends_when_its_standard_input_is_closed(tmp_path: Path) -> None:
    program = (
        "import sys, threading; from duelist.engines.launcher import end_with_parent as end\n"
        "threading.Thread(target=end, args=(sys.argv[1],)).start(); print('started', flush=True)\n"
        "threading.Event().wait()"
    )
    pipe, folder = subprocess.PIPE, tmp_path / "job"
    folder.mkdir()
    (folder / "weights").touch()
    with subprocess.Popen([sys.executable, "-c", program, str(folder)], stdin=pipe, stdout=pipe) as process:
        assert process.stdout and process.stdout.readline().strip() == b"started"
        process.communicate()  # closes its standard input
    assert process.returncode == 1 and not folder.exists()


def test_a_policy_in_memory_cannot_be_trained_in_processes(tiny_model: Path) -> None:
    policy = fresh(tiny_model)
    in_memory = Policy.of(policy.model, policy.tokenizer)
    with pytest.raises(ModelError, match=r"`trainer\.processes` is 2.*load it with `Policy\.load`"):
        DPO(DPOTrainerConfig(processes=2)).train(in_memory, pairs(policy, 2), BETA, SEED, Silent())


def test_each_process_on_gpus_needs_one(monkeypatch: pytest.MonkeyPatch) -> None:
    require_devices("cpu", 100, "trainer.processes")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    require_devices("cuda", 2, "trainer.processes")
    with pytest.raises(RecipeError, match=r"`trainer\.processes` .* it is 3 and this machine has 2"):
        require_devices("cuda", 3, "trainer.processes")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"trainer": {"sharded": True}}, "`sharded` divides the policy among `processes`, but there is 1"),
        ({"trainer": {"processes": 0}}, "processes"),
        ({"trainer": {"processes": 2, "train": {"loss_type": "ipo"}}}, "need TRL's sigmoid loss"),
        (
            {"trainer": {"processes": 2, "train": {"train_sampling_strategy": "batch_rebalance"}}},
            r"`train\.train_sampling_strategy` is 'batch_rebalance'.*remove it",
        ),
        ({"trainer": {"processes": 2, "train": {"fsdp": True}}}, r"trainer\.sharded"),
        ({"trainer": {"processes": 2, "sharded": True}, "policy": {"adapter": "none"}}, "train an adapter"),
        ({"trainer": {"processes": 2}, "online": True}, "`online: true` takes single steps in the study's own process"),
    ],
)
def test_what_several_processes_cannot_do_is_refused_early(
    tiny_recipe: dict[str, Any], change: dict[str, Any], words: str
) -> None:
    policy = {"model": tiny_recipe["policy"]["model"], "device": "cpu", **change.get("policy", {})}
    own = {"accumulate": "round", "restart": "continue"} if change.get("online") else {}
    margins = {"acquisition": "margin", "featurizers": {"margin": {}}}
    content = {
        **tiny_recipe,
        **margins,
        **change,
        "policy": policy,
        "trainer": {"name": "dpo", **own, **change["trainer"]},
    }
    with pytest.raises(RecipeError, match=words):
        examine(parse_recipe(content))
