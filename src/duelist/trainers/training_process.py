"""One process of a training in several; torch's launcher starts it with a job's folder (see `processes`).

The first process reports on standard output, a line each: the number of optimizer steps, and then the steps done. It
writes the trained weights and the numbers to report into the folder.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, final

from duelist.engines.launcher import process_of
from duelist.errors import DuelistError, ModelError
from duelist.progress import Advance, Progress, Silent, quiet_libraries
from duelist.trainers.training_job import REPORT, WEIGHTS, TrainingJob


def main(folder: Path) -> None:
    """Train this process's share of the job in `folder`.

    Raises:
        DuelistError: whatever the training raises; its message is in the folder.
    """
    with process_of(folder) as (rank, report):
        quiet_libraries()
        _train(TrainingJob.read(folder), folder, _Reported(report) if rank == 0 else Silent())


def _train(job: TrainingJob, folder: Path, progress: Progress) -> None:
    import torch
    from torch import distributed

    from duelist.models.policy.loading import load_in_processes
    from duelist.models.policy.policy import Policy
    from duelist.models.policy.process_state import torch_threads
    from duelist.models.policy.sharding import is_sharded
    from duelist.trainers.decisions import ScaledDecisions
    from duelist.trainers.dpo import DPO

    local, processes = int(os.environ["LOCAL_RANK"]), job.trainer.processes
    device = "cpu" if job.device == "cpu" else f"cuda:{local}"
    load = load_in_processes(job.policy, processes if job.trainer.sharded else None)
    with torch_threads(job.threads):
        policy = Policy.load(job.policy.model_copy(update={"device": device, "load": load}), seed=0)
        if is_sharded(policy.model) != job.trainer.sharded:
            raise ModelError(
                f"`trainer.sharded` is {job.trainer.sharded}, and the weights must be so in every process, but those "
                f"of {policy.name} are not: remove what places them from `policy.load`, or change `sharded`."
            )
        for name, parameter in policy.model.named_parameters():
            parameter.requires_grad_(name in job.trained)
        policy.set_reference(job.reference)
        decisions = ScaledDecisions(job.decisions, job.scales)
        report = dict(DPO(job.trainer).train_here(policy, decisions, job.beta, job.seed, progress))
    if distributed.get_world_size() != processes:
        raise DuelistError(f"{processes} processes must train together, but {distributed.get_world_size()} did.")
    loss = torch.tensor(report["train_loss"], dtype=torch.float64, device=device)
    distributed.all_reduce(loss)  # the loss since TRL last logged is each process's own
    report["train_loss"] = float(loss) / processes
    if distributed.get_rank() == 0:
        (folder / WEIGHTS).mkdir()
        policy.save_weights(folder / WEIGHTS)
        (folder / REPORT).write_text(json.dumps(report), encoding="utf-8")
    distributed.barrier()
    distributed.destroy_process_group()


@final
class _Reported(Progress):
    """Progress of the one stage that a training has, written as numbers."""

    def __init__(self, lines: IO[str]) -> None:
        self._lines = lines

    @contextmanager
    def stage(self, description: str, total: int) -> Iterator[Advance]:
        print(total, file=self._lines)
        yield lambda steps: print(steps, file=self._lines)

    def note(self, text: str) -> None:
        pass


if __name__ == "__main__":
    main(Path(sys.argv[1]))
