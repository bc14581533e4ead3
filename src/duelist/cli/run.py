"""`duelist run`. Imports at module level only what `--help` needs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from duelist.cli.annotate import HOST, PORT, Host, Ledger, Open, Port, serve
from duelist.cli.console import (
    Json,
    Quiet,
    TerminalProgress,
    err,
    go_offline_if_unreachable,
    out,
    print_json,
    say,
    say_certificate,
)
from duelist.cli.growing_table import GrowingTable
from duelist.cli.plan import estimate_content, say_plan, show
from duelist.errors import RecipeError
from duelist.progress import Progress, Silent, quiet_libraries
from duelist.store.layout import ARMS, PREFERENCES, README, RECIPE, require_folder_name

if TYPE_CHECKING:
    from duelist.compare.arms import PlannedStudy
    from duelist.recipe.recipe import Recipe
    from duelist.study.round_report import RoundReport


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
    engine: Annotated[
        str | None,
        typer.Option(
            "--engine", metavar="NAME", help="Who computes: local, ray or sharded. Short for `--set engine.name=`."
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Resolve the recipe, print the plan and its cost in a second, write nothing."),
    ] = False,
    check: Annotated[
        bool,
        typer.Option("--check", help="As --dry-run, with the checks and the sizes that need torch and the model."),
    ] = False,
    host: Host = HOST,
    port: Port = PORT,
    open_browser: Open = False,
    store: Ledger = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Run a study: in each round, sample, select, annotate, train and evaluate.

    If DIR already contains the study, it resumes where it stopped, even after a crash or `kill -9`. With `annotator:
    people`, it serves the questions to people's browsers (`--host`, `--port`, `--open`, `--store`), as `duelist
    annotate` does, which can also serve them to other machines.

    Examples: `duelist run quickstart`, `duelist run hh --study my-study --set budget=100 --set acquisition=random`.
    """
    from duelist.cascade.page import people_at_the_page
    from duelist.recipe.reading import load_recipe
    from duelist.recipe.recipe import policy_of

    named = [] if engine is None else [f"engine.name={engine}"]
    resolved = load_recipe(recipe, [*named, *(overrides or [])])
    people = people_at_the_page(resolved) is not None
    if not people and ((host, port) != (HOST, PORT) or open_browser):
        raise RecipeError(
            "`--host`, `--port` and `--open` are for questions that people answer, but `annotator` is "
            f"{'null' if resolved.annotator is None else resolved.annotator.name}: leave them out, or add `--set "
            "annotator=people`."
        )
    if dry_run or check:
        _show_plan(resolved, quiet, as_json, libraries=check)
        return
    _require_one_process()
    go_offline_if_unreachable(quiet or as_json)
    quiet_libraries()
    from duelist.cli.report import audited
    from duelist.compare.arms import with_arms
    from duelist.compare.beside import ahead, run_beside, studies_of
    from duelist.preflight.examination import require_trackers
    from duelist.report.page import write_report
    from duelist.report.record import read_arms

    folder = study or default_folder(resolved.name)
    require_folder_name(folder)
    silent = quiet or as_json
    progress = Silent() if silent else TerminalProgress(err)
    if (folder / RECIPE).is_file():
        for own in with_arms(resolved).values():
            require_trackers(own)  # trackers may change when a study resumes
    else:
        _examine(resolved, recipe, progress, silent)

    studies = studies_of(folder, resolved)
    table = GrowingTable(studies, out)

    def on_round(study: PlannedStudy, report: RoundReport) -> None:
        if as_json:
            print_json({"arm": study.arm, "seed": study.seed, **report.metrics})
        elif not quiet:
            table.update(study.seed)
            say_certificate(report.selection, f"{study.arm}, round {report.round}: ")

    if people:
        _serve_people(folder, resolved, store, open_browser, quiet, host=host, port=port)
    else:
        run_beside(studies, progress, on_round)
    report = write_report(folder, sections=audited(folder))
    if not silent:
        for seed in dict.fromkeys(s.seed for s in studies):
            table.update(seed)  # of studies that were finished before
        for arm in read_arms(folder):
            if arm.end.reason:
                say(f"{arm.label}: stopped after {arm.rounds_closed} of {arm.rounds} rounds: {arm.end.reason}.")
        if len(studies) > 1:
            from duelist.compare.results import PICTURE, write_results

            for found in ahead(studies):
                say(found.sentence)
            results = write_results(folder / ARMS, studies, ())
            if results.summary["metrics"]:  # else there is nothing to draw
                say(f"Picture: {folder / ARMS / PICTURE}.png")
        if resolved.reward_model is not None:
            weights, place = "Reward model", "reward_model"
        else:
            weights, place = ("Adapter", "adapter") if policy_of(resolved).adapter == "lora" else ("Model", "model")
        say(f"Report: {report}\n{weights}: {folder / place}\nPreferences: {folder / PREFERENCES}")
        say(f"What each file is: {folder / README}")


def _examine(recipe: Recipe, name: str, progress: Progress, silent: bool) -> None:
    """Examine a recipe that is about to run and its arms, then tell what was not checked, and the plan."""
    from duelist.compare.arms import with_arms
    from duelist.preflight.examination import examine_new
    from duelist.preflight.probe_cache import cached_probe

    own, *others = with_arms(recipe).values()
    found = examine_new(own, progress)
    notes = [*found.notes, *(note for other in others for note in examine_new(other, progress).notes)]
    if silent:
        return
    for note in dict.fromkeys(notes):
        say(f"Note: {note}")
    say_plan(found, cached_probe(recipe), name)


def _serve_people(
    folder: Path, recipe: Recipe, store: str | None, open_browser: bool, quiet: bool, **options: Any
) -> None:
    """Run a study that people answer at the page; it has no arms."""
    from duelist.study.study import Study

    if recipe.compare or recipe.compare_seeds > 1:
        raise RecipeError(
            "A study that people answer has no comparison arms and one seed, for who would answer theirs, but the "
            f"recipe has {', '.join(recipe.compare) or recipe.compare_seeds}: set `compare` to {{}} and "
            "`compare_seeds` to 1."
        )
    with Study.create(folder, recipe) as study:
        serve(study, store, open_browser, quiet, **options)


def _require_one_process() -> None:
    started = int(os.environ.get("WORLD_SIZE", "1")) if "TORCHELASTIC_RUN_ID" in os.environ else 1
    if started > 1:
        raise RecipeError(
            f"A study is one process, which starts those of a training itself, but torchrun (or accelerate launch) has "
            f"started {started}: run the command without it, and set `trainer.processes={started}`."
        )


def _show_plan(recipe: Recipe, quiet: bool, as_json: bool, libraries: bool) -> None:
    from duelist.preflight.estimate import estimate
    from duelist.recipe.recipe import recipe_content
    from duelist.settings.validation import write_yaml

    if libraries:
        go_offline_if_unreachable(quiet or as_json)
        quiet_libraries()
    found = estimate(recipe, libraries=libraries)
    if as_json:
        content = estimate_content(found)
        print_json({"recipe": recipe_content(recipe), "plan": content.pop("plan"), "estimate": content})
    elif not quiet:
        say(write_yaml(recipe_content(recipe)).rstrip())  # alone on standard output, to be saved as a recipe
        show(found, recipe, err)


def default_folder(name: str) -> Path:
    """Return the default folder of a study, `studies/NAME`.

    Raises:
        RecipeError: if a folder cannot have that name.
    """
    own = name.replace("/", "-")
    if own in (".", ".."):
        raise RecipeError(f"A study's folder is studies/NAME, but `name` is {name!r}: change it, or give --study DIR.")
    return Path("studies") / own
