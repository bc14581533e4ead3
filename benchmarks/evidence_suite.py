"""Tables of docs/evidence.md about the suite's worlds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np

from duelist.seeding import generator
from duelist.suite.plan import RANDOM
from duelist.suite.record import SuiteRecord, read_record
from duelist.suite.report import NOTHING, counted, effort_in_words, world_results
from duelist.suite.statistics import Interval, effort, share_of_unit
from duelist.suite.summary import Matched, MetricResult, area_differences, matched
from evidence_files import FILES, Table, curves, summary


def trainings(world: str, trainings: Sequence[str] = ()) -> Table:
    """Return random's mean J by frequency after each batch, and the KL at the end, of trainings of a world.

    Args:
        world: the world.
        trainings: those that are shown, in this order; if empty, all.
    """
    rows = curves(f"tuning/{world}")
    table = [["training", "seeds", "J after 0, 16, ..., 128 labels", "KL at the end"]]
    for name in trainings or rows:
        found = [summary({RANDOM: rows[name]}, metric).arms[0].curve.mean_E for metric in ("j_weighted", "kl_weighted")]
        curve = " ".join(f"{value:.2f}" for value in found[0])
        table.append([name, str(len(rows[name])), curve, f"{found[1][-1]:.1f}"])
    return table


def suite(folder: str) -> Table:
    """Return the rule under test in every world of a suite, in per cent of random's gain after the first batch.

    Args:
        folder: folder of the suite's record and curves.
    """
    record, found = _suite(folder)
    area = f"area of `{record.rule}` − random"
    head = ["world", "seeds", f"{area}, %", "in J", "low end + 10 %", "never worse", "labels to random's end"]
    table = [[*head, "area per kind, %"]]
    for name, (result, per_kind, *_) in found.items():
        own, other = result.arm(record.rule), per_kind.arm(record.rule)
        assert own is not None and other is not None
        verdict, end = own.never_worse or NOTHING, effort_in_words(own, result)
        numbers = [_share(own.area), _interval(own.difference), _low(own.slack)]
        table.append([f"`{name}`", str(own.seeds), *numbers, verdict, end, _share(other.area)])
    return table


def suite_rules(folder: str, arms: Sequence[str]) -> Table:
    """Return two rules in every world of a suite, each against random, and the first against the second.

    Args:
        folder: folder of the suite's record and curves.
        arms: the two.
    """
    record, found = _suite(folder)
    head = [cell for arm in arms for cell in (f"`{arm}` − random, in J", "never worse")]
    table = [["world", "seeds", *head, f"`{arms[0]}` − `{arms[1]}`"]]
    for name, (result, *_) in found.items():
        own = {a.arm: a for a in result.arms}
        rows, world = curves(f"{folder}/{name}"), record.worlds[name]
        paired = matched({RANDOM: rows[arms[1]], arms[0]: rows[arms[0]]}, arms[0], world.metric, "labels")
        assert paired is not None  # both ran on the same seeds
        difference = share_of_unit(area_differences(paired, world.first_batch))
        cells = [cell for x in arms for cell in (_interval(own[x].difference), own[x].never_worse or NOTHING)]
        table.append([f"`{name}`", str(len(paired.own_SE)), *cells, _interval(difference)])
    return table


def suite_scale(folder: str, arms: Mapping[str, str], efforts: Sequence[str]) -> Table:
    """Return arms in every world of a suite: the area against random, and the effort to random's end.

    Args:
        folder: folder of the suite's record and curves.
        arms: the arms, with what they are called.
        efforts: those of the arms whose effort is shown.
    """
    found = _suite(folder)[1]
    labels = [f"labels to random's end, {arms[arm]}" for arm in efforts]
    table = [["world", "seeds", *(f"{words} − random, in J" for words in arms.values()), *labels]]
    for name, (result, *_) in found.items():
        own = {a.arm: a for a in result.arms}
        seeds = {own[arm].seeds for arm in arms}
        assert len(seeds) == 1  # otherwise the arms' columns are not of the same studies
        areas = [_interval(own[arm].difference) for arm in arms]
        table.append([f"`{name}`", *map(str, seeds), *areas, *(effort_in_words(own[arm], result) for arm in efforts)])
    return table


def suite_arms(folder: str, world: str, arms: Mapping[str, str], beside: str = "per kind") -> Table:
    """Return arms of one world of a suite, in per cent of random's gain after the first batch.

    Args:
        folder: folder of the suite's record and curves.
        world: the world.
        arms: the arms, with what they are called.
        beside: what the world's second metric is called.
    """
    result, second, *_ = _suite(folder)[1][world]
    table = [["arm", "seeds", "area − random, %", "labels to random's end", f"area, {beside}, %"]]
    for name, words in arms.items():
        own, other = result.arm(name), second.arm(name)
        assert own is not None and other is not None
        table.append([words, str(own.seeds), _share(own.area), effort_in_words(own, result), _share(other.area)])
    return table


def suite_milestones(folder: str, world: str, arm: str, labels: Sequence[int], metrics: Mapping[str, str]) -> Table:
    """Return what random has after so many labels, how far ahead an arm is then, and with how many it has the same.

    "Never" is later than random.

    Args:
        folder: folder of the suite's record and curves.
        world: the world.
        arm: the arm.
        labels: random's numbers of labels, each that of an evaluation.
        metrics: the metrics, with what they are called.
    """
    rows = curves(f"{folder}/{world}")
    heads = [[f"{words} of random", f"`{arm}` is better by", f"labels to it, `{arm}`"] for words in metrics.values()]
    columns = [_milestones(matched(rows, arm, metric, "labels"), arm, labels) for metric in metrics]
    table = [["labels", *(cell for head in heads for cell in head)]]
    for count, *cells in zip(labels, *columns, strict=True):
        table.append([f"{count:,}", *(cell for own in cells for cell in own)])
    return table


def _milestones(paired: Matched | None, arm: str, labels: Sequence[int]) -> Table:
    """Return the cells of one metric, for each number of labels."""
    assert paired is not None  # both ran on the same seeds
    table = []
    for count in labels:
        (at,) = np.flatnonzero(paired.effort_E == count)
        own_SE, random_SE = paired.own_SE[:, : at + 1], paired.random_SE[:, : at + 1]
        rng = generator(0, "evidence", "milestones", arm)
        found = effort(paired.effort_E[: at + 1], own_SE, random_SE, rng).share
        difference = share_of_unit(own_SE[:, -1] - random_SE[:, -1])
        table.append([f"{abs(random_SE[:, -1].mean()):.3f}", _interval(difference, 3), counted(found, count)])
    return table


@cache
def _suite(folder: str) -> tuple[SuiteRecord, Mapping[str, Sequence[MetricResult]]]:
    record = read_record(FILES / folder)
    rows = {name: curves(f"{folder}/{name}") for name in record.worlds}
    return record, {name: world_results(name, record, rows) for name in record.worlds}


def _interval(value: Interval | None, digits: int = 2) -> str:
    if value is None:
        return NOTHING
    shown = [f"{x:+.{digits}f}".replace("-", "−") for x in (value.value, value.low, value.high)]
    return f"{shown[0]} ({shown[1]} to {shown[2]})"


def _share(value: Interval | None) -> str:
    """Return shares in per cent."""
    return _interval(value and Interval(100 * value.value, 100 * value.low, 100 * value.high), 0)


def _low(value: Interval | None) -> str:
    """Return the lower end, in the metric's own unit."""
    return NOTHING if value is None else f"{value.low:+.3f}".replace("-", "−")
