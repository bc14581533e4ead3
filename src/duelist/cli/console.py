"""Terminal output of `duelist`: progress with time left, round tables, and the options shared by all commands."""

from __future__ import annotations

import datetime
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars
from rich.table import Table
from rich.text import Text

from duelist.progress import Advance, Progress

if TYPE_CHECKING:
    from duelist.compare.comparison import Failure
    from duelist.evaluation.metrics import MetricSpec

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only errors.")]
StudyDir = Annotated[Path, typer.Argument(metavar="DIR", help="Study folder.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print only JSON, for scripts.")]
Jobs = Annotated[
    int | None,
    typer.Option("--jobs", "-j", min=1, help="Number of studies that run in parallel. If not given, one per core."),
]


class _Console(Console):
    """Console of a command, which ends quietly where its reader is gone: `duelist methods | head`."""

    def on_broken_pipe(self) -> None:
        """Raise the error on, for which typer ends a command; rich's own answer is `sys.exit`, a fault elsewhere."""
        raise


out = _Console()
err = _Console(stderr=True)


def say_certificate(diagnostics: Mapping[str, Any], where: str = "") -> None:
    """Print how close the batch is to the optimum, if the rule computed it."""
    if (line := certificate_line(diagnostics)) is not None:
        say(where + line)


def number(value: float | None, digits: int = 4) -> str:
    """Format a value with `digits` decimals; return a dash if it was not measured."""
    return "–" if value is None else f"{value:.{digits}f}"


def rate(speed: float) -> str:
    """Format a speed as steps per second, or as seconds per step if a step takes longer than a second."""
    return f"{speed:,.1f}/s" if speed >= 1 else f"{1 / speed:,.1f} s each"


def certificate_line(diagnostics: Mapping[str, Any]) -> str | None:
    """Return in words how close a batch is to the optimum; None if its rule does not compute it."""
    percent = diagnostics.get("within_percent_of_optimum")
    if percent is None and (lost := diagnostics.get("logdet_loss_bound_nats")) is not None:
        if lost == 0:
            return "the batch is that of plain greedy: no row was missed"
        return f"the batch lost at most {lost:.4g} nats of log-determinant against plain greedy, by an upper bound"
    if percent is None:
        return None
    shown = f"{percent:.1f}" if percent >= 10 else f"{percent:.2g}"
    return f"the batch is within {shown} % of the optimum (D-efficiency, by an upper bound that no batch exceeds)"


class _Throughput(ProgressColumn):
    """Column with the speed of a stage."""

    def render(self, task: Task) -> Text:
        return Text(rate(task.speed) if task.speed else "")


LINE_SECONDS = 10.0  # between two lines of progress without a terminal


