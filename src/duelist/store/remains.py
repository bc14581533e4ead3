"""Check that a study's database knows every event that the other files of its folder show.

A database that was lost, emptied, or replaced by an older copy looks like a study that has just begun. The events that
the other files show distinguish the two. A killed study does not look like a loss: everything in its files was
recorded in the database before, except the artifact of the one stage in progress.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from json import JSONDecodeError
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import Connection, column, func, inspect, select, table
from sqlalchemy.exc import DatabaseError
from sqlalchemy.orm import Session

from duelist.errors import StorageError
from duelist.store.codecs import EVALUATION, FEATURES, STEP
from duelist.store.database import connect, unusable, url_of
from duelist.store.layout import DATABASE, METRICS, PREFERENCES, ROUNDS, SELECTION
from duelist.store.tables import AnswerRow, QuestionRow, RecipeRow, RoundRow

NOW = frozenset({"rounds", "questions", "answers"})
BEFORE_QUESTIONS = frozenset({"rounds", "pairs", "labels"})  # up to version 0005


@dataclass(frozen=True)
class Known:
    """Events that a study's database knows: closed rounds, round 0 included; questions asked in each; answers."""

    rounds: int
    asked: Mapping[int, set[str]]
    labels: int


def known_to(record: Session | Connection) -> Known:
    """Return the events that a study's database of any version knows."""
    names = set(inspect(record.connection() if isinstance(record, Session) else record).get_table_names())
    questions, answers = (QuestionRow.__tablename__, AnswerRow.__tablename__) if names >= NOW else ("pairs", "labels")
    asked: dict[int, set[str]] = {}
    listed: Any = record.execute(select(column("round"), column("id")).select_from(table(questions)))
    for t, question in listed:
        asked.setdefault(t, set()).add(question)
    counted = (RoundRow.__tablename__, answers)
    rounds, labels = (record.scalar(select(func.count()).select_from(table(name))) or 0 for name in counted)
    return Known(rounds, asked, labels)


def known(path: Path) -> Known | None:
    """Return the events known to the database of the study in a folder; None if there is none, or it is empty.

    Raises:
        StorageError: if the database cannot be read.
    """
    with _reading(path, NOW, BEFORE_QUESTIONS) as connection:
        return None if connection is None else known_to(connection)


def recorded_recipe(path: Path) -> dict[str, Any] | None:
    """Return the recipe in the database of the study in a folder; None if it has none.

    Raises:
        StorageError: if it cannot be read.
    """
    with _reading(path, frozenset({"recipes"})) as connection:
        newest = select(RecipeRow.content).order_by(RecipeRow.number.desc()).limit(1)
        return None if connection is None else connection.scalar(newest)


@contextmanager
def _reading(path: Path, *tables: frozenset[str]) -> Iterator[Connection | None]:
    """Yield a connection to a study's database of any version; None if it has none of these sets of tables.

    Create no database.
    """
    database = path / DATABASE
    if not is_filled(database):
        yield None
        return
    engine = connect(url_of(path))
    try:
        with engine.begin() as connection:
            names = set(inspect(connection).get_table_names())
            yield connection if any(wanted <= names for wanted in tables) else None
    except (DatabaseError, JSONDecodeError, UnicodeDecodeError) as error:  # a damaged page can give invalid text
        raise unusable(database, getattr(error, "orig", error)) from error
    finally:
        engine.dispose()


def require_whole_record(path: Path) -> None:
    """Raise an error if a study's database lacks events that its other files show.

    Raises:
        StorageError: if the database has lost something, or cannot be read. Nothing is changed.
    """
    lost = what_is_lost(path, lambda: known(path))
    if lost:
        raise StorageError(
            f"A study's database must know all that was asked and answered, but {path / DATABASE} does not: "
            f"{'; '.join(lost)}. Nothing was changed. Restore {DATABASE} from a copy, with its {DATABASE}-wal if it "
            f"has one. Copies left here: {_left(path)}. To begin anew, give another folder."
        )


