"""The suite's report: one Markdown page made from the record and the curves, and from nothing else."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from duelist.compare.curves import OVER, Rows
from duelist.compare.statistics import FEWEST_SEEDS
from duelist.people.habits import holm
from duelist.store.artifacts import write_text
from duelist.suite.plan import AGAIN, BEST, FLOOR, LOOK_AHEAD, SCALE
from duelist.suite.record import CURVES, SuiteRecord, WorldRecord, read_curves, read_record, seeds_in_words
from duelist.suite.statistics import Interval
from duelist.suite.summary import MARGIN, QUARTER, ArmResult, MetricResult, Unit, judge, p_values, surely_gained
from duelist.suite.worlds import BASE

REPORT = "report.md"
NOTHING = "–"
INFORMATIVE = {True: "yes", False: "no: it says nothing about rules", None: "no reference was run"}
ONE_SIDED = 0.025  # p at which the upper end of a 95 % interval is reached

READING = f"""\
## How to read it

- Every arm of a seed has the same world, initial model and label noise, and the same first batch from
  the same pool. All differences are paired.
- **Area** is the difference to random of the mean height of the learning curve from the first batch on, in per
  cent of what random gains after that batch, with a 95 % interval (Fieller); where labels teach next to nothing by
  design, in per cent of what random gains in the base world. {NOTHING}: the gain cannot be told from nothing.
- **Never worse**: "passes" means not worse by {MARGIN:.0%} of the gain: the area plus {MARGIN:.0%} of the gain has a
  95 % interval above 0, whether or not the gain itself can be told from nothing. A default must pass in every world, so
  no correction is needed. {NOTHING}: fewer than {FEWEST_SEEDS} seeds.
- **To random's end** is the share of random's effort at which the arm's isotonic mean curve reaches the end of
  random's, with a percentile bootstrap over seeds (from {FEWEST_SEEDS} seeds on). p is of "it needs more than half",
  adjusted by Holm for all arms and worlds in which it is asked: those where a reference's upper end is at most a
  quarter ({QUARTER:.0%}), and data sets. Half is shown where p is at most {ONE_SIDED}: the end of a 95 % interval.
- `{AGAIN}` is random on another stream: what it shows is chance. `{FLOOR}` is a rule known to be bad.
- `{LOOK_AHEAD}` and `{BEST}` see the true rewards. They are references, not bounds. Where neither beats random, the
  world says nothing about rules.
