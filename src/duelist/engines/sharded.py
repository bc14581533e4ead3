"""Processes of this machine that each hold a part of the policy (FSDP2), for one map at a time.

Reference: Zhao et al., "PyTorch FSDP: Experiences on Scaling Fully Sharded Data Parallel", VLDB 2023.
"""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, final

from pydantic import BaseModel, ConfigDict, Field

from duelist.engines.base import Batch, Engine, Held, Result, Source
from duelist.engines.launcher import failure_of, require_devices, started
from duelist.engines.local import Local
from duelist.errors import EngineError, RecipeError
from duelist.progress import Progress
from duelist.settings.context import Context

MODULE = "duelist.models.policy.sharded_process"  # what each process runs
JOB = "job.pickle"  # source, task and batches
RESULT = "result-{}.pickle"  # of a batch, by its number


class ShardedConfig(BaseModel):
    """Settings of the engine `sharded`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    processes: int = Field(default=2, ge=2, description="Number of processes; each holds a part of the base model.")
    retries: int = Field(default=2, ge=0, description="Further starts of processes that ended without a new result.")


@final
class Sharded(Engine):
    """Log-probabilities and gradients by processes that each hold a part of the policy; the rest by the study's own.

    The processes are started for each map, as for a training in several processes, and compute a batch each in every
    turn. A task takes part if it passes through the model as often for any batch, and says so (`one_pass = True`):
    otherwise processes would wait for one another in vain.
    """

    def __init__(self, config: ShardedConfig) -> None:
        self.config = config

    def check(self, context: Context) -> None:
        if context.online:
            raise RecipeError(
                "Processes read the policy from the study's folder, where an online study keeps it at checkpoints "
                "only, but the recipe has `online: true` and `engine: sharded`: set the engine to local."
            )
        if context.adapter != "lora":
            raise RecipeError(
                "`engine: sharded` divides the base model of a policy with a LoRA adapter, but this recipe has none: "
                "set `policy.adapter` to lora, or the engine to local."
            )
        if context.lookups.may_import("`engine.processes`"):
            require_devices("cpu" if context.on_cpu else "cuda", self.config.processes, "engine.processes")

    def map(
        self,
        source: Source[Held],
        task: Callable[[Held, Batch], Result],
        batches: Sequence[Batch],
        progress: Progress,
    ) -> Iterator[Result]:
        divided = source.sharded(self.config.processes) if getattr(task, "one_pass", False) else None
        if divided is None:
            yield from Local().map(source, task, batches, progress)
            return
        (shards, device), done, failures = divided, 0, 0
        while done < len(batches):
            before = done
            with tempfile.TemporaryDirectory(prefix="duelist-sharded-") as scratch:
                folder = Path(scratch)  # mkdtemp's: only this user can read it
                for result in self._results(folder, (shards, task, batches[done:]), device):
                    done += 1
                    yield result
                if done == len(batches):
                    return
                failure = failure_of(folder, self.config.processes)
            if failure.error is not None:
                raise failure.error
            failures = 0 if done > before else failures + 1
            if failures > self.config.retries:
                raise EngineError(
                    f"{self.config.processes} processes must compute every batch, but they ended {failures} times "
                    f"without a new one. {failure.reason} Nothing recorded is lost: correct it, and run the same "
                    "command again."
                )
            why = failure.reason.splitlines()[0]
            progress.note(f"The processes of the engine ended before their work was done, and start again: {why}")

    def _results(self, folder: Path, job: tuple[Source[Any], Any, Sequence[Any]], device: str) -> Iterator[Any]:
        """Run a job, and yield the results that its processes give before they end."""
        import torch

        (folder / JOB).write_bytes(pickle.dumps(job))
        with started(MODULE, folder, self.config.processes, torch.get_num_threads(), device) as process:
            assert process.stdout is not None  # a pipe
            for line in process.stdout:  # to the end of all processes
                if line.strip().isdigit():  # others are the launcher's own
                    path = folder / RESULT.format(line.strip())
                    yield pickle.loads(path.read_bytes())
                    path.unlink()
