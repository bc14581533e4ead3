"""Ledger in a database: one writer thread, group commit, and an acknowledgement only after the commit.

While one group is being synced to disk, further events queue up; they form the next group and share its sync. So the
time of an acknowledged event stays near that of one sync, however many people vote at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import Any

from sqlalchemy import JSON, URL, Connection, Text, event, func, insert, inspect, make_url, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from duelist.errors import RoundStateError, StorageError
from duelist.store.database import connect
from duelist.web.ledger import Event, EventConflictError, Receipt

_GROUP = 256  # appends in one transaction
_IDS_IN_A_QUERY = 500  # SQLite limits the variables of a statement


class LedgerBase(DeclarativeBase):
    """Base class of the ledger's table."""

    type_annotation_map = {dict[str, Any]: JSON, str: Text}  # noqa: RUF012 (SQLAlchemy's interface)


class EventRow(LedgerBase):
    """Recorded event. Rows are only ever added."""

    __tablename__ = "events"
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    id: Mapped[str] = mapped_column(unique=True)
    kind: Mapped[str]
    annotator: Mapped[str]
    question_id: Mapped[str]
    at: Mapped[str]
    body: Mapped[dict[str, Any]]


EVENTS = EventRow.__table__
_COLUMNS = tuple(f.name for f in fields(Event))


def read_events(url: str | URL) -> list[Event]:
    """Return every recorded event of a ledger, in order, while another process may write it; [] if there is none.

    Raises:
        StorageError: if the database cannot be read.
    """
    engine = connect(make_url(url))
    try:
        if engine.dialect.name == "sqlite" and not Path(engine.url.database or "").is_file():
            return []  # connecting would create the file
        if not inspect(engine).has_table(EventRow.__tablename__):
            return []
        with engine.connect() as connection:
            return [Event(**row) for row in connection.execute(select(EVENTS).order_by(EVENTS.c.number)).mappings()]
    except SQLAlchemyError as error:
        raise _unwritable(error) from error
    finally:
        engine.dispose()


@dataclass(frozen=True)
class _Append:
    events: tuple[Event, ...]
    done: Future[list[Receipt]]


