"""`duelist plan`. Imports at module level only what `--help` needs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from duelist.cli.console import (
    Json,
    TerminalProgress,
    err,
    go_offline_if_unreachable,
    mapping_table,
    out,
    print_json,
    say,
)
from duelist.errors import RecipeError
from duelist.progress import Silent, quiet_libraries

if TYPE_CHECKING:
    from duelist.preflight.cost_model import CostModel
    from duelist.preflight.estimate import Estimate
    from duelist.preflight.examination import Findings


def plan(
    recipe: Annotated[
        str, typer.Argument(metavar="RECIPE", help="Recipe file, or name of a shipped recipe (see `duelist recipes`).")
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="a.b=c", help="Override a recipe key. May be repeated."),
    ] = None,
    machine: Annotated[
        Path | None,
        typer.Option("--machine", metavar="FILE", help="Description of another machine (YAML). If not given, this."),
    ] = None,
    probe: Annotated[
        bool,
        typer.Option("--probe", help="Measure this machine first: small studies of the recipe, at most a minute."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Print what a study will cost: labels, people's hours, seconds, memory, disk and money.

    Seconds are known after a probe of this machine, which later plans of the recipe remember, or for a described
    machine, where they are a projection. If memory or disk does not suffice, the plan says what to change, and the exit
    code is 1. No study is run, and no folder made.

    Examples: `duelist plan quickstart --probe`, `duelist plan hh --machine docs/machine.yaml --set budget=500`.
    """
    import time
    from dataclasses import replace

    if probe and machine is not None:
        raise RecipeError(
            "`--probe` measures this machine and `--machine` describes another one, but both are given: leave one out."
        )
    go_offline_if_unreachable(as_json)
    quiet_libraries()
    from duelist.preflight.described import read_machine
    from duelist.preflight.estimate import estimate
    from duelist.preflight.probe import probe as measure
    from duelist.preflight.probe_cache import keep_probe
    from duelist.recipe.reading import load_recipe

    resolved, measured = load_recipe(recipe, overrides or []), None
    described = None if machine is None else read_machine(machine)
    if probe:
        loading = time.process_time()
        measured = measure(resolved, Silent() if as_json else TerminalProgress(err))
        measured = replace(measured, start_seconds=measured.start_seconds + loading)
        keep_probe(resolved, measured)
    found = estimate(resolved, libraries=True, machine=described, measured=measured)
    if as_json:
        print_json(estimate_content(found))
    else:
        show(found, resolved, out)
    if found.changes:
        raise typer.Exit(1)


def show(found: Estimate, recipe: Any, console: Any) -> None:
    """Print an estimate as a table, its notes, and what to change if memory or disk does not suffice."""
    from duelist.preflight.estimate import estimate_rows
    from duelist.recipe.round_plan import in_words

    console.print(mapping_table(estimate_rows(found), f"{recipe.name}: {in_words(recipe)}"))
    studies = (1 + len(recipe.compare)) * recipe.compare_seeds
    arms = [f"The plan is for one of the {studies} studies that `duelist run` runs (arms and seeds)."]
    notes = [f"Note: {note}" for note in [*found.plan.notes, *(arms if studies > 1 else [])]]
    for line in [*notes, *found.changes]:
        console.print(line, markup=False, highlight=False, emoji=False, soft_wrap=True)


def estimate_content(found: Estimate) -> dict[str, Any]:
    """Return an estimate as JSON."""
    from dataclasses import asdict

    return asdict(found)


def say_plan(examined: Findings, model: CostModel | None, name: str) -> None:
    """Print in one line what a study that is about to start will cost, and what does not fit.

    Args:
        examined: the recipe, examined.
        model: the last probe of it; None if there was none.
        name: how the command named it.
    """
    from duelist.preflight.estimate import estimate_of, in_a_line

    found = estimate_of(examined, libraries=False, model=model)
    say(f"Plan: {in_a_line(found, name)}")
    for line in found.changes:
        say(line)
