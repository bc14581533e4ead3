"""Record of a suite in its folder: what ran, where and how. The report is made from it and from curves.csv alone."""

from __future__ import annotations

import csv
import importlib.metadata
import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from duelist._version import __version__
from duelist.compare.curves import Rows
from duelist.errors import DataError
from duelist.store.artifacts import write_json

RECORD = "suite.json"
CURVES = "curves.csv"
LIBRARIES = ("torch", "transformers", "trl", "peft", "numpy", "scipy")


@dataclass(frozen=True)
class WorldRecord:
    """What ran of one world.

    Attributes:
        title: its title.
        expects: when choice should or should not help there.
        recipe: the recipe.
        changes: overrides of the recipe.
        training: how its training was chosen; None if the recipe's own is used.
        metric: the metric that decides.
        beside: metrics reported beside it.
        first_batch: labels of the first batch, which all arms share.
        arms: what each arm is, by name.
        data_set: whether it is a data set or a real language model, rather than an embedded world.
        failed: studies that failed, `arm, seed N`, with the message.
        unit: whose gain is the unit of shares, `own` or `base`.
    """

    title: str
    expects: str
    recipe: str
    changes: tuple[str, ...]
    training: str | None
    metric: str
    beside: tuple[str, ...]
    first_batch: int
    arms: Mapping[str, str]
    data_set: bool = False
    failed: Mapping[str, str] = field(default_factory=dict)
    unit: str = "own"


@dataclass(frozen=True)
class SuiteRecord:
    """What a suite ran.

    Attributes:
        command: the command.
        version: Duelist's version.
        machine: the machine in words.
        libraries: versions by name.
        rule: the rule under test.
        seeds: the seeds.
        worlds: the worlds by name.
        skipped: worlds that could not run, with the reason.
        repeated: what a second run of a sample of studies showed, in words; None if there was none.
    """

    command: str
    version: str
    machine: str
    libraries: Mapping[str, str]
    rule: str
    seeds: tuple[int, ...]
    worlds: Mapping[str, WorldRecord]
    skipped: Mapping[str, str]
    repeated: str | None = None


def machine() -> str:
    """Return this machine in words, without its name."""
    return f"{platform.system()} on {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"


def libraries() -> dict[str, str]:
    """Return the versions of the libraries that decide the numbers."""
    return {name: importlib.metadata.version(name) for name in LIBRARIES}


def new_record(
    command: str, rule: str, seeds: tuple[int, ...], worlds: Mapping[str, WorldRecord], skipped: Mapping[str, str]
) -> SuiteRecord:
    """Return the record of a suite that runs here and now."""
    return SuiteRecord(command, __version__, machine(), libraries(), rule, seeds, worlds, skipped)


def write_record(folder: Path, record: SuiteRecord) -> None:
    """Write the record."""
    write_json(folder / RECORD, asdict(record))


def read_record(folder: Path) -> SuiteRecord:
    """Read the record.

    Raises:
        DataError: if the folder holds none, or one that cannot be read.
    """
    file = folder / RECORD
    try:
        content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        worlds = {name: WorldRecord(**own) for name, own in content.pop("worlds").items()}
        return SuiteRecord(**content | {"worlds": worlds, "seeds": tuple(content["seeds"])})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"A suite's folder must hold {RECORD} as `duelist suite -o DIR` writes it, but {file} cannot be read "
            f"({type(error).__name__}: {error}): give the folder of a suite."
        ) from error


def read_curves(file: Path) -> Rows:
    """Return the rows of a comparison's curves.csv, by arm and seed; empty if there is no file."""
    rows: dict[str, dict[int, list[dict[str, Any]]]] = {}
    if not file.is_file():
        return rows
    with file.open(encoding="utf-8", newline="") as lines:
        for line in csv.DictReader(lines):
            arm, seed = line.pop("arm"), int(line.pop("seed"))
            numbers = {key: float(value) for key, value in line.items() if value not in ("", None)}
            rows.setdefault(arm, {}).setdefault(seed, []).append(numbers)
    return rows
