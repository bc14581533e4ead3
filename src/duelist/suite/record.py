"""Record of a suite in its folder: what ran, where and how. The report is made from it and from curves.csv alone."""

from __future__ import annotations

import csv
import importlib.metadata
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, TypeAdapter

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
        earlier: where the suite ran before, if that was another version, library or machine: `where` of then.
    """

    command: str
    version: str
    machine: str
    libraries: Mapping[str, str]
    rule: str
    seeds: Annotated[tuple[int, ...], Field(min_length=1)]
    worlds: Mapping[str, WorldRecord]
    skipped: Mapping[str, str]
    repeated: str | None = None
    earlier: tuple[str, ...] = ()

    @property
    def where(self) -> str:
        """Versions and machine, in words."""
        return _where(self.version, self.libraries, self.machine)


def machine() -> str:
    """Return this machine in words, without its name."""
    return f"{platform.system()} on {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"


def libraries() -> dict[str, str]:
    """Return the versions of the libraries that decide the numbers."""
    return {name: importlib.metadata.version(name) for name in LIBRARIES}


def here() -> str:
    """Return the versions and the machine of this process, in words, as `SuiteRecord.where` does."""
    return _where(__version__, libraries(), machine())


def _where(version: str, libraries: Mapping[str, str], machine: str) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in libraries.items())
    return f"Duelist {version}, {versions}; {machine}"


def new_record(
    command: str, rule: str, seeds: tuple[int, ...], worlds: Mapping[str, WorldRecord], skipped: Mapping[str, str]
) -> SuiteRecord:
    """Return the record of a suite that runs here and now."""
    return SuiteRecord(command, __version__, machine(), libraries(), rule, seeds, worlds, skipped)


def continued(record: SuiteRecord, before: SuiteRecord) -> SuiteRecord:
    """Return the record of a suite that goes on with an earlier run: where that ran, and whether it was repeated."""
    earlier = [place for place in (*before.earlier, before.where) if place != record.where]
    # What a second run of some studies showed stays true while they are part of the suite.
    kept = set(before.worlds) <= set(record.worlds) and set(before.seeds) <= set(record.seeds)
    return replace(record, repeated=before.repeated if kept else None, earlier=tuple(dict.fromkeys(earlier)))


def left_out(record: SuiteRecord, before: SuiteRecord) -> list[str]:
    """Return what an earlier run had and this one does not name, in words: it is no part of the report."""
    worlds = [f"world {name}" for name in before.worlds if name not in record.worlds and name not in record.skipped]
    both = [(old.arms, record.worlds[name].arms) for name, old in before.worlds.items() if name in record.worlds]
    arms = {arm for old, new in both for arm in old if arm not in new}
    seeds = sorted(set(before.seeds) - set(record.seeds))
    return [*worlds, *(f"arm {arm}" for arm in sorted(arms)), *([f"seeds {seeds_in_words(seeds)}"] if seeds else [])]


def seeds_in_words(seeds: Sequence[int]) -> str:
    """Return seeds as in `0 to 7, 20`."""
    runs: list[list[int]] = []
    for seed in sorted(seeds):
        if runs and seed == runs[-1][-1] + 1:
            runs[-1].append(seed)
        else:
            runs.append([seed])
    return ", ".join(f"{run[0]} to {run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs)


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
        return TypeAdapter(SuiteRecord).validate_json(file.read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(
            f"A suite's folder must hold {RECORD} as `duelist suite -o DIR` writes it, but {file} cannot be read "
            f"({error}): give the folder of a suite."
        ) from error


def read_curves(file: Path) -> Rows:
    """Return the rows of a comparison's curves.csv, by arm and seed; empty if there is no file.

    Raises:
        DataError: if the file is damaged; the message names the line.
    """
    rows: dict[str, dict[int, list[dict[str, Any]]]] = {}
    if not file.is_file():
        return rows
    number = 1
    try:
        with file.open(encoding="utf-8", newline="") as lines:
            reader = csv.DictReader(lines)
            if not {"arm", "seed"} <= set(reader.fieldnames or ()):
                raise ValueError("its head has no arm and seed")
            for line in reader:
                number = reader.line_num
                if None in line or None in line.values():
                    raise ValueError("it has another number of cells than the head")
                arm, seed = line.pop("arm"), int(line.pop("seed"))
                numbers = {key: float(value) for key, value in line.items() if value}
                rows.setdefault(arm, {}).setdefault(seed, []).append(numbers)
    except ValueError as error:
        raise DataError(
            f"{CURVES} must be as `duelist compare` writes it, but {file} cannot be read at line {number}: {error}. "
            "Run the same command again, which writes it from the studies, or copy it again."
        ) from error
    return rows
