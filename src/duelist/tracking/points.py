"""What a tracker is told of a study: a point for every closed round, and the recipe as the run's configuration."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from duelist.evaluation.metrics import METRICS, finite
from duelist.store.store import Store

# The section in which a dashboard shows a metric.
SECTIONS = {"policy": "eval", "reward model": "eval", "selection": "selection"}
STAGES = {"select": "selection", "train": "train"}  # stages whose recorded numbers are reported


@dataclass(frozen=True)
class Point:
    """Numbers of one closed round, by name; `step` is the number of labels."""

    round: int
    step: int
    values: Mapping[str, float]


def points_of(store: Store) -> list[Point]:
    """Return a point for every closed round: its metrics, the choice's diagnostics, and the training's report."""
    sections = {m.name: SECTIONS.get(m.of or "") for m in METRICS}
    info = {(s.round, s.name): s.info for s in store.stages() if s.name in STAGES}
    found = []
    for line in store.metrics():
        t = line["round"]
        values: dict[str, float] = {}
        for name, value in line.items():
            section = sections.get(name)
            values.update(_flat(name if section is None else f"{section}/{name}", value))
        for stage, section in STAGES.items():
            values = dict(_flat(section, info.get((t, stage), {}))) | values
        found.append(Point(t, int(line["labels"]), values))
    return found


def flat_recipe(recipe: Mapping[str, Any], prefix: str = "") -> dict[str, str | int | float | bool]:
    """Return a recipe as a flat mapping with dotted keys, for trackers; lists become JSON, null an empty text."""
    flat: dict[str, str | int | float | bool] = {}
    for name, value in recipe.items():
        if isinstance(value, Mapping) and value:
            flat |= flat_recipe(value, f"{prefix}{name}.")
        elif isinstance(value, str | int | float):
            flat[prefix + name] = value
        else:
            flat[prefix + name] = "" if value is None else json.dumps(value, ensure_ascii=False)
    return flat


def _flat(name: str, value: Any) -> Iterator[tuple[str, float]]:
    """Yield the finite numbers of a value, those of a mapping as `name/key`."""
    if isinstance(value, Mapping):
        for key, one in value.items():
            yield from _flat(f"{name}/{key}", one)
    elif (number := finite(value)) is not None:
        yield name, number
