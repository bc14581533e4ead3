"""Cache of a judge's answers, and journal of its requests: what is paid for once is never asked for again.

An answer is found by a key, a hash of all that it depends on. Every request is a row: it is written before the request
is sent, and completed when the answer is there. So a process that is killed loses at most the requests in flight. The
next one counts them as lost. Answers are never changed or deleted. Processes may share a cache.

The answers lie in an SQLite database. A process that uses one holds a lock file of its own, which shows that it lives.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import RLock
from typing import Any, ClassVar
from uuid import uuid4

from filelock import FileLock, Timeout

from duelist.errors import StorageError, full_disk_as_storage_error

FILE = "verdicts.db"
_RUNS = "runs"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS requests (
    number INTEGER PRIMARY KEY,
    key TEXT NOT NULL,
    judge TEXT NOT NULL,
    run TEXT NOT NULL,
    sent TEXT NOT NULL,
    ended TEXT,
    state TEXT NOT NULL DEFAULT 'sent' CHECK (state IN ('sent', 'answered', 'failed', 'lost')),
    answer TEXT,
    tokens_in INTEGER NOT NULL DEFAULT 0,
    tokens_out INTEGER NOT NULL DEFAULT 0,
    cost REAL NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS by_key ON requests (key) WHERE state = 'answered';
CREATE INDEX IF NOT EXISTS in_flight ON requests (run) WHERE state = 'sent';
PRAGMA user_version = 1;
"""


@dataclass(frozen=True)
class Kept:
    """An answer, and what it cost when it was asked for."""

    answer: Mapping[str, Any]
    tokens_in: int = 0
    tokens_out: int = 0
    cost: float = 0.0


@dataclass(frozen=True)
class Spent:
    """What the requests of a judge cost.

    Attributes:
        requests: number of requests sent, also those that failed or were lost.
        failed: of these, the requests without a usable answer, whose cost is mostly unknown.
        lost: of these, the requests in flight when a process ended, whose answer and cost are not known.
        tokens_in: tokens read.
        tokens_out: tokens written.
        cost: money.
        largest: tokens of the largest request.
        most: cost of the most expensive request.
    """

    requests: int = 0
    failed: int = 0
    lost: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cost: float = 0.0
    largest: int = 0
    most: float = 0.0


