"""The `duelist compare` command. This module imports only the dependencies of `--help`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from duelist.cli.console import (
    Jobs,
    Json,
    Quiet,
    TerminalProgress,
    err,
    go_offline_if_unreachable,
    mapping_table,
    number,
    out,
    print_json,
    require_none,
    say,
)
from duelist.progress import Silent, quiet_libraries

if TYPE_CHECKING:
    from duelist.compare.arms import PlannedStudy
    from duelist.compare.comparison import Failure
    from duelist.compare.results import Results
    from duelist.compare.running import Outcome


def compare(
    recipe: Annotated[
        str, typer.Argument(metavar="RECIPE", help="Recipe file, or name of a shipped recipe (see `duelist recipes`).")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Comparison folder. It contains every study.")
    ],
    acquisition: Annotated[
        str | None,
        typer.Option(
            "--acquisition",
            "-a",
            metavar="A,B,C",
            help="Add an arm for each of these rules (`duelist methods`). The recipe's own rule keeps its settings.",
        ),
    ] = None,
    arm: Annotated[
        list[str] | None,
        typer.Option(
            "--arm",
            metavar="NAME:key=value,...",
            help="Add an arm that differs from the recipe in these keys. May be repeated. Arms follow those of "
            "`--acquisition`. Without either option, the arms are the recipe and those under its `compare` key.",
        ),
    ] = None,
    seeds: Annotated[
        str,
        typer.Option(
            "--seeds",
            metavar="0:20",
            help="Seeds: `0:20` for 0 to 19, or `0,3,5`. Use at least 8; fewer cannot establish a difference.",
        ),
    ] = "0:8",
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="a.b=c", help="Override a recipe key in every arm. May be repeated."),
    ] = None,
    each: Annotated[
        str | None,
        typer.Option(
            "--each",
            metavar="a.b=v,w",
            help="Repeat the whole comparison for each value of a key, in DIR/b=v, DIR/b=w, ...: `--each beta=0.5,1`.",
        ),
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            "--metric",
            metavar="NAME",
            help="Metric to compare: a number in metrics.jsonl. May be repeated. Write `NAME:lower` if lower is "
            "better. If not given, the mean reward, and its group-wise and weighted versions if the recipe "
            "measures them.",
        ),
    ] = None,
    over: Annotated[
        str,
        typer.Option(
            "--over",
            metavar="EFFORT",
            help="What curves are drawn over and compared at: `labels`, `responses` (read by people) or "
            "`annotation_seconds` (by the default model of reading time), where arms ask different questions.",
        ),
    ] = "labels",
    jobs: Jobs = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything, print the plan and its cost, write nothing.")
    ] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Compare rules on the same seeds: learning curves, labels saved, and whether the difference is more than chance.

    Each arm runs once per seed, as a complete study in DIR/studies/ARM/seed-NNN. Within a seed, all arms share the
    environment, prompts, initial model and annotator noise, so differences are paired by seed. The baseline is the arm
    `random`; if no arm selects at random, it is the first arm. The results are written to DIR: table.md, table.csv,
    curves.csv, curves.png, curves.svg and summary.json.

    Run the same command again to resume; finished studies do not run again. With more seeds or arms, only the new
    studies run. A failed study is reported, the others continue, and the exit code is 1.

    Examples: `duelist compare quickstart -a random,activedpo --seeds 0:20 -o comparison`,
    `duelist compare quickstart --arm plain: --arm small:acquisition.lambda=0.001,budget=8 --seeds 0:8 -o comparison`.
    """
    go_offline_if_unreachable(quiet or as_json)
    quiet_libraries()
    from duelist.compare.arms import parse_each, parse_seeds
    from duelist.compare.curves import parse_metric, require_effort
    from duelist.preflight.examination import examine_new
    from duelist.store.layout import require_folder_name

    seed_list = parse_seeds(seeds)
    for text in metric or []:
        parse_metric(text)
    require_effort(over)
    places = parse_each(each, output)
    planned = [
        (p, _studies(p.folder, recipe, [*(overrides or []), *p.changes], acquisition, arm, seed_list)) for p in places
    ]
    if dry_run:
        for _, studies in planned:
            _show_plan(studies, [s for s in studies if s.seed == seed_list[0]], quiet, as_json)
        return
    require_folder_name(output)
    progress = Silent() if quiet or as_json else TerminalProgress(err)
    for study in (s for _, studies in planned for s in studies if s.seed == seed_list[0]):
        found = examine_new(study.recipe, progress)  # reports errors in an arm before a folder is created
        for note in () if quiet or as_json else found.notes:
            say(f"Note: {note}")
    summaries: dict[str, Any] = {}
    tables: dict[str, str] = {}
    failures: list[Failure] = []
    for place, studies in planned:
        results, failed = _compare(place.folder, studies, metric or [], over, jobs, quiet or as_json)
        summaries[place.name], tables[place.name] = results.summary, results.table
        failures += failed
        if not quiet and not as_json:
            say(f"# {place.name}\n\n{results.table}" if place.name else results.table)
            if results.summary["metrics"]:  # else there is nothing to draw
                say(f"Picture: {place.folder / 'curves.png'}")
            say(f"Tables: {place.folder / 'table.md'}, table.csv beside it")
    if each:
        (output / "table.md").write_text("".join(f"# {k}\n\n{t}\n\n" for k, t in tables.items()), encoding="utf-8")
    if as_json:
        print_json(summaries if each else summaries[""])
    require_none(failures)