def what_is_lost(path: Path, known: Callable[[], Known | None]) -> list[str]:
    """Return the events that a study's files show and its database does not know, in words.

    Args:
        path: the folder.
        known: returns the events that the database knows; called after the files are read, because other processes may
            be writing.
    """
    preferences, closed = _read(path / PREFERENCES), _closed_rounds(path)
    rounds = [(t, _picks(folder), _shows_asked(folder)) for t, folder in _round_folders(path) if t > 0]
    begun = any((path / ROUNDS).glob("*/*")) or is_filled(path / f"{DATABASE}-wal")
    found = known()
    if found is None:
        state = "is empty" if (path / DATABASE).is_file() else "is missing"
        others = begun or closed or _distinct(preferences)
        return [f"it {state}, and other files of the study are there"] if others else []
    lost = []
    if closed > found.rounds:
        lost.append(f"{METRICS} has {closed} closed rounds, the database {found.rounds}")
    for t, picks, shown in rounds:
        asked = found.asked.get(t, set())
        if asked and not picks <= asked:
            lost.append(f"{SELECTION} of round {t} has {len(picks)} pairs, the database {len(picks & asked)} of them")
        if not asked and (
            shown == "asked" or (shown == "asked or in flight" and t not in (found.rounds, found.rounds + 1))
        ):
            lost.append(f"round {t} has asked questions, of which the database knows none")
    if preferences.count(b"\n") > found.labels and _distinct(preferences) > found.labels:
        lost.append(f"{PREFERENCES} has {_distinct(preferences)} preferences, the database {found.labels} labels")
    return lost


def _shows_asked(folder: Path) -> Literal["no", "asked or in flight", "asked"]:
    """Return what a round's folder shows of whether its pairs were recorded as asked.

    If the process was killed before, the folder contains the selection and the features (deleted once the selection is
    recorded), but no weights or other results.
    """
    later = any((folder / name).exists() for name in (EVALUATION.file, STEP.file))
    if later or any(p.is_dir() and not p.name.startswith(".") for p in folder.iterdir()):
        return "asked"
    if not (folder / SELECTION).is_file():
        return "no"
    return "asked or in flight" if (folder / FEATURES.file).is_file() else "asked"


def _left(path: Path) -> str:
    rounds = [folder for t, folder in _round_folders(path) if t > 0]
    pairs = sum(len(_picks(folder)) for folder in rounds)
    copies = {
        f"{DATABASE}-wal": is_filled(path / f"{DATABASE}-wal"),
        f"{PREFERENCES} ({_distinct(_read(path / PREFERENCES))} different preferences)": (path / PREFERENCES).is_file(),
        f"{METRICS} ({_closed_rounds(path)} closed rounds)": (path / METRICS).is_file(),
        f"{ROUNDS}/ ({len(rounds)} rounds, {pairs} pairs asked in their {SELECTION})": (path / ROUNDS).is_dir(),
    }
    return ", ".join(name for name, there in copies.items() if there) or "nothing"


def _round_folders(path: Path) -> list[tuple[int, Path]]:
    folders = (p for p in (path / ROUNDS).glob("*") if p.name.isdecimal() and p.is_dir())
    return sorted((int(p.name), p) for p in folders)


def _picks(folder: Path) -> set[str]:
    """Return the ids of the pairs in a round's selection; none if it cannot be read, because then it shows nothing."""
    try:
        return {str(pick["pair_id"]) for pick in json.loads((folder / SELECTION).read_text("utf-8"))["picks"]}
    except (OSError, ValueError, TypeError, KeyError):
        return set()


def _closed_rounds(path: Path) -> int:
    """Return the number of rounds in metrics.jsonl; a line that is not such a row is damage, and shows nothing."""
    return len({t for row in _rows(_read(path / METRICS)) if type(t := row.get("round")) is int})


def _distinct(preferences: bytes) -> int:
    """Return the least number of labels behind the preferences in preferences.jsonl.

    Distinct preferences belong to separate labels, but those of one ranking name its question.
    """
    rows = [row for row in _rows(preferences) if {"chosen", "rejected"} <= row.keys()]
    return len({json.dumps(row.get("question_id", row), sort_keys=True) for row in rows})


def _rows(content: bytes) -> list[dict[str, Any]]:
    rows = []
    for line in content.splitlines():
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows


def _read(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""


def is_filled(path: Path) -> bool:
    """Return whether a file exists and is not empty."""
    return path.is_file() and path.stat().st_size > 0
