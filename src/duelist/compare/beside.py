"""Runs of a study, of its comparison arms, and of both on further seeds, one after another in this process."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from duelist.compare.arms import PlannedStudy, with_arms
from duelist.compare.curves import described, read_rows
from duelist.compare.statistics import FEWEST_SEEDS
from duelist.evaluation.metrics import MetricSpec, finite
from duelist.progress import Progress
from duelist.recipe.recipe import Recipe
from duelist.store.layout import ARMS, SEEDS
from duelist.study.round_report import RoundReport
from duelist.study.study import Study

HEADLINES = ("mean_reward", "j", "best_of_n_reward", "pair_accuracy")  # metrics of the table, if they are measured


def studies_of(folder: Path, recipe: Recipe) -> list[PlannedStudy]:
    """Return a study, its arms, and both on the further seeds of `compare_seeds`, in running order.

    Every arm of a seed has the same prompts, initial model and annotator noise. Arms are complete studies in
    `compare/NAME`, further seeds in `seeds/seed-NNN`, with their own arms beside them.

    Raises:
        RecipeError: if an arm has the name of the recipe's own acquisition.
    """
    planned = []
    for seed in range(recipe.seed, recipe.seed + recipe.compare_seeds):
        first = seed == recipe.seed
        own = recipe if first else recipe.model_copy(update={"seed": seed, "compare_seeds": 1})
        place = folder if first else folder / SEEDS / f"seed-{seed:03d}"
        for name, arm in with_arms(own).items():
            planned.append(PlannedStudy(name, seed, place if arm is own else place / ARMS / name, arm))
    return planned


def run_beside(
    studies: Sequence[PlannedStudy], progress: Progress, on_round: Callable[[PlannedStudy, RoundReport], None]
) -> None:
    """Run the studies one after another. Finished ones are skipped.

    Args:
        studies: the studies, as `studies_of` returns them.
        progress: shows the progress.
        on_round: called with the study and each round's report.
    """
    _keep_libraries_out_of_collections(studies[0].recipe)
    for planned in studies:
        with Study.create(planned.folder, planned.recipe, progress) as study:
            study.run(on_round=lambda report, planned=planned: on_round(planned, report))  # type: ignore[misc]


def _keep_libraries_out_of_collections(recipe: Recipe) -> None:
    """Import what training needs, and freeze its objects: TRL's trainers collect garbage after every training."""
    for handed_on in recipe.trainer.build().trl_settings:
        import trl

        getattr(trl, handed_on.config.replace("Config", "Trainer"))
    gc.collect()
    gc.freeze()


def headline_metrics(rows: Sequence[Mapping[str, Any]]) -> list[MetricSpec]:
    """Return the metrics that the table shows for each arm: those of `HEADLINES` that were measured, at most two."""
    return [described(n) for n in HEADLINES if any(finite(row.get(n)) is not None for row in rows)][:2]


@dataclass(frozen=True)
class Ahead:
    """On how many seeds a study ends ahead of an arm.

    Attributes:
        own: the study's arm.
        other: the arm that it is compared with.
        ahead: number of seeds on which the study is ahead.
        seeds: number of seeds on which both were measured.
        metric: the metric that decides.
        labels: number of labels at the end.
        worlds: whether each seed has an environment of its own.
    """

    own: str
    other: str
    ahead: int
    seeds: int
    metric: MetricSpec
    labels: int
    worlds: bool

    @property
    def sentence(self) -> str:
        """The result in one sentence."""
        places = ("world" if self.worlds else "seed") + ("s" if self.seeds != 1 else "")
        enough = f" Fewer than {FEWEST_SEEDS} seeds cannot establish a difference." if self.seeds < FEWEST_SEEDS else ""
        return (
            f"{self.own} is ahead of {self.other} on {self.ahead} of {self.seeds} {places}, by {self.metric.title} "
            f"after {self.labels} labels; what that is worth: docs/evidence.md.{enough}"
        )


def ahead(studies: Sequence[PlannedStudy]) -> list[Ahead]:
    """Return for each arm on how many seeds the study ends ahead of it; empty without arms or a common metric."""
    rows = {(s.arm, s.seed): read_rows(s.folder) for s in studies}
    own, *others = dict.fromkeys(s.arm for s in studies)
    metrics = headline_metrics([row for of_study in rows.values() for row in of_study])
    if not metrics:
        return []
    metric, recipe, found = metrics[-1], studies[0].recipe, []
    sign = -1 if metric.better == "lower" else 1
    for other in others:
        pairs = []
        for seed in dict.fromkeys(s.seed for s in studies):
            last = [finite(rows[arm, seed][-1].get(metric.name)) if rows[arm, seed] else None for arm in (own, other)]
            if last[0] is not None and last[1] is not None:
                pairs.append(sign * (last[0] - last[1]))
        worlds = recipe.prepare is not None and "{seed}" in str(recipe.prepare.settings)
        labels = int(str(rows[own, studies[0].seed][-1]["labels"]))
        found.append(Ahead(own, other, sum(d > 0 for d in pairs), len(pairs), metric, labels, worlds))
    return found
