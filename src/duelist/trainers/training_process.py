"""One process of a training in several; torch's launcher starts it with a job's folder (see `processes`).

The first process reports on standard output, a line each: the number of optimizer steps, and then the steps done. It
writes the trained weights and the numbers to report into the folder.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, final

from duelist.errors import DuelistError, described
from duelist.progress import Advance, Progress, Silent, quiet_libraries
from duelist.trainers.training_job import FAILURE, REPORT, WEIGHTS, TrainingJob


def main(folder: Path) -> None:
    """Train this process's share of the job in `folder`.

    Raises:
        DuelistError: whatever the training raises; its message is in the folder.
    """
    threading.Thread(target=_end_with_study, daemon=True).start()
    steps = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)  # whatever libraries print is no report
    rank = int(os.environ["RANK"])
    try:
        quiet_libraries()
        _train(TrainingJob.read(folder), folder, _Reported(steps) if rank == 0 else Silent())
    except BaseException as error:
        message = str(error) if isinstance(error, DuelistError) else described(error)
        (folder / FAILURE.format(rank)).write_text(message, encoding="utf-8")
        raise


def _train(job: TrainingJob, folder: Path, progress: Progress) -> None:
    import torch
    from torch import distributed

    from duelist.models.policy.policy import Policy
    from duelist.models.policy.process_state import torch_threads
    from duelist.trainers.decisions import ScaledDecisions
    from duelist.trainers.dpo import DPO

    local = int(os.environ["LOCAL_RANK"])
    if job.device != "cpu":
        torch.cuda.set_device(local)
    # A model to be sharded must not be on one device as a whole, not even for a moment.
    device = "cpu" if job.trainer.sharded or job.device == "cpu" else f"cuda:{local}"
    with torch_threads(job.threads):
        policy = Policy.load(job.policy.model_copy(update={"device": device}), seed=0)
        for name, parameter in policy.model.named_parameters():
            parameter.requires_grad_(name in job.trained)
        policy.set_reference(job.reference)
        decisions = ScaledDecisions(job.decisions, job.scales)
        report = dict(DPO(job.trainer).train_here(policy, decisions, job.beta, job.seed, progress))
    if distributed.get_world_size() != job.trainer.processes:
        raise DuelistError(
            f"{job.trainer.processes} processes must train together, but {distributed.get_world_size()} did."
        )
    loss = torch.tensor(report["train_loss"], device=device if job.device == "cpu" else f"cuda:{local}")
    distributed.all_reduce(loss)  # the loss since TRL last logged is each process's own
    report["train_loss"] = float(loss) / job.trainer.processes
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


def _end_with_study() -> None:
    """End this process when the study's process has ended: it holds the other end of standard input."""
    os.read(0, 1)  # nothing is ever written to it
    os._exit(1)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