class VerdictCache:
    """Answers by key. Threads may share it.

    Args:
        folder: where the database is, created if it does not exist; None for memory.

    Raises:
        StorageError: if it cannot be opened.
    """

    version: ClassVar[int] = 1

    def __init__(self, folder: Path | None) -> None:
        self._lock, self._run = RLock(), uuid4().hex
        self._folder = folder
        self._place = ":memory:" if folder is None else str(folder / FILE)
        try:
            if folder is not None:
                (folder / _RUNS).mkdir(parents=True, exist_ok=True)
                self._alive = FileLock(folder / _RUNS / f"{self._run}.lock", thread_local=False)
                self._alive.acquire(timeout=0)
            self._database = sqlite3.connect(
                self._place, timeout=60, isolation_level=None, check_same_thread=False, cached_statements=16
            )
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = FULL")
            (found,) = self._database.execute("PRAGMA user_version").fetchone()
            if found not in (0, self.version):
                raise sqlite3.DatabaseError(f"it has version {found}")
            self._database.executescript(_SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise StorageError(
                f"The cache of a judge's verdicts must be a database of version {self.version} that can be written, "
                f"but {self._place} is not: {error}. Fix the permissions, or move the file away; its verdicts are then "
                "asked for again."
            ) from error

    def get(self, key: str) -> Kept | None:
        """Return the first answer that was kept under a key."""
        rows = self._execute(
            "SELECT answer, tokens_in, tokens_out, cost FROM requests WHERE key = ? AND state = 'answered' "
            "ORDER BY number LIMIT 1",
            (key,),
        )
        return Kept(json.loads(rows[0][0]), *rows[0][1:]) if rows else None

    def sent(self, key: str, judge: str) -> int:
        """Record that a request is about to be sent, and return its number."""
        rows = self._execute(
            "INSERT INTO requests (key, judge, run, sent) VALUES (?, ?, ?, ?) RETURNING number",
            (key, judge, self._run, _now()),
        )
        return int(rows[0][0])

    def answered(self, number: int, kept: Kept) -> None:
        """Keep the answer to a request."""
        self._end(number, "answered", kept)

    def failed(self, number: int, tokens_in: int = 0, tokens_out: int = 0, cost: float = 0.0) -> None:
        """Record that a request got no usable answer, and what is known of its cost."""
        self._end(number, "failed", Kept({}, tokens_in, tokens_out, cost))

    def keep(self, judge: str, answers: Iterable[tuple[str, Kept]]) -> None:
        """Keep answers that were computed in this process: all of them or, if the process dies, none."""
        with self._lock, self._explained():
            self._database.execute("BEGIN IMMEDIATE")
            try:
                for key, kept in answers:
                    self._database.execute(
                        "INSERT INTO requests (key, judge, run, sent, ended, state, answer, tokens_in, tokens_out, "
                        "cost) VALUES (?, ?, ?, ?, ?, 'answered', ?, ?, ?, ?)",
                        (key, judge, self._run, now := _now(), now, *_values(kept)),
                    )
                self._database.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    self._database.execute("ROLLBACK")
                raise

    def spent(self, judge: str) -> Spent:
        """Return what all requests of a judge cost so far, those of earlier and other processes included."""
        rows = self._execute(
            "SELECT count(*), total(state = 'failed'), total(state = 'lost'), total(tokens_in), total(tokens_out), "
            "total(cost), coalesce(max(tokens_in + tokens_out), 0), coalesce(max(cost), 0.0) "
            "FROM requests WHERE judge = ?",
            (judge,),
        )
        n, failed, lost, tokens_in, tokens_out, cost, largest, most = rows[0]
        return Spent(n, int(failed), int(lost), int(tokens_in), int(tokens_out), cost, int(largest), most)

    def count_lost(self) -> int:
        """Mark the requests that ended processes left in flight as lost, and return how many these are now."""
        if self._folder is None:
            return 0
        others = self._execute("SELECT DISTINCT run FROM requests WHERE state = 'sent' AND run != ?", (self._run,))
        lost = 0
        for (run,) in others:
            dead = FileLock(self._folder / _RUNS / f"{run}.lock", thread_local=False)
            try:
                with dead.acquire(timeout=0):
                    now = _now()
                    lost += len(
                        self._execute(
                            "UPDATE requests SET state = 'lost', ended = ? WHERE run = ? AND state = 'sent' "
                            "RETURNING number",
                            (now, run),
                        )
                    )
                    Path(dead.lock_file).unlink(missing_ok=True)
            except Timeout:  # that process lives
                continue
        return lost

    def close(self) -> None:
        """Close the database. Requests of this process that are still in flight count as lost afterwards."""
        self._database.close()
        if self._folder is not None:
            self._alive.release()
            Path(self._alive.lock_file).unlink(missing_ok=True)

    def _end(self, number: int, state: str, kept: Kept) -> None:
        self._execute(
            "UPDATE requests SET ended = ?, state = ?, answer = ?, tokens_in = ?, tokens_out = ?, cost = ? "
            "WHERE number = ?",
            (_now(), state, *_values(kept), number),
        )

    def _execute(self, statement: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        with self._lock, self._explained():
            return self._database.execute(statement, values).fetchall()

    def _explained(self) -> Any:
        return full_disk_as_storage_error(f"the judge's verdicts in {self._place}")


def _values(kept: Kept) -> tuple[str, int, int, float]:
    text = json.dumps(kept.answer, separators=(",", ":"))  # ASCII: a token may be half a surrogate pair
    return text, kept.tokens_in, kept.tokens_out, kept.cost


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
