"""The formats of other tools by name, and the one that a file has."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import Any

from duelist.errors import DataError
from duelist.exchange import argilla, label_studio, own_rows, potato, trl
from duelist.exchange.files import Item, csv_items, json_items, json_line_items, parquet_items
from duelist.exchange.reading import Row, rows_of
from duelist.exchange.tasks import Task
from duelist.types import Question

# Formats that give a folder of files for another tool.
TOOLS: Mapping[str, Callable[[list[Task], str], dict[str, str]]] = {
    "label-studio": label_studio.files,
    "argilla": argilla.files,
    "potato": potato.files,
}
# Formats that can be imported, in the order in which they are recognised. Except `trl`, whose rows may also be on other
# responses (`trl.sorted_out`), each reads the answers of one item, and says what an item needs.
READERS: Mapping[str, ModuleType] = {
    "label-studio": label_studio,
    "argilla": argilla,
    "potato": potato,
    "trl": trl,
    "jsonl": own_rows,
    "csv": own_rows,
}
_BY_SUFFIX: Mapping[str, Callable[[Path], Iterator[Item]]] = {
    ".json": json_items, ".jsonl": json_line_items, ".csv": csv_items, ".parquet": parquet_items,
}  # fmt: skip


@dataclass(frozen=True)
class Source:
    """Items to import, and the name of their format."""

    format: str
    items: Iterator[Item]


def read_source(path: Path, format: str | None = None) -> Source:
    """Open a file, or the folder that Argilla or Potato wrote, and find out its format unless it is given.

    Raises:
        DataError: if there is no such file, it cannot be read, or its format is not known.
    """
    if format is not None and format not in READERS:
        raise DataError(f"`--format` must be one of {', '.join(READERS)}, but got {format!r}: use one of them.")
    items = _items(path)
    first = next(items, None)
    if first is None:
        raise DataError(f"A file of answers must have at least one item, but {path} has none: export it again.")
    all_items = chain([first], items)
    if format is not None:
        return Source(format, all_items)
    seen: list[Item] = []
    for item in all_items:
        seen.append(item)
        if not isinstance(item[1], DataError):
            break
    found = format_of(seen[-1][1])
    if found is None:
        raise DataError(
            f"The format of {path} must be one of {', '.join(READERS)}, but its first item is none of them "
            f"({str(seen[-1][1])[:80]}): give --format, or export it again."
        )
    return Source(found, chain(seen, all_items))


def format_of(item: Any) -> str | None:
    """Return the format that an item is in; None if it is none of those known."""
    return next((name for name, reader in READERS.items() if reader.is_own(item)), None)


def answers_of(source: Source, questions: Mapping[str, Question]) -> Iterator[Row]:
    """Yield a row for each answer in a source of another format than `trl`, and for each item that is not usable.

    Args:
        source: the items.
        questions: the asked questions, by id.
    """
    reader = READERS[source.format]
    for where, item in source.items:
        if isinstance(item, DataError):
            yield Row(where, item)
        elif not reader.is_own(item):
            yield Row(where, DataError(f"{reader.NEEDS}, but got {str(item)[:80]}: {reader.REMEDY}."))
        else:
            yield from rows_of(where, partial(reader.answers, where, item, questions))


def _items(path: Path) -> Iterator[Item]:
    if path.is_dir():
        states = sorted(path.glob(f"**/{potato.STATE}"))
        records = path / "records.json"
        if not states and not records.is_file():
            raise DataError(
                f"A folder to import must be Argilla's (records.json) or Potato's (NAME/{potato.STATE}), but {path} "
                "holds neither: give the folder that the tool wrote, or a file."
            )
        return chain.from_iterable(map(json_items, states or [records]))
    if not path.is_file():
        raise DataError(f"Answers are imported from a file, but there is none at {path}: correct the path.")
    open_items = _BY_SUFFIX.get(path.suffix)
    if open_items is None:
        raise DataError(f"A file to import ends in {', '.join(_BY_SUFFIX)}, but got {path}: rename or convert it.")
    return open_items(path)
