"""Lease of a study: which process, on which machine, works on it. For folders that several machines share.

A file's lock excludes the processes of one machine, and ends with its process. On shared storage it may say nothing of
other machines. So the owner also writes its name to a file and renews the file's time; another machine may take over
once the lease has not been renewed for `LEASE` seconds. An owner that was suspended for longer notices before it writes
again.
"""

from __future__ import annotations

import getpass
import json
import os
import platform
import secrets
import tempfile
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, final

from filelock import BaseFileLock

from duelist.errors import StudyLockedError
from duelist.files.atomic import TEMPORARY, atomic_path

OWNER = ".owner.json"
LEASE = 60.0  # seconds without a sign of life, after which an owner on another machine is taken for dead
BEAT = 15.0  # seconds between two signs of life


def machine() -> str:
    """Return an identifier of this machine since it was started. Its processes see each other's file locks."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return platform.node()


@final
class Lease:
    """Exclusive right to a study's folder, renewed by a thread until `release`.

    Args:
        folder: the study's folder.
        lock: lock of the folder among this machine's processes, which this process holds. It is released with the
            lease, and if the lease is refused.
        lease: seconds; see `LEASE`.
        beat: seconds; see `BEAT`.

    Raises:
        StudyLockedError: if a process of another machine holds the study, with who it is and since when.
    """

    def __init__(self, folder: Path, lock: BaseFileLock, lease: float = LEASE, beat: float = BEAT) -> None:
        self._folder, self._lock = folder, lock
        self._token = secrets.token_hex(8)
        self._ended = threading.Event()
        try:
            _require_free(folder, lease)
            owner = {
                "host": platform.node(),
                "process": os.getpid(),
                "user": _user(),
                "since": datetime.now(UTC).isoformat(timespec="seconds"),
                "machine": machine(),
                "token": self._token,
            }
            with atomic_path(folder / OWNER) as temporary:
                temporary.write_text(json.dumps(owner), encoding="utf-8")
        except BaseException:
            lock.release()
            raise
        threading.Thread(target=self._renew, args=(beat,), name="duelist-lease", daemon=True).start()

    @property
    def is_locked(self) -> bool:
        """Whether this process holds the lease and has not released it."""
        return self._lock.is_locked

    def require(self) -> None:
        """Require that no other machine has taken over.

        Raises:
            StudyLockedError: if one has; nothing must be written any more.
        """
        owner = read_owner(self._folder)
        if owner is not None and owner.get("token") != self._token:
            raise StudyLockedError(
                f"The process that works on a study must give signs of life, but this one gave none for {LEASE:.0f} "
                f"seconds, and {named(owner)} has taken {self._folder} over: stop here. Nothing recorded is lost."
            )

    def release(self) -> None:
        """Let others open the study; later calls do nothing."""
        self._ended.set()
        if self._lock.is_locked:
            if self._is_held():
                (self._folder / OWNER).unlink(missing_ok=True)
            self._lock.release()

    def _is_held(self) -> bool:
        owner = read_owner(self._folder)
        return owner is not None and owner.get("token") == self._token

    def _renew(self, beat: float) -> None:
        while not self._ended.wait(beat):
            if not self._is_held():
                return
            try:
                os.utime(self._folder / OWNER)
            except OSError:
                continue  # the storage may come back within the lease


def read_owner(folder: Path) -> Mapping[str, Any] | None:
    """Return who holds a study's lease; None if nobody, or if the file cannot be read."""
    try:
        owner = json.loads((folder / OWNER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return owner if isinstance(owner, dict) else None


def named(owner: Mapping[str, Any]) -> str:
    """Return an owner in words."""
    return f"{owner.get('user')}@{owner.get('host')} (process {owner.get('process')}, since {owner.get('since')})"


def _require_free(folder: Path, lease: float) -> None:
    owner = read_owner(folder)
    if owner is None or owner.get("machine") == machine():  # its process is dead: this one has the lock
        return
    silent = _silent(folder)
    if silent < lease:
        raise StudyLockedError(
            f"One process at a time may work on a study, but {named(owner)} works on {folder}, and gave its last sign "
            f"of life {silent:.0f} seconds ago: wait for it or stop it. If it is dead, run the same command again in "
            f"{lease - silent + 1:.0f} seconds: its lease will have ended."
        )


def _silent(folder: Path) -> float:
    """Return the seconds since the owner's last sign of life, by the clock of the storage, which machines share."""
    with tempfile.NamedTemporaryFile(dir=folder, prefix=TEMPORARY) as now:
        return Path(now.name).stat().st_mtime - (folder / OWNER).stat().st_mtime


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container's user may have no name; Windows has no list of users
        return "somebody"
