"""Output files of a comparison: table.md, table.csv, curves.csv, curves.png, curves.svg, summary.json."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from duelist._version import __version__
from duelist.compare.arms import PlannedStudy, recipes_of_arms, unshared
from duelist.compare.comparison import Failure, finished_rows
from duelist.compare.curves import metrics_to_show
from duelist.compare.picture import draw
from duelist.compare.sentences import sentences
from duelist.compare.summary import MetricSummary, choose_baseline, summarise
from duelist.compare.tables import curves_csv, few_seeds, markdown, table_csv
from duelist.recipe.recipe import recipe_content
from duelist.store.artifacts import write_json, write_text

PICTURE = "curves"  # .png and .svg; its numbers are in .csv


@dataclass(frozen=True)
class Results:
    """Results of a comparison: the table in Markdown, and all results as plain data for JSON."""

    table: str
    summary: Mapping[str, Any]


def write_results(
    folder: Path,
    studies: Sequence[PlannedStudy],
    metrics: Sequence[str],
    failures: Sequence[Failure] = (),
    over: str = "labels",
) -> Results:
    """Read the finished studies and write the results. The same studies give the same files.

    Args:
        folder: comparison folder.
        studies: all studies of the comparison, finished or not.
        metrics: values of `--metric`; empty for the default metrics.
        failures: failed studies.
        over: the effort of people that curves are drawn over: a column of `OVER`.

    Raises:
        RecipeError: if a metric was not measured.
        StorageError: if the disk is full.
    """
    rows = finished_rows(studies)
    recipes = recipes_of_arms(studies)
    baseline = choose_baseline({arm: recipe.acquisition.name for arm, recipe in recipes.items()})
    found = [summarise(rows, metric, baseline, over) for metric in metrics_to_show(metrics, rows)]
    summaries = [s for s in found if s is not None]
    missing = {arm: [s.seed for s in studies if s.arm == arm and s.seed not in rows[arm]] for arm in recipes}
    missing = {arm: seeds for arm, seeds in missing.items() if seeds}
    first = studies[0].recipe
    title = f"{first.name.removesuffix(f' ({studies[0].arm})')}: {', '.join(recipes)}"
    odd = unshared(studies)
    table = markdown(title, summaries, missing, odd)
    summary = {
        "title": title,
        "version": __version__,
        "baseline": baseline,
        "seeds": sorted({s.seed for s in studies}),
        "warning": few_seeds(summaries),
        "sentences": sentences(summaries),
        "unfinished": missing,
        "unshared": odd,
        "failures": [
            {"arm": f.study.arm, "seed": f.study.seed, "folder": str(f.study.folder), "error": f.error}
            for f in failures
        ],
        "metrics": [_plain(s) for s in summaries],
        "seconds_per_study": {arm: _seconds(list(of_arm.values())) for arm, of_arm in rows.items()},
        "arms": {arm: {**recipe_content(recipe), "seed": None} for arm, recipe in recipes.items()},
    }
    write_text(folder / "table.md", table)
    write_text(folder / "table.csv", table_csv(summaries))
    write_text(folder / f"{PICTURE}.csv", curves_csv(rows))
    write_json(folder / "summary.json", summary)
    if summaries:
        draw(summaries, title, folder / PICTURE)
    return Results(table, summary)


def _seconds(rows: Sequence[Sequence[Mapping[str, Any]]]) -> dict[str, float]:
    """Return the mean seconds that a study spent in each stage, and in total."""
    stages: dict[str, float] = {}
    for row in (row for of_study in rows for row in of_study):
        for stage, seconds in row["seconds"].items():
            stages[stage] = stages.get(stage, 0.0) + seconds / len(rows)
    return {k: round(v, 3) for k, v in {**stages, "total": sum(stages.values())}.items()}


def _plain(summary: MetricSummary) -> Any:
    def plain(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return value.tolist()
        if isinstance(value, dict):
            return {k: plain(v) for k, v in value.items()}
        return [plain(v) for v in value] if isinstance(value, list | tuple) else value

    return plain(dataclasses.asdict(summary))
