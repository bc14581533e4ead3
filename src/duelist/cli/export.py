"""`duelist export`. Imports at module level only what `--help` needs."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated, Literal

import typer

from duelist.cli.console import Quiet, StudyDir, say
from duelist.errors import RecipeError, unwritable_as_storage_error
from duelist.store.layout import require_study


def export(
    study: StudyDir,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Output file.")],
    format: Annotated[
        str,
        typer.Option(
            "--format",
            "-f",
            help="`trl`: preferences in TRL's format. `jsonl`: every question with all its labels and answers. "
            "`csv`: a line for each label or answer: who, what, when, how long, what was shown.",
        ),
    ] = "trl",
    pairs: Annotated[
        str,
        typer.Option(
            "--pairs",
            help="Of a ranking, with `trl`: `all` implied pairs, weighted by the ranking's information (column "
            "`weight`), or `adjacent` ones, which give smaller rewards.",
        ),
    ] = "all",
    quiet: Quiet = False,
) -> None:
    """Export a study's labels to a file. Works while another process runs the study.

    To train on the file, run `trl dpo --dataset_name FOLDER`. FOLDER must contain only that file.
    """
    from duelist.store.artifacts import write_jsonl, write_text
    from duelist.store.export import csv_text, label_rows, trl_rows
    from duelist.store.store import Store

    for option, value, known in (
        ("--format", format, ("trl", "jsonl", "csv")),
        ("--pairs", pairs, ("all", "adjacent")),
    ):
        if value not in known:
            raise RecipeError(f"`{option}` must be one of {', '.join(known)}, but got {value!r}: use one of them.")
    implied: Literal["all", "adjacent"] = "all" if pairs == "all" else "adjacent"
    require_study(study)
    with closing(Store(study, migrate=False)) as store:
        text = csv_text(store) if format == "csv" else ""
        rows = [] if text else list(trl_rows(store, implied) if format == "trl" else label_rows(store))
    with unwritable_as_storage_error(output):
        if text:
            write_text(output, text)
        else:
            write_jsonl(output, rows)
    if not quiet:
        say(f"Written to {output}" if text else f"{len(rows)} rows written to {output}")
