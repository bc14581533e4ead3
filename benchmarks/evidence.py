"""Write the tables of docs/evidence.md from the files in docs/evidence: `python benchmarks/evidence.py`.

A table stands below a comment that says what it shows:

    <!-- table: {of: comparison, folder: quickstart, metric: mean_reward, columns: [end, end_difference]} -->

`of` names a function of this module or of `evidence_suite.py`, and the other keys are its arguments. The text around
the tables is written by hand; it says which command made the files.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence

import yaml

import prediction_powered
import rankings
from duelist.compare.curves import OVER
from duelist.compare.statistics import Mean, Paired
from duelist.compare.summary import ArmSummary, MetricSummary
from duelist.suite.report import markdown_table
from evidence_files import DOCS, FILES, Table, curves, summary
from evidence_suite import suite, suite_arms, suite_milestones, suite_rules, suite_scale, trainings

PAGE = DOCS / "evidence.md"

TABLE = re.compile(r"^<!-- table: (\{.*?\}) -->\n+(?:\|[^\n]*\n)*\n*", re.M | re.S)
MARKER = re.compile(r"<!--\s*table", re.I)  # whatever looks like the beginning of one
NEVER = "never"


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
    rows = curves(folder)
    found = summary(rows, metric)
    arms = sorted(found.arms, key=lambda a: [*order, a.arm].index(a.arm))
    further = [(words, summary(rows, name)) for name, words in (also or {}).items()]
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
    rows = curves(folder)
    found = [summary(rows, name) for name in metrics]
    heads = [f"labels to {s.baseline}'s end, {words}" for s, words in zip(found, metrics.values(), strict=True)]
    table = [[title, *metrics.values(), *heads]]
    for name, words in arms.items():
        row, efforts = [words], []
        for metric in found:
            own, base = ({a.arm: a for a in metric.arms}[x] for x in (name, metric.baseline))
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
    found = rankings.efforts(curves(folder), metric)
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


def cascade(file: str, columns: Sequence[str]) -> Table:
    """Return the table that benchmarks/cascade.py printed.

    Args:
        file: what it printed.
        columns: the columns that are shown.
    """
    lines = [re.split(r"  +", line.strip()) for line in (FILES / "cascade" / file).read_text("utf-8").splitlines()]
    head = lines[1]
    return [[row[head.index(column)] for column in columns] for row in lines[1:]]


TABLES: Mapping[str, Callable[..., Table]] = {
    f.__name__: f
    for f in (
        comparison,
        share_of_gain,
        trainings,
        suite,
        suite_rules,
        suite_scale,
        suite_arms,
        suite_milestones,
        ranked,
        judged,
        cascade,
    )
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


def main() -> None:
    """Write the page."""
    PAGE.write_text(built(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
