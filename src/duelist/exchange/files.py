"""Items of JSON, JSON Lines, CSV and Parquet files, with their places; a broken line is an item of its own."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from duelist.data.sources import RowSource
from duelist.errors import DataError

Item = tuple[str, Any]
_LARGEST_CELL = 2**27  # characters


def json_items(path: Path) -> Iterator[Item]:
    """Yield the items of a JSON array, or the one object of another JSON file.

    Raises:
        DataError: if the file is not JSON.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"A .json file must hold JSON, but {path} does not ({error}): export it again.") from error
    if not isinstance(content, list):
        yield str(path), content
        return
    for number, item in enumerate(content, start=1):
        yield f"item {number} of {path}", item


def json_line_items(path: Path) -> Iterator[Item]:
    """Yield the object of each line, or what is wrong with the line."""
    with _readable(path).open(encoding="utf-8-sig", errors="surrogateescape") as lines:
        for number, line in enumerate(lines, start=1):
            where = f"line {number} of {path}"
            if not line.strip():
                continue
            try:
                line.encode()
                item = json.loads(line)
            except (ValueError, RecursionError) as error:
                item = DataError(f"Each line must be one JSON object, but this is not ({error}): fix or drop it.")
            if not isinstance(item, dict | DataError):
                item = DataError(f"Each line must be one JSON object, but this is a {type(item).__name__}: fix it.")
            yield where, item


def csv_items(path: Path) -> Iterator[Item]:
    """Yield each row of a CSV file as a mapping of the cells that are filled.

    Raises:
        DataError: if the file is not CSV.
    """
    csv.field_size_limit(_LARGEST_CELL)
    try:
        with _readable(path).open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            for row in reader:
                where = f"line {reader.line_num} of {path}"
                if None in row or None in row.values():
                    yield where, DataError("A row must have as many cells as the header, but this has not: correct it.")
                else:
                    yield where, {name: plain_cell(value) for name, value in row.items() if value}
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"A .csv file must be CSV in UTF-8, but {path} is not ({error}): save it again.") from error


def parquet_items(path: Path) -> Iterator[Item]:
    """Yield the rows of a Parquet file."""
    return iter(RowSource(str(path)))


def plain_cell(value: str) -> str:
    """Return a cell without the apostrophe that keeps a spreadsheet from taking it for a formula."""
    return value[1:] if value[:1] == "'" and value[1:2] in GUARDED else value


# Beginnings that a spreadsheet takes for a formula, and the apostrophe that guards them.
GUARDED = ("=", "+", "-", "@", "\t", "\r", "'")


def _readable(path: Path) -> Path:
    if not path.is_file():
        raise DataError(f"Answers are imported from a file, but there is none at {path}: correct the path.")
    return path
