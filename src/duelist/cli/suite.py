"""The `duelist suite` commands. This module imports only the dependencies of `--help`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from duelist.cli.console import (
    Jobs,
    Json,
    Quiet,
    TerminalProgress,
    err,
    mapping_table,
    out,
    print_json,
    require_none,
    say,
)
from duelist.errors import RecipeError
from duelist.progress import Silent, quiet_libraries

if TYPE_CHECKING:
    from duelist.compare.running import Outcome
    from duelist.suite.plan import SuiteSettings
    from duelist.suite.worlds import World

TUNING_SEEDS = "900:904"  # no table has them: development is on 0 to 99, confirmation on 1000 and up

suite = typer.Typer(
    help="Run every world and data set with every arm, and write one report: when does choosing pairs save labels?",
    invoke_without_command=True,
    rich_markup_mode="markdown",
)

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a suite.", show_default=False)]
Names = Annotated[
    str | None,
    typer.Option("--worlds", metavar="A,B", help="Run only these worlds (`duelist suite worlds`), in this order."),
]
Data = Annotated[
    list[str] | None,
    typer.Option("--data", metavar="WORLD=FOLDER", help="Folder with the files of a data set. May be repeated."),
]


@suite.callback(epilog="Example: `duelist suite --quick -o suite`.")
def run(
    context: typer.Context,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="DIR", help="Suite folder. It contains every study.")
    ] = None,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Run four worlds with the rule under test and random, in shorter studies."),
    ] = False,
    names: Names = None,
    seeds: Annotated[
        str | None,
        typer.Option("--seeds", metavar="0:20", help="Seeds. If not given, 0:20, and 0:8 if quick."),
    ] = None,
    scale_seeds: Annotated[
        str | None,
        typer.Option(
            "--scale-seeds",
            metavar="0:8",
            help="Those of the seeds on which the second random stream, the floor and the references run; `none` for "
            "no seed. If not given, all.",
        ),
    ] = None,
    arm: Annotated[
        list[str] | None,
        typer.Option("--arm", metavar="NAME:key=value,...", help="Add an arm, as `duelist compare` does. Repeatable."),
    ] = None,
    subsets: Annotated[
        int | None,
        typer.Option(
            "--subsets",
            min=0,
            help="Random subsets of which the best is a reference; 0 leaves it out. 64 if not given.",
        ),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="a.b=c", help="Override a recipe key in every world. May be repeated."),
    ] = None,
    data: Data = None,
    jobs: Jobs = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan, write nothing.")] = False,
    quiet: Quiet = False,
) -> None:
    """Run every world and data set with every arm, and write one report: when does choosing pairs save labels?

    Each world is a comparison in DIR/WORLD, with the files of `duelist compare`; DIR/report.md judges them together.
    The arms are random, the package's rule under test, a second random stream, a rule known to be bad, and references
    that see the true rewards. Worlds whose data are absent are skipped, and the report says so.

    Run the same command again to resume; finished studies do not run again. The same command with more seeds, worlds or
    arms extends the suite: name the earlier ones too, because the report has those of the last command. `duelist suite
    report DIR` reports what has finished, at any time. A failed study is reported, the others continue, and the exit
    code is 1.
    """
    if context.invoked_subcommand is not None:
        return
    quiet_libraries()
    from duelist.store.layout import require_folder_name
    from duelist.suite.report import write_report
    from duelist.suite.running import run_suite

    seeds = seeds or ("0:8" if quick else "0:20")
    settings = _settings(names, seeds, scale_seeds, arm, quick, subsets, overrides, data)
    if dry_run:
        _show_plan(settings)
        return
    if output is None:
        raise RecipeError("A suite needs a folder for its studies, but got none: give one with `-o DIR`.")
    require_folder_name(output)

    def on_outcome(outcome: Outcome) -> None:
        study = outcome.study
        ended = "failed" if outcome.error is not None else "done"
        line = f"{study.folder.relative_to(output)}: {ended} after {outcome.seconds:.1f} s"
        if not quiet:
            err.print(escape(line), soft_wrap=True, highlight=False)

    done = run_suite(output, settings, jobs, _progress(quiet), _command(), on_outcome)
    path = write_report(output)
    for name, reason in done.skipped.items():
        err.print(f"Skipped {name}: {escape(reason)}", soft_wrap=True, highlight=False)
    if not quiet:
        say(f"Report: {path}")
    require_none(done.failures)


@suite.command()
def report(
    folder: Folder,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Output file. If not given, DIR/report.md.")
    ] = None,
    over: Annotated[
        str, typer.Option("--over", metavar="EFFORT", help="Effort to random's end, as in `duelist compare`.")
    ] = "labels",
) -> None:
    """Write the report of a suite again, from DIR/suite.json and each world's curves.csv alone."""
    from duelist.compare.curves import require_effort
    from duelist.suite.report import write_report

    require_effort(over)
    say(str(write_report(folder, output, over)))


@suite.command("worlds")
def list_worlds(as_json: Json = False) -> None:
    """List the worlds and data sets, and when choice should help in each."""
    quiet_libraries()
    from duelist.suite.worlds import worlds

    found = {world.name: f"{world.title}. {world.expects.strip()}" for world in worlds()}
    if as_json:
        print_json(found)
    else:
        out.print(mapping_table(found, "Worlds: duelist suite --worlds NAME"))


