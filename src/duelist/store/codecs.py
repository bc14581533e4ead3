"""File formats of the stages' artifacts."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from pydantic import TypeAdapter

from duelist.store.artifacts import read_jsonl
from duelist.types import PER_RESPONSE, DrawnSet, Draws, Evaluation, Features, Question, Response

Value = TypeVar("Value")
RESPONSE = TypeAdapter(Response)  # ignores a row's other keys


@dataclass(frozen=True)
class Codec(Generic[Value]):
    """File name, writer and reader of one kind of artifact."""

    file: str
    write: Callable[[Path, Value], None]
    read: Callable[[Path], Value]


def _write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")


def _write_draws(path: Path, draws: Draws) -> None:
    """Write a row per response, and each set with its first response. (The notes are in the stage's record.)"""
    sets: dict[str, list[tuple[Any, ...]]] = {}
    for position, drawn in enumerate(draws.sets):
        sets.setdefault(drawn.a, []).append((position, drawn.b, drawn.weight, drawn.drawn_from))
    beside = {"drawn_from": draws.drawn_from, "drawn_with": sets}
    rows = [
        RESPONSE.dump_python(r, mode="json") | {name: of[r.id] for name, of in beside.items() if r.id in of}
        for r in draws.responses
    ]
    _write_rows(path, rows)


def _read_draws(path: Path) -> Draws:
    rows = read_jsonl(path)
    sets = {
        i: DrawnSet(row["id"], b, weight, tuple(drawn_from[0]) if drawn_from and drawn_from[0] else None)
        for row in rows
        for i, b, weight, *drawn_from in row.get("drawn_with", [])  # an earlier version wrote three values
    }
    origins = {row["id"]: row["drawn_from"] for row in rows if "drawn_from" in row}
    responses = tuple(map(RESPONSE.validate_python, rows))
    return Draws(responses, tuple(sets[i] for i in sorted(sets)), drawn_from=origins)


def _write_questions(path: Path, questions: list[Question]) -> None:
    _write_rows(path, [_pair_row(q) if q.k == 2 else _set_row(q) for q in questions])


def _pair_row(q: Question) -> dict[str, Any]:
    ids = {"id": q.id, "a": q.a.id, "b": q.b.id}
    return {**ids, "round": q.round, "weight": q.weight, "drawn_from": q.drawn_from}


def _set_row(q: Question) -> dict[str, Any]:
    responses = [r.id for r in q.responses]
    return {"id": q.id, "asks": q.asks, "responses": responses, "round": q.round, "drawn_from": q.drawn_from}


def questions(draws: Draws) -> Codec[list[Question]]:
    """Return the codec of candidate questions, which refers to the drawn responses by id."""
    by_id = {r.id: r for r in draws.responses}

    def question(row: dict[str, Any]) -> Question:
        if "responses" in row:
            origins = tuple(row["drawn_from"]) if row["drawn_from"] else None
            return Question(
                row["id"], tuple(by_id[i] for i in row["responses"]), row["round"], 1.0, origins, row["asks"]
            )
        a, b = by_id[row["a"]], by_id[row["b"]]
        # An earlier version wrote no origins, and before that no weight.
        origins = tuple(row.get("drawn_from") or ()) or draws.origins(a.id, b.id)
        return Question(row["id"], (a, b), row["round"], row.get("weight", 1.0), origins)

    return Codec("pairs.jsonl", _write_questions, lambda path: [question(row) for row in read_jsonl(path)])


def _write_features(path: Path, features: Features) -> None:
    arrays = {f.name: getattr(features, f.name) for f in fields(Features) if f.name != "past"}
    past = features.past
    if past is not None:
        of_past = {name: getattr(past, name) for name in arrays}
        shared = {name for name in PER_RESPONSE if of_past[name] is arrays[name]}  # written once
        arrays |= {f"past.{name}": values for name, values in of_past.items() if name not in shared}
    with path.open("wb") as file:  # an open file, because NumPy would add a suffix to a name
        np.savez(file, **{k: v for k, v in arrays.items() if v is not None})


def _read_features(path: Path) -> Features:
    with np.load(path) as arrays:
        now = {k: arrays[k] for k in arrays.files if "." not in k}
        past = {k.removeprefix("past."): arrays[k] for k in arrays.files if k.startswith("past.")}
    if past:
        past = {name: now[name] for name in PER_RESPONSE if name in now} | past
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
STEPS = Codec("steps.jsonl", _write_rows, read_jsonl)
EVALUATION = Codec("evaluation.jsonl", _write_evaluation, _read_evaluation)
