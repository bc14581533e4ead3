"""Rows of a data set, from a file or from the Hugging Face Hub."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from duelist.errors import DataError
from duelist.settings.validation import expanded

SUFFIXES = (".jsonl", ".jsonl.gz", ".parquet")
Row = Mapping[str, Any]
ROWS_AT_ONCE = 1024  # rows of a Parquet file that are Python objects at the same time


@dataclass(frozen=True)
class RowSource:
    """A data set: a local file, or a name on the Hugging Face Hub with its split and configuration."""

    path: str
    split: str = "train"
    config: str | None = None

    def __iter__(self) -> Iterator[tuple[str, Row]]:
        """Yield each row with its location in words, for error messages.

        Raises:
            DataError: if a file does not exist, has an unknown ending or cannot be read, or a line is not a JSON
                object.
        """
        path = expanded(self.path)
        if path.is_file():
            return _readable(path, _parquet_rows(path) if path.suffix == ".parquet" else _jsonl_rows(path))
        if path.exists() or path.is_absolute() or self.path.endswith(SUFFIXES):
            raise DataError(
                f"A data set is a file ending in {', '.join(SUFFIXES)}, or a name on the hub, but there is no such "
                f"file at {path}: correct the path."
            )
        return self._hub_rows()

    def _hub_rows(self) -> Iterator[tuple[str, Row]]:
        import datasets

        try:
            rows = datasets.load_dataset(self.path, self.config, split=self.split)
        except Exception as error:
            raise DataError(
                f"The data set {self.path!r} (split {self.split!r}) must exist as a file here or on the hub, but "
                f"loading it failed: {error}. Correct the name, log in to the hub, or give the path of a local file."
            ) from error
        for i, row in enumerate(rows):
            yield f"row {i} of {self.path} ({self.split})", row


def _readable(path: Path, rows: Iterator[tuple[str, Row]]) -> Iterator[tuple[str, Row]]:
    try:
        yield from rows
    except DataError:
        raise
    except Exception as error:  # gzip, zlib, UTF-8 and Arrow each raise their own errors
        raise DataError(
            f"A data set must be readable as what its name says, but reading {path} failed: {error}. Write the file "
            "again, or correct its ending or permissions."
        ) from error


def _jsonl_rows(path: Path) -> Iterator[tuple[str, Row]]:
    if not path.name.endswith((".jsonl", ".jsonl.gz")):
        raise DataError(f"A data set file must end in {', '.join(SUFFIXES)}, but got {path}: rename or convert it.")
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8-sig") as lines:  # with or without a byte order mark
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            where = f"line {number} of {path}"
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:  # includes deep nesting and integers of thousands of digits
                raise DataError(
                    f"Each line must be one JSON object, but {where} is not ({error}): fix or drop the line."
                ) from error
            if not isinstance(row, dict):
                raise DataError(
                    f"Each line must be one JSON object, but {where} holds a {type(row).__name__}: fix or drop the "
                    "line."
                )
            yield where, row


def _parquet_rows(path: Path) -> Iterator[tuple[str, Row]]:
    import pyarrow.parquet as pq

    i = 0
    for batch in pq.ParquetFile(path).iter_batches(batch_size=ROWS_AT_ONCE):
        for row in batch.to_pylist():
            yield f"row {i} of {path}", row
            i += 1
