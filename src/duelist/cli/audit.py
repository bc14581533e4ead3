"""`duelist audit`. Imports at module level only what `--help` needs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from duelist.cli.console import Json, Quiet, StudyDir, TerminalProgress, err, out, print_json, say
from duelist.errors import RecipeError

if TYPE_CHECKING:
    from duelist.audit.section import AuditRow


def audit(
    study: StudyDir,
    embeddings: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Embeddings of the responses (.npz with `id` and `embedding`). If not given: the vectors that the "
            "study has, its reward model's, or the hidden states of its base model.",
        ),
    ] = None,
    lengths: Annotated[
        bool, typer.Option("--lengths", help="Use only the lengths of the responses: no model.")
    ] = False,
    repeats: Annotated[int, typer.Option(min=1, help="How often the prompts are divided into five folds.")] = 20,
    seed: Annotated[
        int, typer.Option(help="Seed of the folds, and of the labels that are drawn to train on as many of both kinds.")
    ] = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Estimate what the labels that a study's rule chose were worth beside random ones, by its control slice.

    The study needs `control_fraction` in its recipe: the share of each batch that is drawn at random from the pool.
    Small models are trained on equally many labels of both kinds and tested on random pairs of prompts that they have
    not seen. How wide the interval will be is printed first. The result is kept in DIR/audit.json, for the report.

    This compares labels, not studies: what active choice saves is measured by `duelist compare`, or, on preferences
    that you already have, by `duelist rehearse`.
    """
    from dataclasses import asdict

    from duelist.audit.audit import audit_study
    from duelist.audit.section import report_section
    from duelist.progress import Silent

    if lengths and embeddings is not None:
        raise RecipeError("The features come from one source, but got --lengths and --embeddings: leave one out.")
    progress = Silent() if quiet or as_json else TerminalProgress(err)
    found = audit_study(study, progress, embeddings=embeddings, lengths_alone=lengths, repeats=repeats, seed=seed)
    if as_json:
        print_json(asdict(found))
        return
    if quiet:
        return
    section = report_section(study)
    assert section is not None  # the audit has found control pairs
    say(section.sentences[0])
    out.print(_table(section.rows))
    for sentence in section.sentences[1:]:
        say(sentence)


def _table(rows: tuple[AuditRow, ...]) -> Table:
    from dataclasses import astuple

    table = Table()
    for name in ("held-out control pairs", "random", "active", "difference", "95 % interval"):
        table.add_column(name, justify="left" if name.startswith("held") else "right")
    for row in rows:
        table.add_row(*astuple(row))
    return table
