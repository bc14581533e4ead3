"""Training in several processes of this machine, started by the study for each training.

The study stays one process: it owns the folder, the record and the policy. A training is handed over as a folder with
the weights to start from and the data, to processes that torch's launcher starts, and comes back as trained weights. So
the loop knows nothing of processes, and a kill costs a training, as it does in one process. See
docs/adr/0012-several-processes.md.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from duelist.engines.launcher import failure_of, require_devices, started
from duelist.errors import DuelistError, ModelError
from duelist.progress import Progress
from duelist.trainers.decisions import scales_of
from duelist.trainers.dpo_settings import DPOTrainerConfig
from duelist.trainers.training_job import REPORT, WEIGHTS, TrainingJob
from duelist.types import Decision

if TYPE_CHECKING:
    from duelist.models.policy.policy import Policy

MODULE = "duelist.trainers.training_process"


def train_in_processes(
    config: DPOTrainerConfig,
    policy: Policy,
    decisions: Sequence[Decision],
    beta: float,
    seed: int,
    progress: Progress,
) -> Mapping[str, float]:
    """Train `policy` in place, in `config.processes` processes. Arguments and result are those of `Trainer.train`.

    Raises:
        ModelError: if the policy was not loaded from a folder or the Hub, so that other processes cannot load it.
        RecipeError: if the policy's device has no room for the processes.
        DuelistError: if a process fails; the message has the reason.
    """
    require_devices(policy.device.type, config.processes, "trainer.processes")
    with tempfile.TemporaryDirectory(prefix="duelist-training-") as scratch:
        folder = Path(scratch)  # mkdtemp's: only this user can read it
        _job(config, policy, decisions, beta, seed, folder).write(folder)
        _run(folder, config.processes, policy.device.type, progress)
        policy.load_weights(folder / WEIGHTS)
        report: dict[str, float] = json.loads((folder / REPORT).read_text(encoding="utf-8"))
    return report


def _job(
    config: DPOTrainerConfig, policy: Policy, decisions: Sequence[Decision], beta: float, seed: int, folder: Path
) -> TrainingJob:
    if policy.config is None:
        raise ModelError(
            f"`trainer.processes` is {config.processes}, and each process loads the policy, but {policy.name} is in "
            "memory: load it with `Policy.load`, or train it in one process."
        )
    start = folder / "start"
    start.mkdir()
    policy.save_weights(start)
    key = "initial_adapter" if policy.config.adapter == "lora" else "initial_model"
    return TrainingJob(
        config,
        policy.config.model_copy(update={key: str(start)}),
        policy.device.type,
        frozenset(name for name, parameter in policy.model.named_parameters() if parameter.requires_grad),
        None if policy.reference_folder is None else policy.reference_folder.absolute(),
        tuple(decisions),
        scales_of(decisions),
        beta,
        seed,
        torch.get_num_threads(),
    )


def _run(folder: Path, processes: int, device: str, progress: Progress) -> None:
    """Run the job in `folder`, and show its steps.

    Raises:
        DuelistError: if a process fails.
    """
    with started(MODULE, folder, processes, torch.get_num_threads(), device) as process, ExitStack() as stage:
        assert process.stdout is not None  # a pipe
        advance = None
        for line in process.stdout:  # to the end of all processes
            if not line.strip().isdigit():  # the launcher's own
                continue
            if advance is None:
                advance = stage.enter_context(progress.stage("Training", int(line)))
            else:
                advance(int(line))
        failed = process.wait() != 0
    if failed:
        reason = failure_of(folder, processes).reason
        raise DuelistError(f"Training in {processes} processes must end without an error, but it did not. {reason}")