class SqlLedger:
    """Events in the table `events` of a database, SQLite or PostgreSQL.

    The process that opens it is the only writer. Its thread ends with `close`.
    """

    def __init__(self, url: str | URL) -> None:
        self._engine = connect(make_url(url))
        if self._engine.dialect.name == "sqlite":
            event.listen(self._engine, "connect", _write_ahead)
        try:
            with self._engine.execution_options(writes=True).begin() as connection:
                LedgerBase.metadata.create_all(connection)
                self._read_ids(connection)
        except SQLAlchemyError as error:
            self._engine.dispose()
            raise _unwritable(error) from error
        self._queue: SimpleQueue[_Append | None] = SimpleQueue()
        self._accepting = Lock()  # a submit is queued before the end mark, or refused
        self._closed = False
        self._failed: StorageError | None = None
        self._connection: Connection | None = None  # the writer's own
        self._writer = Thread(target=self._write, name="duelist-ledger", daemon=True)
        self._writer.start()

    def submit(self, events: Sequence[Event]) -> Future[list[Receipt]]:
        """Queue events that are recorded together or not at all; see `Ledger.submit`."""
        done: Future[list[Receipt]] = Future()
        with self._accepting:
            if self._closed:
                done.set_exception(RoundStateError("The ledger must be open to record an act, but it was closed."))
            elif self._failed is not None:
                done.set_exception(self._failed)
            else:
                self._queue.put(_Append(tuple(events), done))
        return done

    def recover(self) -> None:
        """Accept events again after a failed write. A commit whose end was not heard of may have happened.

        Raises:
            StorageError: if the database cannot be read.
        """
        with self._accepting:
            try:
                with self._engine.connect() as connection:
                    self._read_ids(connection)
            except SQLAlchemyError as error:
                raise _unwritable(error) from error
            self._failed = None

    def events(self, after: int = 0) -> list[Event]:
        """Return the recorded events whose number is greater than `after`, in order.

        Raises:
            StorageError: if the database cannot be read.
        """
        try:
            with self._engine.connect() as connection:
                rows = connection.execute(select(EVENTS).where(EVENTS.c.number > after).order_by(EVENTS.c.number))
                return [Event(**row) for row in rows.mappings()]
        except SQLAlchemyError as error:
            raise _unwritable(error) from error

    def close(self) -> None:
        """Record what is queued, then release the database. May be called more than once."""
        with self._accepting:
            if not self._closed:
                self._closed = True
                self._queue.put(None)
        self._writer.join()
        self._engine.dispose()

    # The writer's thread

    def _write(self) -> None:
        ending = False
        while not ending:
            first = self._queue.get()
            group = [] if first is None else [first]
            ending = first is None
            while not ending and len(group) < _GROUP:
                try:
                    further = self._queue.get_nowait()
                except Empty:
                    break
                if further is None:
                    ending = True
                else:
                    group.append(further)
            if group:
                self._commit(group)
        self._disconnect()

    def _read_ids(self, connection: Connection) -> None:
        self._ids = set(connection.scalars(select(EVENTS.c.id)))
        self._last = connection.scalar(select(func.max(EVENTS.c.number))) or 0

    def _commit(self, group: list[_Append]) -> None:
        try:
            if self._connection is None:
                self._connection = self._engine.execution_options(writes=True).connect()
            with self._connection.begin():
                outcomes, fresh = self._insert(self._connection, group)
        except Exception as error:
            self._disconnect()
            failure = _unwritable(error)
            failure.__cause__ = error
            self._refuse(group, failure)
            return
        self._ids |= fresh
        self._last += len(fresh)
        for append, outcome in zip(group, outcomes, strict=True):
            if isinstance(outcome, EventConflictError):
                append.done.set_exception(outcome)
            else:
                append.done.set_result(outcome)

    def _disconnect(self) -> None:
        if self._connection is not None:
            with suppress(SQLAlchemyError):  # it may be broken already
                self._connection.close()
            self._connection = None

    def _refuse(self, group: list[_Append], failure: StorageError) -> None:
        """Fail a group and all that is queued behind it: it was decided on the strength of what is now lost."""
        with self._accepting:
            self._failed = failure
            while not self._queue.empty():
                behind = self._queue.get()
                if behind is not None:
                    group.append(behind)
            if self._closed:
                self._queue.put(None)
        for append in group:
            append.done.set_exception(failure)

    def _insert(
        self, connection: Connection, group: list[_Append]
    ) -> tuple[list[list[Receipt] | EventConflictError], set[str]]:
        """Insert a group's new events; return each append's result, and the ids of the new events."""
        again = [e.id for append in group for e in append.events if e.id in self._ids]
        known = _recorded(connection, again) if again else {}
        outcomes: list[list[Receipt] | EventConflictError] = []
        fresh: dict[str, Event] = {}
        last = self._last
        for append in group:
            own: dict[str, Event] = {}
            receipts: list[Receipt] = []
            conflict: EventConflictError | None = None
            for new in append.events:
                recorded = known.get(new.id) or fresh.get(new.id) or own.get(new.id)
                if recorded is None:
                    own[new.id] = replace(new, number=last + len(own) + 1, at=new.at or _now())
                    receipts.append(Receipt(own[new.id], False))
                elif recorded.content == new.content:
                    receipts.append(Receipt(recorded, True))
                else:
                    conflict = EventConflictError(
                        f"An event's id stands for one act, but {new.id} is recorded as {recorded.kind!r} with other "
                        "content: give another act another id. Nothing of this call was recorded."
                    )
                    break
            if conflict is None:
                fresh |= own
                last += len(own)
            outcomes.append(conflict or receipts)
        if fresh:
            rows = [{name: getattr(e, name) for name in _COLUMNS} for e in fresh.values()]
            connection.execute(insert(EventRow), rows)
        return outcomes, set(fresh)


def _recorded(connection: Connection, ids: list[str]) -> dict[str, Event]:
    found: dict[str, Event] = {}
    for start in range(0, len(ids), _IDS_IN_A_QUERY):
        chunk = ids[start : start + _IDS_IN_A_QUERY]
        rows = connection.execute(select(EVENTS).where(EVENTS.c.id.in_(chunk))).mappings()
        found |= {row["id"]: Event(**row) for row in rows}
    return found


def _write_ahead(connection: Any, _: Any) -> None:
    connection.execute("PRAGMA journal_mode=WAL")


def _now() -> str:
    return datetime.now(UTC).isoformat()


def _unwritable(error: Exception) -> StorageError:
    return StorageError(
        f"The ledger must be readable and writable, but its database failed: {getattr(error, 'orig', error)}. Nothing "
        "acknowledged is lost: free disk space or fix the connection, then go on."
    )