"""


def write_report(folder: Path, target: Path | None = None, over: str = "labels") -> Path:
    """Write the report of a suite, and return its path.

    Args:
        folder: the suite's folder, or a copy of its record and of each world's curves.csv.
        target: the file to write; None for report.md in the folder.
        over: the column of metrics.jsonl that effort is counted in.

    Raises:
        DataError: if the folder holds no record of a suite.
    """
    path = target or folder / REPORT
    write_text(path, report(folder, over))
    return path


def report(folder: Path, over: str = "labels") -> str:
    """Return the report of a suite in Markdown. The same files give the same text.

    Raises:
        DataError: if the folder holds no record of a suite.
    """
    record = read_record(folder)
    rows = {name: read_curves(folder / name / CURVES) for name in record.worlds}
    results = {name: world_results(name, record, rows, over) for name in record.worlds}
    main = {name: found[0] for name, found in results.items()}
    candidates = list({arm: None for world in record.worlds.values() for arm in world.arms if arm not in SCALE})
    adjusted = holm(p_values(main, candidates, [name for name, world in record.worlds.items() if world.data_set]))
    lines = [
        "# Does choosing pairs save labels?",
        "",
        *_head(record, main),
        "",
        *_verdicts(record, main, adjusted),
        "",
        READING,
    ]
    for name, world in record.worlds.items():
        lines += [*_world(name, world, results[name], adjusted), ""]
    lines += [f"- Not run: {name}, because {reason}." for name, reason in record.skipped.items()]
    return "\n".join(lines).rstrip("\n") + "\n"


def world_results(name: str, record: SuiteRecord, rows: Mapping[str, Rows], over: str = "labels") -> list[MetricResult]:
    """Return the arms of a world against random, in the metric that decides and in those beside it."""
    world, base = record.worlds[name], record.worlds.get(BASE)
    found = []
    for metric in (world.metric, *world.beside):
        unit: Unit = None
        if world.unit == "own":
            unit = "own"
        elif base is not None and metric in (base.metric, *base.beside):
            unit = surely_gained(rows[BASE], metric, base.first_batch, over)
        found.append(judge(rows[name], metric, world.first_batch, unit, over))
    return found


def _head(record: SuiteRecord, results: Mapping[str, MetricResult]) -> list[str]:
    seeds = f"{len(record.seeds)} seeds, {seeds_in_words(record.seeds)}"
    lines = ["```sh", record.command, "```", "", f"Rule under test: `{record.rule}`. {seeds}. {record.where}."]
    if record.earlier:
        lines += ["", f"Some studies ran earlier: {'; '.join(record.earlier)}."]
    finished = {name: 0 if (arm := result.arm(record.rule)) is None else arm.seeds for name, result in results.items()}
    if fewer := {name: n for name, n in finished.items() if n < len(record.seeds)}:
        counts = ", ".join(f"{name} {n}" for name, n in fewer.items())
        lines += ["", f"**Not finished.** Of {len(record.seeds)} seeds, the rule and random have: {counts}."]
    if min(finished.values(), default=0) < FEWEST_SEEDS:
        lines += ["", f"**Fewer than {FEWEST_SEEDS} seeds: this decides nothing, whatever the numbers say.**"]
    return lines + (["", record.repeated] if record.repeated else [])


def _verdicts(
    record: SuiteRecord, results: Mapping[str, MetricResult], adjusted: Mapping[tuple[str, str], float]
) -> list[str]:
    head = ["world", "seeds", "does a reference beat random?", "area", "never worse", "to random's end", "at most half"]
    table = [head]
    for name, result in results.items():
        arm = result.arm(record.rule)
        known = INFORMATIVE[result.informative]
        if arm is None:
            table.append([name, "0", known, *[NOTHING] * 4])
            continue
        p = adjusted.get((name, record.rule))
        saves = "not asked" if p is None else ("shown" if p <= ONE_SIDED else "not shown") + f" (p {_p(p)})"
        verdict, end = arm.never_worse or NOTHING, effort_in_words(arm, result)
        table.append([name, str(arm.seeds), known, _percent(arm.area), verdict, end, saves])
    return [f"## The rule under test, `{record.rule}`", "", *markdown_table(table)]


def _world(
    name: str, world: WorldRecord, results: Sequence[MetricResult], adjusted: Mapping[tuple[str, str], float]
) -> list[str]:
    lines = [f"## {world.title} (`{name}`)", "", world.expects, ""]
    changes = ", ".join(f"`{change}`" for change in world.changes if not change.startswith("annotator={"))
    lines.append(f"Recipe `{world.recipe}`" + (f" with {changes}." if changes else "."))
    lines.append(f"Training: {world.training or 'the recipe’s own, not chosen for this world'}")
    for result in results:
        lines += ["", f"**{result.metric}**{_gain(result)}", ""]
        table = [["arm", "what it is", "seeds", "area", "end", f"{OVER[result.effort]} to random's end", "p"]]
        for arm in result.arms:
            p = adjusted.get((name, arm.arm)) if result is results[0] else None
            table.append(_row(arm, world.arms.get(arm.arm, ""), result, p))
        lines += markdown_table(table) if result.arms else ["Nothing was measured."]
    lines += [f"- Failed: {study}: {error}" for study, error in world.failed.items()]
    return lines


def _gain(result: MetricResult) -> str:
    if result.gain is None:
        return ""
    gain = result.gain
    text = f": random gains {gain.value:.3f} ({gain.low:.3f} to {gain.high:.3f}) after the first batch"
    if result.unit is None:
        why = "which was not run here, or where its gain cannot be told from nothing"
        return f"{text}; shares would be of its gain in the base world, {why}."
    return text + ("." if result.unit == "own" else "; shares are of its gain in the base world.")


def _row(arm: ArmResult, what: str, result: MetricResult, p: float | None) -> list[str]:
    end = effort_in_words(arm, result)
    return [arm.arm, what, str(arm.seeds), _percent(arm.area), _percent(arm.end), end, NOTHING if p is None else _p(p)]


def _percent(interval: Interval | None) -> str:
    if interval is None:
        return NOTHING
    return f"{interval.value:+.0%} ({interval.low:+.0%} to {interval.high:+.0%})"


def effort_in_words(arm: ArmResult, result: MetricResult) -> str:
    """Return the effort and its interval in labels or seconds, with the share of random's whole effort."""
    if result.gain is not None and not result.has_end:
        return NOTHING

    share = arm.effort.share
    # The bootstrap of a few seeds is narrow because it cannot be wide.
    words = counted(share, result.whole, interval=arm.seeds >= FEWEST_SEEDS)
    return f"{words} of {result.whole:.0f}, {share.value:.0%}" if math.isfinite(share.value) else words


def counted(share: Interval, whole: float, *, interval: bool = True) -> str:
    """Return shares of a whole effort in labels or seconds; infinite is never."""
    value, low, high = (
        f"{x * whole:.0f}" if math.isfinite(x) else "never" for x in (share.value, share.low, share.high)
    )
    return f"{value} ({low} to {high})" if interval else value


def _p(p: float) -> str:
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def markdown_table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table in Markdown; the first row is its head."""
    lines = ["| " + " | ".join(cells) + " |" for cells in rows]
    return [lines[0], "|" + "---|" * len(rows[0]), *lines[1:]]