@suite.command()
def tune(
    world: Annotated[str, typer.Argument(metavar="WORLD", help="World whose training is chosen.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder of the studies.")],
    seeds: Annotated[str, typer.Option("--seeds", metavar="900:904", help="Seeds that no table uses.")] = TUNING_SEEDS,
    grid: Annotated[
        list[str] | None,
        typer.Option(
            "--grid",
            metavar="a.b=v,w",
            help="Values to try of a key; all combinations. May be repeated. If not given, epochs and learning rates.",
        ),
    ] = None,
    data: Data = None,
    jobs: Jobs = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Choose, but leave the preset as it is.")] = False,
    quiet: Quiet = False,
) -> None:
    """Choose how a world trains by random's metric alone, and write it into the preset's file."""
    quiet_libraries()
    from duelist.compare.arms import parse_seeds
    from duelist.store.layout import require_folder_name
    from duelist.suite.training import GRID, choose_training, write_training
    from duelist.suite.worlds import with_data, worlds

    require_folder_name(output)
    (found,) = with_data(worlds([world]), data or [])
    numbers, keys = parse_seeds(seeds), tuple(grid or GRID)
    choice, candidates = choose_training(output, found, keys, numbers, jobs, _progress(quiet), _command())
    if not quiet:
        for candidate in candidates:
            say(f"area {candidate.area:.4f}, end {candidate.end:.4f}: {', '.join(candidate.changes)}")
    if not dry_run:
        say(f"Written to {write_training(found, choice)}")


@suite.command()
def repeat(
    folder: Folder,
    again: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder of the second run.")],
    studies: Annotated[int, typer.Option("--studies", min=1, help="Number of studies to repeat.")] = 4,
    jobs: Jobs = None,
    quiet: Quiet = False,
) -> None:
    """Run a random sample of a suite's studies a second time, and say in its report whether every row is equal."""
    quiet_libraries()
    from duelist.suite.report import write_report
    from duelist.suite.running import repeat_sample

    found = repeat_sample(folder, studies, again, jobs, _progress(quiet))
    write_report(folder)
    say(found)


def _settings(
    names: str | None,
    seeds: str,
    scale_seeds: str | None,
    arm: list[str] | None,
    quick: bool,
    subsets: int | None,
    overrides: list[str] | None,
    data: list[str] | None,
) -> SuiteSettings:
    from duelist.compare.arms import parse_arm, parse_seeds
    from duelist.suite.plan import SuiteSettings

    if quick and (subsets or scale_seeds not in (None, "none")):
        raise RecipeError(
            "`--quick` runs the rule under test and random alone, but `--scale-seeds` or `--subsets` asks for "
            "references: leave one of them out."
        )
    chosen = tuple(parse_seeds(seeds))
    scale: tuple[int, ...] | None = None
    if scale_seeds is not None:
        scale = () if scale_seeds == "none" else tuple(parse_seeds(scale_seeds, "--scale-seeds"))
    if outside := sorted(set(scale or ()) - set(chosen)):
        raise RecipeError(
            f"`--scale-seeds` must be among the seeds {seeds}, but {outside[0]} is not: an arm is compared with random "
            "on the same seeds."
        )
    return SuiteSettings(
        _worlds(names, quick, data),
        chosen,
        tuple(map(parse_arm, arm or [])),
        quick,
        SuiteSettings.subsets if subsets is None else subsets,
        tuple(overrides or ()),
        scale,
    )


def _worlds(names: str | None, quick: bool, data: list[str] | None) -> tuple[World, ...]:
    from duelist.recipe.values import listed_names
    from duelist.suite.worlds import with_data, worlds

    found = worlds(None if names is None else listed_names(names, "--worlds"), quick=quick)
    return tuple(with_data(found, data or []))


def _show_plan(settings: SuiteSettings) -> None:
    from dataclasses import replace

    from duelist.suite.plan import plan_subsets, plan_world, rules_of, total_labels

    # Every seed has the same studies, but for those that give a scale.
    first = settings.seeds[:1]
    alone, scaled = (replace(settings, seeds=first, scale_seeds=seeds) for seeds in ((), first))
    with_scale = len(settings.scaled)
    without = len(settings.seeds) - with_scale
    for world in settings.worlds:
        if world.absent is not None:
            say(f"{world.name}: skipped, {world.absent}")
            continue
        rules, every = plan_world(Path(), world, alone), plan_world(Path(), world, scaled)
        subsets = plan_subsets(Path(), world, scaled)
        labels = without * total_labels(rules) + with_scale * total_labels([*every, *subsets])
        rows = {
            "arms": ", ".join(rules_of(world, settings)),
            "studies": f"{without * len(rules) + with_scale * len(every)}, and {with_scale * len(subsets)} of random "
            "subsets",
            "labels in all": f"{labels:,}",
        }
        out.print(mapping_table(rows, world.name))


def _progress(quiet: bool) -> Silent | TerminalProgress:
    return Silent() if quiet else TerminalProgress(err)


def _command() -> str:
    """Return the command as it was written, for the record."""
    return shlex.join(["duelist", *sys.argv[1:]])