def _studies(
    folder: Path,
    recipe: str,
    changes: list[str],
    acquisition: str | None,
    arm: list[str] | None,
    seeds: Sequence[int],
) -> list[PlannedStudy]:
    from duelist.compare.arms import acquisition_arms, parse_arm, plan_studies
    from duelist.recipe.reading import load_recipe

    rules = acquisition_arms(acquisition, load_recipe(recipe, changes)) if acquisition is not None else []
    return plan_studies(folder, recipe, changes, [*rules, *map(parse_arm, arm or [])], seeds)


def _compare(
    folder: Path,
    studies: Sequence[PlannedStudy],
    metrics: Sequence[str],
    over: str,
    jobs: int | None,
    silent: bool,
) -> tuple[Results, Sequence[Failure]]:
    from duelist.compare.comparison import run_comparison
    from duelist.compare.results import write_results

    def on_outcome(outcome: Outcome) -> None:
        line = _line(outcome, metrics)  # reports an unmeasured metric at the first study, not at the last
        if not silent:
            err.print(escape(line), soft_wrap=True, highlight=False)

    progress = Silent() if silent else TerminalProgress(err)
    failures = run_comparison(folder, studies, jobs, progress, on_outcome)
    return write_results(folder, studies, metrics, failures, over), failures


def _line(outcome: Outcome, metrics: Sequence[str]) -> str:
    """Return a one-line summary of a finished study."""
    from duelist.compare.curves import metrics_to_show, read_rows

    study = outcome.study
    name = f"{study.arm}, seed {study.seed}"
    if outcome.error is not None:
        return f"{name}: failed after {outcome.seconds:.0f} s"
    rows = read_rows(study.folder)
    shown = metrics_to_show(metrics, {study.arm: {study.seed: rows}})[0].name
    return f"{name}: {shown} {number(rows[-1].get(shown))} after {rows[-1]['labels']} labels, {outcome.seconds:.1f} s"


def _show_plan(studies: Sequence[PlannedStudy], arms: Sequence[PlannedStudy], quiet: bool, as_json: bool) -> None:
    from dataclasses import asdict

    from duelist.compare.arms import unshared
    from duelist.compare.comparison import is_finished
    from duelist.preflight.plan import plan, plan_rows
    from duelist.recipe.recipe import recipe_content

    finished = sum(map(is_finished, studies))
    plans = {study.arm: plan(study.recipe) for study in arms}
    seeds = [s.seed for s in studies if s.arm == arms[0].arm]
    if as_json:
        print_json(
            {
                "studies": len(studies),
                "finished": finished,
                "seeds": seeds,
                "unshared": unshared(studies),
                "arms": {s.arm: {"recipe": recipe_content(s.recipe), "plan": asdict(plans[s.arm])} for s in arms},
            }
        )
        return
    if quiet:
        return
    labels = sum(plans[s.arm].labels for s in studies)
    out.print(
        mapping_table(
            {
                "arms": ", ".join(plans),
                "seeds": ", ".join(map(str, seeds)),
                "studies": f"{len(studies)}, of which {finished} are finished",
                "labels in all": f"{labels:,}",
            },
            "Comparison",
        )
    )
    for study in arms:
        out.print(mapping_table({**_differing(study, arms[0]), **plan_rows(plans[study.arm])}, f"Each of {study.arm}"))
    for note in {note: None for found in plans.values() for note in found.notes}:
        say(f"Note: {note}")
    for name, keys in unshared(studies).items():
        say(f"Note: {name} differs in {', '.join(keys)}, which the arms of a seed should share.")


def _differing(study: PlannedStudy, first: PlannedStudy) -> Mapping[str, Any]:
    """Return the acquisition and every other key in which an arm differs from the first."""
    from duelist.recipe.recipe import recipe_content

    own, other = recipe_content(study.recipe), recipe_content(first.recipe)
    keys = ["acquisition", *(k for k in own if own[k] != other[k] and k not in ("name", "acquisition"))]
    return {key: own[key] for key in keys}
