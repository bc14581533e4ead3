"""Training in several processes of this machine, started by the study for each training.

The study stays one process: it owns the folder, the record and the policy. A training is handed over as a folder with
the weights to start from and the data, to processes that torch's launcher starts, and comes back as trained weights. So
the loop knows nothing of processes, and a kill costs a training, as it does in one process. See
docs/adr/0012-several-processes.md.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

import torch

from duelist.errors import DuelistError, ModelError, RecipeError
from duelist.progress import Progress
from duelist.trainers.decisions import scales_of
from duelist.trainers.dpo_settings import DPOTrainerConfig
from duelist.trainers.training_job import FAILURE, REPORT, WEIGHTS, TrainingJob
from duelist.types import Decision

if TYPE_CHECKING:
    from duelist.models.policy.policy import Policy

_LOG_LINES = 15  # of the processes' output, shown if they end without a message of their own


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
    require_devices(policy.device.type, config.processes)
    with tempfile.TemporaryDirectory(prefix="duelist-training-") as scratch:
        folder = Path(scratch)  # mkdtemp's: only this user can read it
        _job(config, policy, decisions, beta, seed, folder).write(folder)
        _run(folder, config.processes, progress)
        policy.load_weights(folder / WEIGHTS)
        report: dict[str, float] = json.loads((folder / REPORT).read_text(encoding="utf-8"))
    return report


def require_devices(kind: str, processes: int) -> None:
    """Require a GPU for each process, unless they train on the CPU.

    Raises:
        RecipeError: if there are fewer.
    """
    if kind != "cpu" and torch.cuda.device_count() < processes:
        raise RecipeError(
            f"`trainer.processes` needs a GPU for each process, but it is {processes} and this machine has "
            f"{torch.cuda.device_count()}: lower it, or set `policy.device: cpu`."
        )


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


def _run(folder: Path, processes: int, progress: Progress) -> None:
    """Run the job in `folder`, and show its steps.

    Raises:
        DuelistError: if a process fails.
    """
    with (folder / "log.txt").open("w+", encoding="utf-8", errors="replace") as log:
        with _started(folder, processes, log) as process, ExitStack() as stage:
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
            raise DuelistError(_failure(folder, processes, log))


@contextmanager
def _started(folder: Path, processes: int, log: IO[str]) -> Iterator[subprocess.Popen[str]]:
    """Start the processes of a job, and end them if they are still running when the block ends.

    They also end when this process does, even by `kill -9`: their standard input is closed then.
    """
    launcher = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={processes}", "--max-restarts=0"]
    address = ["--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:0", "--local-addr=127.0.0.1"]  # port 0: any free one
    command = [*launcher, *address, "-m", "duelist.trainers.training_process", str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    if sys.platform == "linux":
        environment.setdefault("GLOO_SOCKET_IFNAME", "lo")
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=log, text=True, env=environment) as process:
        try:
            yield process
        finally:
            process.terminate()  # the launcher ends its processes


def _failure(folder: Path, processes: int, log: IO[str]) -> str:
    told = [(i, folder / FAILURE.format(i)) for i in range(processes)]
    found = [(path.stat().st_mtime_ns, i, path) for i, path in told if path.is_file()]
    if found:
        _, i, path = min(found)  # the first to fail knows why; others then wait for it in vain
        reason = f"process {i}: {path.read_text(encoding='utf-8')}"
    else:
        log.seek(0)
        reason = "none of them said why. The last lines of their output:\n" + "".join(log.readlines()[-_LOG_LINES:])
    return f"Training in {processes} processes must end without an error, but it did not. {reason}"
