"""Processes of this machine that work on one job together, started by torch's launcher.

A job is a folder. The processes report on standard output, a line each time, and write what they made into the folder.
They end when the process that started them does, even by `kill -9`: their standard input is closed then.
"""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from duelist.errors import DuelistError, RecipeError, described

_FAILURE = "failure-{}.pickle"  # why a process failed, by its number
_LOG = "log.txt"
_LOG_LINES = 15  # of the processes' output, shown if they end without a message of their own


@dataclass(frozen=True)
class Failure:
    """Why a job failed.

    Attributes:
        reason: in words, with the process.
        error: Duelist's own error that a process raised; None if it was another one, or a process was killed.
    """

    reason: str
    error: DuelistError | None = None


def require_devices(kind: str, processes: int, setting: str) -> None:
    """Require a GPU for each process, unless they compute on the CPU.

    Args:
        kind: the kind of device.
        processes: number of processes.
        setting: name of the setting that holds their number.

    Raises:
        RecipeError: if there are fewer.
    """
    if kind == "cpu":
        return
    import torch

    if torch.cuda.device_count() < processes:
        raise RecipeError(
            f"`{setting}` needs a GPU for each process, but it is {processes} and this machine has "
            f"{torch.cuda.device_count()}: lower it, or set `policy.device: cpu`."
        )


@contextmanager
def started(module: str, folder: Path, processes: int, threads: int, device: str) -> Iterator[subprocess.Popen[str]]:
    """Start the processes of a job, and end them if they are still running when the block ends.

    Args:
        module: the module that each process runs, with the folder as its argument.
        folder: the job.
        processes: their number.
        threads: threads of each of them.
        device: the kind of their devices; with `cpu` they see no GPU, because transformers shards over those it finds.
    """
    launcher = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={processes}", "--max-restarts=0"]
    address = ["--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:0", "--local-addr=127.0.0.1"]  # port 0: any free one
    command = [*launcher, *address, "-m", module, str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    if device == "cpu":
        environment["CUDA_VISIBLE_DEVICES"] = ""
    if sys.platform == "linux":
        environment.setdefault("GLOO_SOCKET_IFNAME", "lo")
    pipe = subprocess.PIPE
    with (
        (folder / _LOG).open("w", encoding="utf-8") as log,
        subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=log, text=True, env=environment) as process,
    ):
        try:
            yield process
        finally:
            process.terminate()  # the launcher ends its processes


def failure_of(folder: Path, processes: int) -> Failure:
    """Return why a job's processes failed; the first to fail knows why, and others then wait for it in vain."""
    told = [(i, folder / _FAILURE.format(i)) for i in range(processes)]
    found = [(path.stat().st_mtime_ns, i, path) for i, path in told if path.is_file()]
    if found:
        _, i, path = min(found)
        reason, error = pickle.loads(path.read_bytes())
        return Failure(f"process {i}: {reason}", error)
    lines = (folder / _LOG).read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    return Failure("none of them said why. The last lines of their output:\n" + "".join(lines[-_LOG_LINES:]))


@contextmanager
def process_of(folder: Path) -> Iterator[tuple[int, IO[str]]]:
    """Run a block as one of a job's processes; an error that ends it is written into the folder.

    Yields:
        rank: the number of this process.
        report: where it reports, line by line.
    """
    threading.Thread(target=end_with_parent, args=(folder,), daemon=True).start()
    report = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)  # whatever libraries print is no report
    rank = int(os.environ["RANK"])
    try:
        yield rank, report
    except BaseException as error:
        own = error if isinstance(error, DuelistError) else None
        reason = described(error) if own is None else str(own)
        (folder / _FAILURE.format(rank)).write_bytes(pickle.dumps((reason, own)))
        raise


def end_with_parent(folder: Path) -> None:
    """End this process when the one that started the job has ended: it holds the other end of standard input.

    The job's folder, which may hold weights, is deleted: if that process was killed, nobody else does so.
    """
    os.read(0, 1)  # nothing is ever written to it
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(1)
