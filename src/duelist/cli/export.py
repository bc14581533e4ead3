"""`duelist export` and `duelist import`. Imports at module level only what `--help` needs."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from duelist.cli.annotate import Ledger, command
from duelist.cli.console import Quiet, StudyDir, err, say
from duelist.errors import RecipeError, StudyLockedError, unwritable_as_storage_error
from duelist.store.layout import require_study

if TYPE_CHECKING:
    from duelist.exchange.formats import Source
    from duelist.study.importing import ImportReport

LEDGER = "ledger.db"  # as in duelist.web.served_study, which needs the extra `annotate`
LABELS = ("trl", "jsonl", "csv")
TRAINERS = ("axolotl", "llama_factory")  # formats of duelist.exchange.training_files
TOOLS = ("label-studio", "argilla", "potato")


def export(
    study: StudyDir,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="FILE", help="Output file; for another trainer or tool, a folder."),
    ],
    format: Annotated[
        str,
        typer.Option(
            "--format",
            "-f",
            help="`trl`: preferences in TRL's format. `axolotl`, `llama_factory`: the same for these trainers, with "
            "the configuration that names the file. `jsonl`: every question with all its labels and answers. "
            "`csv`: a line for each label or answer: who, what, when, how long, what was shown. `label-studio`, "
            "`argilla`, `potato`: the questions to answer, in pick order, for that tool.",
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
    every: Annotated[
        bool, typer.Option("--every", help="For another tool: also questions that have an answer already.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Export a study's labels to a file, or its questions for another labelling tool.

    Works while another process runs the study. To train on a file of preferences, run `trl dpo --dataset_name FOLDER`.
    FOLDER must contain only that file. Votes given in another tool come back with `duelist import`.
    """
    from duelist.store.artifacts import write_jsonl, write_text
    from duelist.store.export import csv_text, label_rows, trl_rows
    from duelist.store.store import Store

    formats = (*LABELS, *TRAINERS, *TOOLS)
    for option, value, known in (("--format", format, formats), ("--pairs", pairs, ("all", "adjacent"))):
        if value not in known:
            raise RecipeError(f"`{option}` must be one of {', '.join(known)}, but got {value!r}: use one of them.")
    implied: Literal["all", "adjacent"] = "all" if pairs == "all" else "adjacent"
    require_study(study)
    if format in TOOLS:
        _export_questions(study, output, format, every, quiet)
        return
    if format in TRAINERS:
        _export_to_trainer(study, output, format, implied, quiet)
        return
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


def _export_to_trainer(
    study: Path, output: Path, format: str, implied: Literal["all", "adjacent"], quiet: bool
) -> None:
    from duelist.exchange.tasks import written_files
    from duelist.exchange.training_files import training_files
    from duelist.store.export import trl_rows
    from duelist.store.store import Store

    with closing(Store(study, migrate=False)) as store:
        rows = list(trl_rows(store, implied))
    files = training_files(format, rows, output)
    with unwritable_as_storage_error(output):
        written = written_files(output, files)
    if not quiet:
        say(f"{len(rows)} preferences written to {', '.join(map(str, written))}")


def _export_questions(study: Path, output: Path, format: str, every: bool, quiet: bool) -> None:
    from duelist.exchange.formats import TOOLS
    from duelist.exchange.tasks import study_name, tasks_of, written_files
    from duelist.store.store import Store

    with closing(Store(study, migrate=False)) as store:
        tasks = tasks_of(store, every=every)
        name = study_name(store)
    files = TOOLS[format](tasks, name)
    with unwritable_as_storage_error(output):
        written = written_files(output, files)
    if not quiet:
        say(f"{len(tasks)} questions written to {', '.join(map(str, written))}")


def import_(
    study: StudyDir,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="The tool's export: .json, .jsonl, .csv, .parquet, or its folder.")
    ],
    format: Annotated[
        str | None,
        typer.Option(
            "--format",
            "-f",
            help="`label-studio`, `argilla`, `potato`, `csv`, `jsonl` or `trl`. If not given, it is found out.",
        ),
    ] = None,
    store: Ledger = None,
    quiet: Quiet = False,
) -> None:
    """Record labels that people gave in another tool, and report each row that cannot be used.

    Unknown pairs, duplicates, contradictions and impossible votes are left out, each with its place and the remedy;
    the other rows are recorded. Exit code 0: every row was recorded, now or before; 1: some were left out. Importing
    again changes nothing. Works while `duelist annotate` runs, too.

    Preferences in TRL's format are labels of the pairs that were asked. Before round 1, preferences on other responses
    are recorded as known: they train and count as past questions, at no cost to the budget.
    """
    from duelist.study.importing import source_of

    require_study(study)
    say_imported(imported(study, source_of(file, format), store), quiet)


def say_imported(report: ImportReport, quiet: bool) -> None:
    """Print what an import did, a line for each row that was left out; exit with 1 if there are any."""
    for problem in report.problems:
        err.print(str(problem), markup=False, highlight=False, emoji=False, soft_wrap=True)
    if not quiet:
        known = f", {report.known} recorded as known before round 1" if report.known else ""
        say(
            f"{report.labels} answers recorded{known}, {report.repeated} recorded before, {len(report.problems)} rows "
            "left out."
        )
    if report.problems:
        raise typer.Exit(1)


def imported(study: Path, source: Source, ledger: str | None) -> ImportReport:
    """Import into a study: here, or through the server that has it open."""
    from duelist.study.importing import import_into
    from duelist.study.study import Study

    if ledger is None and not (study / LEDGER).is_file():
        try:
            opened = Study.open(study)
        except StudyLockedError:
            pass  # perhaps a server that has answered nothing yet
        else:
            with opened:
                return import_into(opened.stages, source)
    return _told(study, source, ledger)


def _told(study: Path, source: Source, ledger: str | None) -> ImportReport:
    """Import into a study that people answer at the page: its ledger takes the answers, as with `duelist tell`."""
    from duelist.exchange.served import told_rows
    from duelist.store.artifacts import write_jsonl
    from duelist.store.store import Store
    from duelist.study.importing import ImportReport, checked, unknown_pairs

    with closing(Store(study, migrate=False)) as store:
        sifted, others = checked(store, source)
        asked = {x.question.id for x in store.asked() if x.round > 0}
    rows, problems = told_rows(sifted, asked)
    with TemporaryDirectory() as folder:
        path = Path(folder).resolve() / "answers.jsonl"
        write_jsonl(path, rows)
        new = int(command(study, ledger, "tell", str(path))["new"]) if rows else 0
    left_out = (*sifted.problems, *problems, *unknown_pairs(others))
    return ImportReport(new, 0, sifted.repeated + len(rows) - new, left_out)
