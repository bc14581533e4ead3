"""`duelist report`. Imports at module level only what `--help` needs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from duelist.cli.console import Quiet, StudyDir, say


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

    path = write_report(study, output)
    if not quiet:
        say(str(path))
