"""How each stage's artifact is written and read."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from duelist.store.artifacts import read_jsonl
from duelist.store.records import pair_from, pair_json, response_from, response_json
from duelist.types import DrawnSet, Draws, Evaluation, Features, Pair, Response

Value = TypeVar("Value")


@dataclass(frozen=True)
class Codec(Generic[Value]):
    """A file name, and how a value is written to and read from such a file."""

    file: str
    write: Callable[[Path, Value], None]
    read: Callable[[Path], Value]


def _write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")


def _write_draws(path: Path, draws: Draws) -> None:
    """A row per response; the sets stand with their first response. (The notes are in the stage's record.)"""
    sets: dict[str, list[tuple[Any, ...]]] = {}
    for position, drawn in enumerate(draws.sets):
        sets.setdefault(drawn.a, []).append((position, drawn.b, drawn.weight, drawn.drawn_from))
    rows = [response_json(r) | ({"drawn_with": sets[r.id]} if r.id in sets else {}) for r in draws.responses]
    _write_rows(path, rows)


def _read_draws(path: Path) -> Draws:
    rows = read_jsonl(path)
    sets = {
        i: DrawnSet(row["id"], b, weight, tuple(drawn_from[0]) if drawn_from and drawn_from[0] else None)
        for row in rows
        for i, b, weight, *drawn_from in row.pop("drawn_with", [])  # an earlier version wrote three
    }
    return Draws(tuple(response_from(row) for row in rows), tuple(sets[i] for i in sorted(sets)))


def _write_pairs(path: Path, pairs: list[Pair]) -> None:
    _write_rows(path, [pair_json(p) for p in pairs])


def pairs(responses: Sequence[Response]) -> Codec[list[Pair]]:
    """Pairs, by the ids of `responses`."""
    by_id = {r.id: r for r in responses}
    return Codec("pairs.jsonl", _write_pairs, lambda path: [pair_from(row, by_id) for row in read_jsonl(path)])


def _write_features(path: Path, features: Features) -> None:
    arrays = {f.name: getattr(features, f.name) for f in fields(Features) if f.name != "past"}
    past = features.past
    if past is not None:
        arrays |= {f"past.{f.name}": getattr(past, f.name) for f in fields(Features) if f.name != "past"}
    with path.open("wb") as file:  # an open file: given a name, NumPy would add a suffix to it
        np.savez(file, **{k: v for k, v in arrays.items() if v is not None})


def _read_features(path: Path) -> Features:
    with np.load(path) as arrays:
        now = {k: arrays[k] for k in arrays.files if "." not in k}
        past = {k.removeprefix("past."): arrays[k] for k in arrays.files if k.startswith("past.")}
    return Features(**now, past=Features(**past) if past else None)


def _write_evaluation(path: Path, evaluation: Evaluation) -> None:
    _write_rows(path, [dict(evaluation.metrics), *map(dict, evaluation.samples)])


def _read_evaluation(path: Path) -> Evaluation:
    metrics, *samples = read_jsonl(path)
    return Evaluation(metrics, samples)


def _write_json(path: Path, value: dict[str, Any]) -> None:
    _write_rows(path, [value])


def _read_json(path: Path) -> dict[str, Any]:
    return dict(read_jsonl(path)[0])


STEP = Codec("step.json", _write_json, _read_json)
DRAWS = Codec("responses.jsonl", _write_draws, _read_draws)
TARGET = Codec("target.jsonl", _write_draws, _read_draws)
FEATURES = Codec("features.npz", _write_features, _read_features)
EVALUATION = Codec("evaluation.jsonl", _write_evaluation, _read_evaluation)
