"""The `duelist` command and its subcommands."""

from __future__ import annotations

import json
import os
import sys
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.markup import escape
from typer.core import TyperGroup

from duelist._version import __version__
from duelist.cli.compare import compare
from duelist.cli.console import (
    Json,
    Quiet,
    TerminalProgress,
    err,
    mapping_table,
    out,
    print_json,
    round_table,
    say,
    say_certificate,
    status_rows,
)
from duelist.cli.gallery import gallery
from duelist.cli.select import select
from duelist.errors import DuelistError, RecipeError, unwritable_as_storage_error
from duelist.progress import Silent, quiet_libraries
from duelist.store.layout import ARMS, METRICS, PREFERENCES, RECIPE, require_folder_name, require_study

STOPPED = "Stopped. Nothing recorded is lost: run the same command again to go on."


class _Commands(TyperGroup):
    """Group of all commands. It explains an interrupt or `sys.exit` before typer reduces it to an exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            err.print(STOPPED, soft_wrap=True)
            raise typer.Exit(130) from None
        except SystemExit as stop:  # from user code or a library: typer would exit with its code, perhaps 0
            raise DuelistError(
                f"A command must run to its end, but something that it called ended the process (exit code "
                f"{stop.code}): look for `sys.exit` in the recipe's own code. Nothing recorded is lost."
            ) from stop


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Select the response pairs that are worth annotating, train on the labels, and repeat.\n\n"
    "Start with `duelist run quickstart`: no download, no GPU, about two minutes.",
)

StudyDir = Annotated[Path, typer.Argument(metavar="DIR", help="Study folder.", show_default=False)]


def main() -> None:
    """Run the command. Print an expected error as one message on standard error and exit with code 2."""
    # A second OpenMP thread that spins on a busy core slows torch down tenfold; telemetry is off by default.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        app()
    except DuelistError as error:
        _end(str(error.args[-1]) if isinstance(error, OSError) and error.args else str(error))
    except OSError as error:  # names a file or folder the user gave; a full disk is explained elsewhere
        if error.filename is None:
            raise
        _end(f"{error.filename} must be usable, but is not: {error.strerror}. Correct the path or its permissions.")
    except KeyboardInterrupt:
        err.print(STOPPED, soft_wrap=True)
        sys.exit(130)


def _end(message: str) -> NoReturn:
    err.print(f"[red]Error:[/red] {escape(message)}", soft_wrap=True, highlight=False, emoji=False)
    sys.exit(2)


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        say(__version__)
        raise typer.Exit


@app.command()
def run(
    recipe: Annotated[
        str, typer.Argument(metavar="RECIPE", help="Recipe file, or name of a shipped recipe (see `duelist recipes`).")
    ],
    study: Annotated[
        Path | None, typer.Option("--study", metavar="DIR", help="Study folder. If not given, `studies/NAME`.")
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="a.b=c", help="Override a recipe key. May be repeated."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Resolve the recipe, print the plan and its cost, write nothing.")
    ] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Run a study: in each round, sample, select, annotate, train and evaluate.

    If DIR already contains the study, it resumes where it stopped, even after a crash or `kill -9`.

    Examples: `duelist run quickstart`, `duelist run hh --study my-study --set budget=100 --set acquisition=random`.
    """
    quiet_libraries()
    from duelist.recipe.recipe import load_recipe, policy_of

    resolved = load_recipe(recipe, overrides or [])
    if dry_run:
        _show_plan(resolved, quiet, as_json)
        return
    from duelist.compare.arms import with_arms
    from duelist.compare.beside import run_with_arms
    from duelist.preflight.examination import examine_new, require_trackers
    from duelist.report.page import write_report
    from duelist.report.record import read_arms
    from duelist.study.study import RoundReport

    folder = study or default_folder(resolved.name)
    require_folder_name(folder)
    silent = quiet or as_json
    progress = Silent() if silent else TerminalProgress(err)
    if (folder / RECIPE).is_file():
        for own in with_arms(resolved).values():
            require_trackers(own)  # trackers may change when a study resumes
    else:
        notes = [note for own in with_arms(resolved).values() for note in examine_new(own, progress).notes]
        for note in () if silent else dict.fromkeys(notes):
            say(f"Note: {note}")

    def on_round(arm: str, report: RoundReport) -> None:
        if as_json:
            print_json({"arm": arm, **report.metrics})
        elif not quiet and "evaluate" in report.metrics["seconds"]:
            out.print(round_table([report.metrics], f"{arm}, round {report.round}"))
            say_certificate(report.selection, f"{arm}, round {report.round}: ")

    run_with_arms(folder, resolved, progress, on_round)
    report = write_report(folder)
    if not silent:
        for arm in read_arms(folder):
            if arm.end.reason:
                say(f"{arm.label}: stopped after {arm.rounds_closed} of {arm.rounds} rounds: {arm.end.reason}.")
        _show_results(folder, [ARMS + "/" + name for name in resolved.compare])
        if resolved.reward_model is not None:
            weights, place = "Reward model", "reward_model"
        else:
            weights, place = ("Adapter", "adapter") if policy_of(resolved).adapter == "lora" else ("Model", "model")
        say(f"Report: {report}\n{weights}: {folder / place}\nPreferences: {folder / PREFERENCES}")


