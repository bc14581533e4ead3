"""Connection to a study's database: SQLite in WAL mode, through SQLAlchemy."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from json import JSONDecodeError
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlalchemy.orm import Session

from duelist.errors import StorageError
from duelist.files.atomic import discard
from duelist.store.layout import DATABASE

HEAD = "0008"


def url_of(folder: Path) -> URL:
    """Return the URL of the database of the study in a folder."""
    return URL.create("sqlite", database=str(folder / DATABASE))


def connect(url: URL) -> Engine:
    """Return an engine whose SQLite connections keep committed data; leave the schema unchanged."""
    engine = create_engine(url)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _durable_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def open_engine(url: URL, *, migrate: bool) -> Engine:
    """Connect to the database, and bring the schema up to date if `migrate` is true.

    Raises:
        StorageError: if the database cannot be opened, was written by a newer Duelist, or was written by an older one
            and `migrate` is false.
    """
    engine = connect(url)
    try:
        if migrate:
            if engine.dialect.name == "sqlite":
                event.listen(engine, "connect", _write_ahead)
            _upgrade(engine)
        elif not inspect(engine).has_table("rounds"):
            raise StorageError(f"A study database must lie at {url}, but there is none: run the study first.")
        else:
            _require_current(engine)
    except DatabaseError as error:
        engine.dispose()
        raise unusable(url, error.orig) from error
    except BaseException:
        engine.dispose()
        raise
    return engine


def unusable(url: object, why: object) -> StorageError:
    """Return the error for a study database that cannot be read."""
    return StorageError(
        f"The study database {url} must be usable, but reading it failed: {why}. Free disk space or fix the "
        "permissions, then run the same command again; if the file was damaged, restore it from a copy (the artifacts "
        "under rounds/ are complete without it)."
    )


def _durable_sqlite(connection: Any, _: Any) -> None:
    # By default the driver begins no transaction before a SELECT or a CREATE TABLE. Then a process killed during a
    # migration would leave half a schema, and two threads could both find a label missing and both add it.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA busy_timeout=30000")
    cursor.execute("PRAGMA synchronous=FULL")  # a committed label survives a power cut
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _write_ahead(connection: Any, _: Any) -> None:
    connection.execute("PRAGMA journal_mode=WAL")  # a property of the file: readers must not set it


def _begin_sqlite(connection: Connection) -> None:
    # A writer takes the lock before it reads: if it read first, it would fail after another writer's commit.
    connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get("writes") else "BEGIN")


def _upgrade(engine: Engine) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.migration import MigrationContext

    with engine.execution_options(writes=True).begin() as connection:
        current = MigrationContext.configure(connection).get_current_revision()
        if current == HEAD:
            return
        _refuse_newer(current)
        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _require_current(engine: Engine) -> None:
    from alembic.migration import MigrationContext

    with engine.begin() as connection:
        current = MigrationContext.configure(connection).get_current_revision()
    _refuse_newer(current)
    if current != HEAD:
        raise StorageError(
            f"This Duelist reads study databases of version {HEAD}, but this one has version {current}: it was written "
            "by an older Duelist. `duelist run` on the study, or `Study.open`, brings it up to date; nothing is lost."
        )


def _refuse_newer(current: str | None) -> None:
    if current is not None and current > HEAD:
        raise StorageError(
            f"This Duelist knows study databases up to version {HEAD}, but this one has version {current}: it was "
            "written by a newer Duelist. Upgrade the package."
        )


@contextmanager
def transaction(engine: Engine, *, writes: bool = False) -> Iterator[Session]:
    """Run the block as one transaction: all of its rows are recorded or none, and its reads are consistent.

    Args:
        engine: see `open_engine`.
        writes: whether the block adds rows; such blocks run one at a time.

    Raises:
        StorageError: if the database cannot be written, or is damaged.
    """
    try:
        with Session(engine.execution_options(writes=writes)) as session, session.begin():
            yield session
    except OperationalError as error:
        if not writes:
            raise unusable(engine.url, error.orig) from error
        raise StorageError(
            f"The study database must be writable, but writing it failed: {error.orig}. Nothing recorded so far is "
            "lost: free disk space or fix the permissions, then run the same command again."
        ) from error
    except (DatabaseError, JSONDecodeError, UnicodeDecodeError) as error:
        # A damaged page shows when it is read: as an SQLite error, or as invalid text.
        if isinstance(error, DatabaseError) and type(error) is not DatabaseError:
            raise
        raise unusable(engine.url, getattr(error, "orig", error)) from error


def database_files(folder: Path) -> list[Path]:
    """Return the existing files of a study's database: the database itself, and SQLite's files next to it."""
    return [path for end in ("", "-wal", "-shm") if (path := folder / f"{DATABASE}{end}").is_file()]


def copy_of_database(folder: Path) -> TemporaryDirectory[str]:
    """Return a temporary folder with a copy of a study's database and of its -wal, which has the latest records.

    Raises:
        StorageError: if the files cannot be read, or change continuously.
    """
    copy = TemporaryDirectory(prefix="duelist-")

    def state() -> dict[Path, tuple[int, int]]:
        files = (path for path in database_files(folder) if not path.name.endswith("-shm"))
        return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in files}

    try:
        for _ in range(10):
            before = state()
            for path in before:
                shutil.copyfile(path, Path(copy.name) / path.name)
            if state() == before:
                return copy
            discard(Path(copy.name) / f"{DATABASE}-wal")
        raise StorageError(f"{folder / DATABASE} must rest while it is copied, but it keeps changing: try again later.")
    except BaseException as error:
        copy.cleanup()
        if isinstance(error, OSError) and not isinstance(error, StorageError):
            raise StorageError(
                f"The study database in {folder} must be readable, but copying it failed: {error}. Fix the "
                "permissions, or copy the study elsewhere."
            ) from error
        raise
