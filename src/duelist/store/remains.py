"""What a study's folder holds outside its database, and the refusal of a database that knows less than that.

A database that was lost, emptied, or replaced by an older copy looks like a study that has just begun. What the other
files show to have happened tells the two apart. A kill does not look like a loss: whatever is in the files was recorded
in the database before, but for the artifact of the one stage that was in flight.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from json import JSONDecodeError
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import Connection, func, inspect, select
from sqlalchemy.exc import DatabaseError
from sqlalchemy.orm import Session

from duelist.errors import StorageError
from duelist.store.codecs import EVALUATION, FEATURES, STEP
from duelist.store.database import connect, unusable, url_of
from duelist.store.layout import DATABASE, METRICS, PREFERENCES, ROUNDS, SELECTION
from duelist.store.tables import LabelRow, PairRow, RecipeRow, RoundRow


@dataclass(frozen=True)
class Known:
    """What a study's database knows: closed rounds, the initial model's among them; the pairs asked in each; labels."""

    rounds: int
    asked: Mapping[int, set[str]]
    labels: int


def known_to(record: Session | Connection) -> Known:
    """What a study's database knows, of whatever version."""
    asked: dict[int, set[str]] = {}
    for t, pair in record.execute(select(PairRow.round, PairRow.id)):
        asked.setdefault(t, set()).add(pair)
    rounds, labels = (record.scalar(select(func.count()).select_from(table)) or 0 for table in (RoundRow, LabelRow))
    return Known(rounds, asked, labels)


def known(path: Path) -> Known | None:
    """What the database of the study in a folder knows; None if there is none, or it is empty.

    Raises:
        StorageError: if it cannot be read.
    """
    with _reading(path, {"rounds", "pairs", "labels"}) as connection:
        return None if connection is None else known_to(connection)


def recorded_recipe(path: Path) -> dict[str, Any] | None:
    """The recipe that the database of the study in a folder has; None if it has none.

    Raises:
        StorageError: if it cannot be read.
    """
    with _reading(path, {"recipes"}) as connection:
        newest = select(RecipeRow.content).order_by(RecipeRow.number.desc()).limit(1)
        return None if connection is None else connection.scalar(newest)


@contextmanager
def _reading(path: Path, tables: set[str]) -> Iterator[Connection | None]:
    """A connection to a study's database, of whatever version; None where it has not these tables. It makes none."""
    database = path / DATABASE
    if not is_filled(database):
        yield None
        return
    engine = connect(url_of(path))
    try:
        with engine.begin() as connection:
            yield connection if tables <= set(inspect(connection).get_table_names()) else None
    except (DatabaseError, JSONDecodeError, UnicodeDecodeError) as error:  # of a damaged page, text that is none
        raise unusable(database, getattr(error, "orig", error)) from error
    finally:
        engine.dispose()


def require_whole_record(path: Path) -> None:
    """Refuse a study whose database does not know what its other files show to have happened.

    Raises:
        StorageError: if it has lost something, or cannot be read. Nothing is changed.
    """
    lost = what_is_lost(path, lambda: known(path))
    if lost:
        raise StorageError(
            f"A study's database must know all that was asked and answered, but {path / DATABASE} does not: "
            f"{'; '.join(lost)}. Nothing was changed. Restore {DATABASE} from a copy, with its {DATABASE}-wal if it "
            f"has one. Copies left here: {_left(path)}. To begin anew, give another folder."
        )


def what_is_lost(path: Path, known: Callable[[], Known | None]) -> list[str]:
    """What the files of the study in a folder show to have happened and its database does not know, in words.

    Args:
        path: the folder.
        known: reads what the database knows; called after the files were read, for others may be at work.
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
        if not asked and (shown == "asked" or (shown == "asked or in flight" and t != found.rounds)):
            lost.append(f"round {t} has asked pairs, of which the database knows none")
    if preferences.count(b"\n") > found.labels and _distinct(preferences) > found.labels:
        lost.append(f"{PREFERENCES} has {_distinct(preferences)} preferences, the database {found.labels} labels")
    return lost


def _shows_asked(folder: Path) -> Literal["no", "asked or in flight", "asked"]:
    """What a round's folder shows of whether its pairs were recorded as asked.

    Where a kill came before they were, the choice lies there, and the features, which go once it is recorded; and no
    weights or other results.
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
    """Ids of the pairs that a round's choice names; none where it cannot be read, for then it shows nothing."""
    try:
        return {str(pick["pair_id"]) for pick in json.loads((folder / SELECTION).read_text("utf-8"))["picks"]}
    except (OSError, ValueError, TypeError, KeyError):
        return set()


def _closed_rounds(path: Path) -> int:
    """How many rounds metrics.jsonl has, by its rows; what is no such row is damage, and shows nothing."""
    return len({t for row in _rows(_read(path / METRICS)) if type(t := row.get("round")) is int})


def _distinct(preferences: bytes) -> int:
    """How many different preferences preferences.jsonl has: each is of a label of its own."""
    rows = [row for row in _rows(preferences) if {"chosen", "rejected"} <= row.keys()]
    return len({json.dumps(row, sort_keys=True) for row in rows})


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
    """Whether a file is there and not empty."""
    return path.is_file() and path.stat().st_size > 0
