"""Programs run in two processes that find each other, by torch's launcher."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def in_two_processes(program: Path, *arguments: Path) -> None:
    """Run a program of the tests in two processes on this machine's loopback device, and require that both succeed."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--local-addr=127.0.0.1"]
    address = ["--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:0"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    if sys.platform == "linux":
        environment["GLOO_SOCKET_IFNAME"] = "lo"
    subprocess.run([*launcher, *address, str(program), *map(str, arguments)], env=environment, check=True)
