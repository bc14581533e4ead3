"""Write the tables of docs/evidence.md from the files in docs/evidence: `python benchmarks/evidence.py`.

A table stands below a comment that says what it shows:

    <!-- table: {of: comparison, folder: quickstart, metric: mean_reward, columns: [end, end_difference]} -->

`of` names a function of this module, and the other keys are its arguments. The text around the tables is written by
hand; it says which command made the files.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path

import yaml

import prediction_powered
import rankings
from duelist.compare.curves import OVER, Rows, parse_metric
from duelist.compare.statistics import Mean, Paired
from duelist.compare.summary import ArmSummary, MetricSummary, summarise
from duelist.suite.plan import RANDOM
from duelist.suite.record import CURVES, SuiteRecord, read_curves, read_record
from duelist.suite.report import NOTHING, effort_in_words, markdown_table, world_results
from duelist.suite.statistics import Interval
from duelist.suite.summary import MetricResult, judge

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGE = DOCS / "evidence.md"
FILES = DOCS / "evidence"

TABLE = re.compile(r"^<!-- table: (\{.*?\}) -->\n+(?:\|[^\n]*\n)*\n*", re.M | re.S)
MARKER = re.compile(r"<!--\s*table", re.I)  # whatever looks like the beginning of one
NEVER = "never"
Table = list[list[str]]


def built(text: str) -> str:
    """Return the page with every table made anew.

    Raises:
        SystemExit: if a comment looks like that of a table but is none, or its table cannot be made; it is named.
    """
    whole = {found.start() for found in TABLE.finditer(text) if len(MARKER.findall(found[0])) == 1}
    for found in MARKER.finditer(text):
        if found.start() not in whole:
            line = text.count("\n", 0, found.start()) + 1
            raise SystemExit(
                f"A table's comment is `<!-- table: {{...}} -->` on lines of its own, but not line {line}."
            )

    def table(found: re.Match[str]) -> str:
        try:
            spec = yaml.safe_load(found[1])
            rows = TABLES[spec.pop("of")](**spec)
        except (KeyError, TypeError, AssertionError, StopIteration, ValueError, yaml.YAMLError) as error:
            raise SystemExit(f"A table cannot be made ({type(error).__name__}: {error}): {found[1]}") from error
        lines = [re.sub(r"(?<=[ (])-(?=[0-9])", "−", line) for line in markdown_table(rows)]
        lines = [re.sub(r"\|  (?=\|)", "| ", line) for line in lines]
        return f"<!-- table: {found[1]} -->\n\n" + "\n".join(lines) + "\n\n"

    return TABLE.sub(table, text)


def comparison(
    folder: str,
    metric: str,
    columns: Sequence[str],
    title: str = "",
    names: Mapping[str, str] | None = None,
    order: Sequence[str] = (),
    also: Mapping[str, str] | None = None,
) -> Table:
    """Return arms against the baseline, with intervals of the paired difference as `duelist compare` computes them.

    Args:
        folder: folder of curves.csv.
        metric: `name` or `name:lower`.
        columns: keys of `CELLS`.
        title: head of the first column.
        names: what arms are called, where not by their name.
        order: arms in this order; those left out follow.
        also: further metrics, with what they are called, whose final difference is shown; in the baseline's row stands
            the value.
    """
    rows = _curves(folder)
    found = _summary(rows, metric)
    arms = sorted(found.arms, key=lambda a: [*order, a.arm].index(a.arm))
    further = [(words, _summary(rows, name)) for name, words in (also or {}).items()]
    unit, base = OVER[found.over], found.baseline
    table = [[title, *(CELLS[c][0].format(end=f"{found.highest:,.0f} {unit}", base=base, unit=unit) for c in columns)]]
    table[0] += [f"{words} − {base}" for words, _ in further]
    for arm in arms:
        row = [(names or {}).get(arm.arm, arm.arm), *(CELLS[c][1](arm, found) for c in columns)]
        for _, other in further:
            own = next(a for a in other.arms if a.arm == arm.arm)
            row.append(f"({own.final.mean:.4f})" if own.final_paired is None else _difference(own.final_paired))
        table.append(row)
    return table


def share_of_gain(folder: str, arms: Mapping[str, str], metrics: Mapping[str, str], title: str) -> Table:
    """Return the final difference to the baseline as an interval in per cent of what the baseline gained, and labels.

    Args:
        folder: folder of curves.csv.
        arms: the arms, with what they are called.
        metrics: the metrics, with what they are called.
        title: head of the first column.
    """
    rows = _curves(folder)
    found = [_summary(rows, name) for name in metrics]
    heads = [f"labels to {s.baseline}'s end, {words}" for s, words in zip(found, metrics.values(), strict=True)]
    table = [[title, *metrics.values(), *heads]]
    for name, words in arms.items():
        row, efforts = [words], []
        for summary in found:
            own, base = ({a.arm: a for a in summary.arms}[x] for x in (name, summary.baseline))
            gain = base.final.mean - float(base.curve.mean_E[0])
            assert own.final_paired is not None and own.final_paired.difference.half_width is not None
            at, half = own.final_paired.difference.mean, own.final_paired.difference.half_width
            row.append(f"{100 * (at - half) / gain:+.1f} to {100 * (at + half) / gain:+.1f} %")
            efforts.append(_effort(own))
        table.append([*row, *efforts])
    return table


def ranked(
    folder: str, metric: str, arms: Mapping[str, str], title: str = "", columns: Sequence[str] = ("end",)
) -> Table:
    """Return people's efforts to the end of random pairs, as benchmarks/rankings.py computes them.

    Args:
        folder: folder of curves.csv.
        metric: the metric.
        arms: the arms, with what they are called.
        title: head of the first column.
        columns: `end`, or names of `rankings.Effort`.
    """
    found = rankings.efforts(_curves(folder), metric)
    heads = {"end": "end − random pairs", "break_even": "break-even"}
    table = [[title, *(heads.get(c, c) for c in columns)]]
    for name, words in arms.items():
        own, row = found[name], []
        for column in columns:
            if column == "end":
                row.append("" if own.more is None else f"{own.more:+.3f} ± {own.half_width:.3f}")
            elif column == "break_even":
                row.append("" if not own.break_even > 0 else f"{own.break_even:.2g} s")
            else:
                value = getattr(own, column)
                row.append(NEVER if math.isnan(value) else f"{value:,.0f}")
        table.append([f"{words} ({own.end:.4f})" if own.more is None and "end" in columns else words, *row])
    return table


def judged(arms: Mapping[str, str], title: str, omega: bool = False) -> Table:
    """Return prediction-powered training against people alone, as benchmarks/prediction_powered.py computes it.

    Args:
        arms: the arms, with what they are called.
        title: head of the first column.
        omega: whether the mean ω is shown.
    """
    results = prediction_powered.read(FILES / "prediction_powered" / "results.jsonl")
    table = [[title, "J − people alone, of its gain", "labels", *(["mean ω"] if omega else [])]]
    for name, words in arms.items():
        own = prediction_powered.outcome(results, name, "objective")
        row = [words, f"{own.low:+.1f} to {own.high:+.1f} %", own.labels]
        table.append([*row, *([f"{own.omega:.2f}"] if omega else [])])
    return table


def trainings(world: str, trainings: Sequence[str] = ()) -> Table:
    """Return random's mean J by frequency after each batch, and the KL at the end, of trainings of a world.

    Args:
        world: the world.
        trainings: those that are shown, in this order; if empty, all.
    """
    rows = _curves(f"tuning/{world}")
    table = [["training", "seeds", "J after 0, 16, ..., 128 labels", "KL at the end"]]
    for name in trainings or rows:
        found = [
            _summary({RANDOM: rows[name]}, metric).arms[0].curve.mean_E for metric in ("j_weighted", "kl_weighted")
        ]
        curve = " ".join(f"{value:.2f}" for value in found[0])
        table.append([name, str(len(rows[name])), curve, f"{found[1][-1]:.1f}"])
    return table


def cascade(file: str, columns: Sequence[str]) -> Table:
    """Return the table that benchmarks/cascade.py printed.

    Args:
        file: what it printed.
        columns: the columns that are shown.
    """
    lines = [re.split(r"  +", line.strip()) for line in (FILES / "cascade" / file).read_text("utf-8").splitlines()]
    head = lines[1]
    return [[row[head.index(column)] for column in columns] for row in lines[1:]]


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
        own = [result.arm(arm) for arm in arms]
        rows, world = _curves(f"{folder}/{name}"), record.worlds[name]
        paired = judge({RANDOM: rows[arms[1]], arms[0]: rows[arms[0]]}, world.metric, world.first_batch).arms[0]
        cells = [cell for x in own if x is not None for cell in (_interval(x.difference), x.never_worse or NOTHING)]
        table.append([f"`{name}`", str(paired.seeds), *cells, _interval(paired.difference)])
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


TABLES: Mapping[str, Callable[..., Table]] = {
    f.__name__: f
    for f in (comparison, share_of_gain, trainings, suite, suite_rules, suite_arms, ranked, judged, cascade)
}


def _difference(value: Paired | None) -> str:
    return "" if value is None else _mean(value.difference, "+")


def _mean(value: Mean, sign: str = "") -> str:
    half = "" if value.half_width is None else f" ± {value.half_width:.4f}"
    return f"{value.mean:{sign}.4f}{half}"


def _wins(value: Paired | None) -> str:
    return "" if value is None else f"{value.wins} of {value.difference.seeds}"


def _effort(arm: ArmSummary) -> str:
    if arm.to_target is None:
        return ""
    return NEVER if arm.to_target.mean_curve is None else f"{arm.to_target.mean_curve:.0f}"


# The head and the cell of a comparison's columns.
CELLS: Mapping[str, tuple[str, Callable[[ArmSummary, MetricSummary], str]]] = {
    "end": ("at {end}", lambda a, s: f"{a.final.mean:.4f}"),
    "end_difference": ("− {base}", lambda a, s: _difference(a.final_paired)),
    "end_wins": ("better on", lambda a, s: _wins(a.final_paired)),
    "area_difference": ("area − {base}", lambda a, s: _difference(a.area_paired)),
    "area_wins": ("better on", lambda a, s: _wins(a.area_paired)),
    "effort": ("{unit} to {base}'s end", lambda a, s: _effort(a)),
}


@cache
def _curves(folder: str) -> Rows:
    return read_curves(FILES / folder / CURVES)


def _summary(rows: Rows, metric: str) -> MetricSummary:
    baseline = RANDOM if RANDOM in rows else next(iter(rows))
    found = summarise(rows, parse_metric(metric), baseline)
    assert found is not None  # the metric was measured
    return found


@cache
def _suite(folder: str) -> tuple[SuiteRecord, Mapping[str, Sequence[MetricResult]]]:
    record = read_record(FILES / folder)
    rows = {name: _curves(f"{folder}/{name}") for name in record.worlds}
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


def main() -> None:
    """Write the page."""
    PAGE.write_text(built(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
