"""`duelist export`. Imports at module level only what `--help` needs."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from duelist.cli.console import Quiet, StudyDir, say
from duelist.errors import RecipeError, unwritable_as_storage_error
from duelist.store.layout import require_study


def export(
    study: StudyDir,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Output file.")],
    format: Annotated[
        str, typer.Option("--format", "-f", help="`trl`: preferences in TRL's format. `jsonl`: every label.")
    ] = "trl",
    quiet: Quiet = False,
) -> None:
    """Export a study's labels to a file. Works while another process runs the study.

    To train on the file, run `trl dpo --dataset_name FOLDER`. FOLDER must contain only that file.
    """
    from duelist.store.artifacts import write_jsonl
    from duelist.store.export import label_rows, trl_rows
    from duelist.store.store import Store

    writers = {"trl": trl_rows, "jsonl": label_rows}
    if format not in writers:
        raise RecipeError(f"`--format` must be one of {', '.join(writers)}, but got {format!r}: use one of them.")
    require_study(study)
    with closing(Store(study, migrate=False)) as store:
        rows = list(writers[format](store))
    with unwritable_as_storage_error(output):
        write_jsonl(output, rows)
    if not quiet:
        say(f"{len(rows)} rows written to {output}")