class TerminalProgress(Progress):
    """Progress bar per stage with the time left; it disappears when the stage is done.

    Without a terminal (a file or a pipe, as in a batch job), long stages print a line of progress every few seconds.
    """

    def __init__(self, console: Console) -> None:
        self._console = console

    @contextmanager
    def stage(self, description: str, total: int) -> Iterator[Advance]:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            _Throughput(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        if not self._console.is_terminal:
            yield self._in_lines(description, total)
            return
        with Bars(*columns, console=self._console, transient=True) as bars:
            task = bars.add_task(description, total=total)
            yield lambda steps: bars.advance(task, steps)

    def _in_lines(self, description: str, total: int) -> Advance:
        begun = said = time.monotonic()
        done = at_once = 0

        def advance(steps: int) -> None:
            nonlocal said, done, at_once
            now = time.monotonic()
            if not done and now - begun < 0.1:
                at_once = steps  # cached steps say nothing about speed
            done += steps
            if now - said >= LINE_SECONDS and done < total:
                said, speed = now, max(done - at_once, 1) / (now - begun)
                left = datetime.timedelta(seconds=round((total - done) / speed))
                self.note(f"{description}: {done:,} of {total:,}, {rate(speed)}, {left} left")

        return advance

    def note(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


def round_table(lines: list[Mapping[str, Any]], title: str) -> Table:
    """Return a table with a row per line of metrics.jsonl and a column per metric that was measured."""
    table = Table(title=title, title_justify="left")
    measured = {m.heading: [_with_interval(line, m) for line in lines] for m in _metrics()}
    shown = {
        **{name: [str(line[name]) for line in lines] for name in ("round", "labels")},
        **{name: cells for name, cells in measured.items() if set(cells) != {number(None)}},
        "seconds": [f"{sum(line['seconds'].values()):.1f}" for line in lines],
    }
    for name in shown:
        table.add_column(name, justify="right")
    for row in zip(*shown.values(), strict=True):
        table.add_row(*row)
    return table


def mapping_table(rows: Mapping[str, Any], title: str) -> Table:
    """Return a table with two columns, name and value."""
    table = Table(title=title, title_justify="left", show_header=False)
    for key, value in rows.items():
        table.add_row(key, str(value))
    return table


def status_rows(state: Mapping[str, Any]) -> dict[str, str]:
    """Return a study's status as text, for a table; see `duelist.report.status.status`."""
    pending = state["pending"]
    rows = {
        "recipe": str(state.get("name", "")),
        "rounds closed": f"{state['rounds_closed']} of {state['rounds']}",
        "labels": str(state["labels"]),
        "in progress": _in_progress(state),
        "stages done": ", ".join(state["stages"]) or "–",
        "pending batch": f"{pending['answered']} of {pending['asked']} questions answered" if pending else "–",
        **_measured(state),
        "seconds so far": f"{state['seconds']:.1f}",
    }
    if reading := state.get("reading_time"):
        rows["reading time"] = (
            f"{reading['constant']:.1f} s a question, {reading['per_comparison']:.1f} s a comparison and "
            f"{reading['seconds_per_token']:.3g} s a token, from "
            f"{reading['times']} recorded times"
        )
    if judges := state.get("judges"):
        from duelist.judges.summary import in_words

        rows |= {use["judge"]: in_words(use) for use in judges}
    if cascade := state.get("cascade"):
        from duelist.cascade.words import in_words as trust_in_words

        rows[f"judge, round {cascade['round']}"] = "\n".join(trust_in_words(cascade))
    if damage := state.get("damage"):
        rows["damage"] = "\n".join(damage)
    others = {
        f"beside it: {name}": ", ".join(
            [f"{other['rounds_closed']} of {other['rounds']} rounds"]
            + [f"{k} {v}" for k, v in _measured(other).items()]
        )
        for name, other in state.get("compare", {}).items()
    }
    return rows | others


def _measured(state: Mapping[str, Any]) -> dict[str, str]:
    metrics = state["metrics"] or {}
    return {m.heading: _with_interval(metrics, m) for m in _metrics() if metrics.get(m.name) is not None}


def _with_interval(line: Mapping[str, Any], metric: MetricSpec) -> str:
    """Format a metric of a line of metrics.jsonl, with its 95 % interval if it has one."""
    from duelist.evaluation.metrics import interval_of

    ends = interval_of(metric, line)
    shown = number(line.get(metric.name), metric.digits)
    return shown if ends is None else f"{shown} ({' – '.join(number(x, metric.digits) for x in ends)})"


def _metrics() -> list[MetricSpec]:
    from duelist.evaluation.metrics import shown_in  # imported late: loads NumPy, which `--help` does not need

    return shown_in("terminal")


def _in_progress(state: Mapping[str, Any]) -> str:
    stopped = state.get("stopped")
    if state["round"] is None:
        return f"nothing: stopped, {stopped}" if stopped else "nothing: all rounds are closed"
    return f"round {state['round']}" + (f", the last: {stopped}" if stopped else "")


def say(text: str) -> None:
    """Print text unchanged, without markup or line wrapping: a path or YAML can be copied or piped."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def print_json(value: Any) -> None:
    """Print a value as one line of JSON."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def require_none(failures: Sequence[Failure]) -> None:
    """Print each study that failed, and exit with 1 if there are any."""
    if not failures:
        return
    from duelist.compare.comparison import ERROR_FILE

    for failure in failures:
        folder = failure.study.folder
        text = f"{folder} failed: {failure.error} (Details: {folder}{ERROR_FILE})"
        err.print(f"[red]Error:[/red] {escape(text)}", soft_wrap=True, highlight=False)
    err.print(f"{len(failures)} studies failed: fix the cause, then run the same command again.", highlight=False)
    raise typer.Exit(1)


def go_offline_if_unreachable(silent: bool) -> None:
    """Work offline if the Hugging Face Hub does not answer, and say so. Call it before the libraries are imported."""
    from duelist.settings.network import go_offline_without_hub

    line = go_offline_without_hub()
    if line is not None and not silent:
        err.print(line, soft_wrap=True, highlight=False)
