"""Databases for the ledger: an SQLite file, and PostgreSQL started unprivileged in a folder of its own."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_PLACES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))


@contextmanager
def postgresql() -> Iterator[str]:
    """Start PostgreSQL on a Unix socket; yield its URL, and stop it after the block. Skip where it is not installed."""
    if not _PLACES:
        pytest.skip("PostgreSQL is not installed: no /usr/lib/postgresql/*/bin (Debian: apt-get install postgresql)")
    pytest.importorskip("psycopg", reason="PostgreSQL needs psycopg (pip install 'psycopg[binary]')")
    user = []
    if os.getuid() == 0:  # PostgreSQL refuses to run as root
        try:
            pwd.getpwnam("postgres")
        except KeyError:
            pytest.skip("PostgreSQL does not run as root, and there is no user postgres")
        user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    folder = Path(tempfile.mkdtemp(prefix="duelist-pg-", dir="/tmp"))  # a socket's path may have 107 bytes at most
    try:
        if user:
            shutil.chown(folder, "postgres", "postgres")
        data = folder / "data"

        def command(name: str, *arguments: str) -> None:
            done = subprocess.run(
                [*user, str(_PLACES[-1] / name), *arguments], capture_output=True, text=True, cwd=folder
            )
            assert done.returncode == 0, done.stdout + done.stderr

        command("initdb", "-D", str(data), "-U", "duelist", "-A", "trust", "--no-instructions", "-E", "UTF8")
        options = f"-c listen_addresses='' -c unix_socket_directories={folder}"
        command("pg_ctl", "-D", str(data), "-w", "-l", str(folder / "log"), "-o", options, "start")
        try:
            yield f"postgresql+psycopg://duelist@/postgres?host={folder}"
        finally:
            command("pg_ctl", "-D", str(data), "-w", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
