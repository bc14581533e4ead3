"""Table of a run that grows by a line per evaluated round, the arms of a seed side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from duelist.cli.console import number

if TYPE_CHECKING:
    from duelist.compare.arms import PlannedStudy
    from duelist.evaluation.metrics import MetricSpec

GAP = "  "


class GrowingTable:
    """Lines of metrics.jsonl, printed once each as soon as every arm of the seed has measured the round.

    Lines are appended and never redrawn, so a terminal, a pipe and a log file show the same table.

    Args:
        studies: every study of the run, as `duelist.compare.beside.studies_of` returns them.
        console: where to print.
    """

    def __init__(self, studies: Sequence[PlannedStudy], console: Console) -> None:
        self._studies = studies
        self._console = console
        self._printed: set[tuple[int, int]] = set()
        self._metrics: Sequence[MetricSpec] = ()
        self._arms = list(dict.fromkeys(s.arm for s in studies))
        self._several = len({s.seed for s in studies}) > 1
        self._widths: list[int] = []

    def update(self, seed: int) -> None:
        """Print the rounds of a seed that every arm has measured and that were not printed yet."""
        from duelist.compare.curves import read_rows

        of_arms = [{row["round"]: row for row in read_rows(s.folder)} for s in self._studies if s.seed == seed]
        for t in sorted(set.intersection(*(set(rows) for rows in of_arms))):
            rows = [rows[t] for rows in of_arms]
            if (seed, t) not in self._printed and "evaluate" in rows[0]["seconds"]:
                self._printed.add((seed, t))
                self._print(seed, rows)

    def _print(self, seed: int, rows: Sequence[Mapping[str, Any]]) -> None:
        if not self._widths:
            self._begin(rows)
        cells = [str(seed)] if self._several else []
        cells += [str(rows[0]["round"]), str(rows[0]["labels"])]
        cells += [number(row.get(m.name), m.digits) for m in self._metrics for row in rows]
        self._console.print(Text(self._aligned(cells)), soft_wrap=True, highlight=False)

    def _begin(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Print the heading: which metrics there are is known with the first row."""
        from duelist.compare.beside import headline_metrics
        from duelist.evaluation.metrics import finite, shown_in

        single = len(self._arms) == 1
        measured = [m for m in shown_in("terminal") if finite(rows[0].get(m.name)) is not None]
        self._metrics = measured if single else headline_metrics(rows)
        names = ["seed"] if self._several else []
        names += ["round", "labels"]
        names += [m.title if single else f"{m.title}: {arm}" for m in self._metrics for arm in self._arms]
        self._widths = [max(len(name), 6) for name in names]
        units = [f"{m.title} in {m.unit}" for m in self._metrics if m.unit]
        head = "After each round, on held-out prompts" + (f"; {', '.join(units)}." if units else ".")
        self._console.print(Text(head), soft_wrap=True, highlight=False)
        self._console.print(Text(self._aligned(names), style="bold"), soft_wrap=True, highlight=False)

    def _aligned(self, cells: Sequence[str]) -> str:
        return GAP.join(cell.rjust(width) for cell, width in zip(cells, self._widths, strict=True))
