"""The real `duelist annotate` in a process of its own, to be interrupted and killed."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

from duelist.web.commands import SERVER


class Annotate:
    """A running `duelist annotate DIR`, from the line with the owner's link on."""

    def __init__(self, folder: Path, port: int = 0, *options: str) -> None:
        command = [sys.executable, "-m", "duelist", "annotate", str(folder), "--port", str(port), *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        lines = []
        for line in self.process.stdout:
            lines.append(line.strip())
            if "/join/" in line:
                break
        else:
            raise AssertionError(f"{lines} {self.end()}")
        self.owner = lines[-1].split()[-1]
        self.address = json.loads((folder / SERVER).read_text("utf-8"))["address"]
        self.port = int(self.address.rpartition(":")[2])

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.kill()
        self.process.communicate()

    def interrupt(self) -> tuple[int, str]:
        """End it as Ctrl-C does; return its exit code and what it said."""
        self.process.send_signal(signal.SIGINT)
        return self.end()

    def end(self) -> tuple[int, str]:
        """Wait for its end; return its exit code and what it said."""
        _, said = self.process.communicate(timeout=200)
        return self.process.returncode, said

    def state(self) -> str:
        """Wait for its next line about the study."""
        assert self.process.stderr is not None
        return self.process.stderr.readline().strip()

    def children(self) -> list[int]:
        """The processes that it started and that live."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    fields = (entry / "stat").read_text().rpartition(")")[2].split()
                except OSError:
                    continue
                if fields[1] == str(self.process.pid) and fields[0] != "Z":
                    found.append(int(entry.name))
        return found


def wait_for_end(pid: int, seconds: float = 60) -> bool:
    """Wait until a process that is not ours has ended; return whether it has."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], seconds)[0])
    finally:
        os.close(handle)