app.command()(compare)
app.command()(gallery)


app.command()(select)


@app.command()
def status(study: StudyDir, as_json: Json = False) -> None:
    """Print a study's progress: rounds, labels, pending pairs. Works while another process runs the study."""
    from duelist.report.status import status as read_status

    state = read_status(study)
    if as_json:
        print_json(state)
    else:
        out.print(mapping_table(status_rows(state), str(study)))


@app.command()
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


@app.command()
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


@app.command()
def recipes(as_json: Json = False) -> None:
    """List the shipped recipes."""
    from duelist.recipe.shipped import recipe_descriptions

    found = recipe_descriptions()
    if as_json:
        print_json(found)
    else:
        out.print(mapping_table(found, "Recipes: duelist run NAME"))


@app.command()
def methods(as_json: Json = False) -> None:
    """List the methods that a recipe can name, with citation, formula, required features, unit and cost."""
    from dataclasses import asdict

    from duelist.cli.methods import methods as list_methods

    found = list_methods()
    if as_json:
        print_json([asdict(m) for m in found])
        return
    for m in found:
        out.print(f"[bold]{m.kind}: {m.name}[/bold]  {escape(m.summary)}", soft_wrap=True, highlight=False)
        needs = ", ".join(m.needs)
        described = (("", m.reference), ("formula", m.formula), ("needs", needs), ("unit", m.unit), ("cost", m.cost))
        for title, text in described:
            if text:
                out.print(f"    {title + ': ' if title else ''}{escape(text)}", soft_wrap=True, highlight=False)


def _show_plan(recipe: Any, quiet: bool, as_json: bool) -> None:
    from dataclasses import asdict

    from duelist.preflight.plan import plan, plan_rows
    from duelist.recipe.recipe import recipe_content
    from duelist.recipe.round_plan import in_words
    from duelist.settings.validation import write_yaml

    found = plan(recipe)
    if as_json:
        print_json({"recipe": recipe_content(recipe), "plan": asdict(found)})
    elif not quiet:
        say(write_yaml(recipe_content(recipe)).rstrip())  # alone on standard output, to be saved as a recipe
        err.print(mapping_table(plan_rows(found), f"{recipe.name}: {in_words(recipe)}"))
        for note in found.notes:
            err.print(f"Note: {note}", markup=False, highlight=False, emoji=False, soft_wrap=True)


def default_folder(name: str) -> Path:
    """Return the default folder of a study, `studies/NAME`.

    Raises:
        RecipeError: if a folder cannot have that name.
    """
    own = name.replace("/", "-")
    if own in (".", ".."):
        raise RecipeError(f"A study's folder is studies/NAME, but `name` is {name!r}: change it, or give --study DIR.")
    return Path("studies") / own


def _show_results(folder: Path, others: list[str]) -> None:
    for place in (".", *others):
        lines = [json.loads(line) for line in (folder / place / METRICS).read_text("utf-8").splitlines()]
        lines = [m for m in lines if "evaluate" in m["seconds"]]
        out.print(round_table(lines, "This study" if place == "." else place))
    if others:
        say("One seed decides nothing: these studies show how a comparison looks, not which rule is better.")
