"""Files that users read, derived from the record: metrics.jsonl, preferences.jsonl, the latest weights, README.md.

The weights and metrics.jsonl are those of the last closed round that kept its weights (online: the last checkpoint).
preferences.jsonl contains every label so far. Each check costs no more than reading the two text files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from duelist.files.atomic import atomic_path
from duelist.store.artifacts import copy_folder, digest, json_line, write_jsonl, write_text
from duelist.store.explanation import EXPLANATION
from duelist.store.export import preference_rows
from duelist.store.layout import METRICS, PREFERENCES, README
from duelist.store.row_codecs import Stage
from duelist.store.store import Store

Metrics = Sequence[Mapping[str, Any]]


def closed_rounds(store: Store) -> list[dict[str, Any]]:
    """Return the metrics of the closed rounds, up to the last one that kept its weights."""
    closed = store.metrics()
    while closed and store.stage(closed[-1]["round"], "train") is None:
        closed.pop()
    return closed


def results_are_current(path: Path, store: Store, closed: Metrics) -> bool:
    """Return whether metrics.jsonl and the latest weights are those of the last of the closed rounds."""
    stage = _trained(store, closed)
    weights = path / stage.artifact
    return _metrics(path) == _expected(closed) and (not weights.is_dir() or _are_copied(weights, path / weights.name))


def preferences_are_current(path: Path, store: Store) -> bool:
    """Return whether preferences.jsonl is unchanged since it was written, and contains every label."""
    written = store.preferences_file()
    return written is not None and written[0] == store.answer_count() and _is_as_written(path, written[1])


def write_results(path: Path, store: Store, closed: Metrics) -> None:
    """Write all of them. Weights that changed since training are not copied, to keep what may be the last good copy."""
    stage = _trained(store, closed)
    weights = path / stage.artifact
    if weights.is_dir() and digest(weights) == stage.digest:
        copy_folder(weights, path / weights.name)
    write_preferences(path, store)
    write_text(path / README, EXPLANATION)
    write_jsonl(path / METRICS, closed)


def write_preferences(path: Path, store: Store) -> None:
    """Write preferences.jsonl, and record the labels it was written from."""
    labels = store.answer_count()  # before reading: a label that arrives meanwhile leaves the file behind, not ahead
    with atomic_path(path / PREFERENCES) as temporary:
        with temporary.open("w", encoding="utf-8") as file:
            file.writelines(map(json_line, preference_rows(store)))
        # Recorded first: a file without a record counts as changed by somebody.
        store.preferences_written(labels, digest(temporary))


def changed_files(path: Path, store: Store) -> list[str]:
    """Return which of these files were deleted or changed since they were written, in words; outdated is no change.

    The files are read before the record, because another process may add to the record meanwhile.
    """
    metrics = _metrics(path)
    preferences = digest(path / PREFERENCES) if (path / PREFERENCES).is_file() else ""
    written, closed, found = store.preferences_digests(), closed_rounds(store), []
    expected = _expected(closed)
    if not closed:
        return []
    if written and preferences not in written:
        found.append(PREFERENCES)
    if not metrics or not expected.startswith(metrics):
        found.append(METRICS)
    if metrics == expected:
        stage = _trained(store, closed)
        weights = path / stage.artifact
        if not (path / weights.name).is_dir():
            found.append(weights.name)
        elif weights.is_dir() and not _are_copied(weights, path / weights.name):
            found.append(weights.name if digest(weights) == stage.digest else stage.artifact)
    if closed_rounds(store) != closed:
        return []  # a round was just closed, and its files are being written
    return [f"{name} {'was changed' if (path / name).exists() else 'is gone'}" for name in found]


def _trained(store: Store, closed: Metrics) -> Stage:
    stage = store.stage(closed[-1]["round"], "train")
    assert stage is not None  # see `closed_rounds`
    return stage


def _expected(closed: Metrics) -> bytes:
    return "".join(map(json_line, closed)).encode()


def _metrics(path: Path) -> bytes | None:
    return (path / METRICS).read_bytes() if (path / METRICS).is_file() else None


def _is_as_written(path: Path, written: str) -> bool:
    return (path / PREFERENCES).is_file() and digest(path / PREFERENCES) == written


def _are_copied(source: Path, target: Path) -> bool:
    """Return whether every file of one folder is in another; read contents only if modification times differ."""

    def is_copied(file: Path) -> bool:
        own, other = file.stat(), target / file.relative_to(source)
        if not other.is_file() or own.st_size != other.stat().st_size:
            return False
        return own.st_mtime_ns == other.stat().st_mtime_ns or digest(file) == digest(other)

    return all(is_copied(file) for file in source.rglob("*") if file.is_file())
