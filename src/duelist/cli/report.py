"""`duelist report`. Imports at module level only what `--help` needs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from duelist.cli.console import Quiet, StudyDir, say

if TYPE_CHECKING:
    from duelist.report.sections import Section


def report(
    study: StudyDir,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Output file. If not given, DIR/report.html.")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Write DIR/report.html: learning curve, reward–KL curve, selected pairs with their text. One file, no network.

    The numbers of the reward–KL curve are written to reward_kl.csv in the same folder.
    """
    from duelist.report.page import write_report

    path = write_report(study, output, audited(study))
    if not quiet:
        say(str(path))


def audited(folder: Path) -> list[Section]:
    """Return the section on a study's audit; none for a study without a control slice."""
    from duelist.audit.section import report_section
    from duelist.report.sections import Section, Table

    found = report_section(folder)
    if found is None:
        return []
    rows = [[row.name, row.random, row.active, row.difference, row.interval] for row in found.rows]
    table = Table(found.title, ["measure", "random", "active", "difference", "95 % interval"], rows) if rows else None
    return [Section("audit", found.title, found.sentences, table)]
