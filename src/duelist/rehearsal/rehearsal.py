"""A rehearsal: studies of several rules on the same preferences and seeds, and what each rule would have saved."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from duelist.compare.arms import ArmSettings, PlannedStudy, plan_studies, require_arms
from duelist.compare.comparison import Failure, finished_rows, run_comparison
from duelist.compare.curves import Curve, Row, Rows, curve
from duelist.compare.results import write_results
from duelist.compare.running import Outcome
from duelist.compare.statistics import FEWEST_SEEDS
from duelist.errors import DataError, RecipeError
from duelist.progress import Progress
from duelist.recipe.reading import parse_recipe
from duelist.recipe.values import override
from duelist.rehearsal.preparing import recipe_of_studies
from duelist.rehearsal.saving import MetricSavings, savings
from duelist.rehearsal.words import verdict
from duelist.seeding import generator
from duelist.store.artifacts import write_json

# Rules by default: the default of studies, uncertainty, two designs, the second also drawn with known probabilities.
RULES = (
    ArmSettings("policy_gap", ("acquisition={name: policy_gap, target: pool}",)),
    ArmSettings("entropy", ("acquisition=entropy",)),
    ArmSettings("pa_d_opt", ("acquisition={name: pa_d_opt, optimizer: greedy}",)),
    ArmSettings("v_opt", ("acquisition=v_opt",)),
    ArmSettings("v_opt_lure", ("acquisition={name: v_opt, lure: {}}",)),
)
RANDOM = ArmSettings("random", ("acquisition=random",))
METRICS = {"log_loss": False, "pair_accuracy": True}  # name -> whether higher is better; the first decides
FILE = "rehearsal.json"


@dataclass(frozen=True)
class Rehearsal:
    """Result of a rehearsal.

    Attributes:
        labels: labels of each study.
        seeds: number of seeds that every arm has finished.
        left_out: rules that have not finished two seeds.
        metrics: savings by metric, the deciding one first.
        verdict: what they say, in sentences.
    """

    labels: int
    seeds: int
    left_out: tuple[str, ...]
    metrics: tuple[MetricSavings, ...]
    verdict: tuple[str, ...]


def planned(recipe: Path, rules: Sequence[ArmSettings], seeds: Sequence[int]) -> list[PlannedStudy]:
    """Return the studies of a rehearsal: random selection, and the rules.

    Raises:
        RecipeError: if there is no rule beside random selection, there are fewer than two seeds, or a rule is invalid.
    """
    others = require_comparable(rules, seeds)
    return plan_studies(recipe.parent, str(recipe), (), [RANDOM, *others], seeds)


def require_comparable(rules: Sequence[ArmSettings], seeds: Sequence[int]) -> list[ArmSettings]:
    """Return the rules beside random selection. Nothing is read: mistakes in rules are found before the preferences.

    Raises:
        RecipeError: if there is no rule, there are fewer than two seeds, a rule's name or settings are invalid, or an
            arm that is called random selects otherwise.
    """
    others = [rule for rule in rules if rule.name != RANDOM.name or rule.changes not in ((), RANDOM.changes)]
    if len(seeds) < 2 or not others:
        raise RecipeError(
            f"A rehearsal needs two seeds or more and a rule beside random, but got {len(seeds)} and {len(others)}: "
            f"raise --seeds ({FEWEST_SEEDS} or more can establish a difference), or name a rule with --rules."
        )
    require_arms(others)
    for rule in others:
        if rule.name == RANDOM.name:
            raise RecipeError(
                f"The arm `random` of a rehearsal is random selection, but got one with {', '.join(rule.changes)}: "
                "give it another name."
            )
        content = recipe_of_studies(Path(), 1, 1)
        for change in rule.changes:
            override(content, change)
        parse_recipe(content)
    return others


def run_rehearsal(
    folder: Path,
    studies: Sequence[PlannedStudy],
    jobs: int | None,
    progress: Progress,
    on_outcome: Callable[[Outcome], None] = lambda outcome: None,
) -> tuple[Rehearsal | None, list[Failure]]:
    """Run the studies that are not finished, and write `rehearsal.json` and the tables of a comparison.

    Args:
        folder: the rehearsal's folder.
        studies: its studies (`planned`).
        jobs: number of processes; None for as many as fit on the cores.
        progress: shows how many studies are done.
        on_outcome: called when a study ends.

    Returns:
        The result, None if random selection and the rules share fewer than two finished seeds; and the studies that
        failed.
    """
    failures = run_comparison(folder, studies, jobs, progress, on_outcome)
    write_results(folder, studies, list(METRICS), failures)
    found = rehearsed(finished_rows(studies))
    if found is not None:
        write_json(folder / FILE, asdict(found))
    return found, failures


def rehearsed(rows: Rows) -> Rehearsal | None:
    """Return what finished studies say; None if random selection and the rules share fewer than two finished seeds.

    Rules that have not finished two seeds are left out.

    Raises:
        DataError: if a study has not measured a metric.
    """
    kept = {arm: of_arm for arm, of_arm in rows.items() if arm == RANDOM.name or len(of_arm) >= 2}
    seeds = sorted(set.intersection(*(set(of_arm) for of_arm in kept.values())))
    if len(seeds) < 2 or len(kept) < 2:
        return None
    metrics = []
    for metric, higher in METRICS.items():
        curves = {arm: [_curve(arm, s, of_arm[s], metric) for s in seeds] for arm, of_arm in kept.items()}
        # Ties are no labels, so studies may differ by some: all are read at the counts of the shortest.
        shortest = min((c for of_arm in curves.values() for c in of_arm), key=lambda c: c.labels_E[-1])
        labels_E = shortest.labels_E[1:] if len(shortest.labels_E) > 2 else shortest.labels_E
        values = {
            arm: np.array([np.interp(labels_E, c.labels_E, c.values_E) for c in of_arm])
            for arm, of_arm in curves.items()
        }
        found = savings(labels_E, values, RANDOM.name, higher, generator(0, "rehearsal", metric))
        start, end = (float(values[RANDOM.name][:, i].mean()) for i in (0, -1))
        metrics.append(MetricSavings(metric, higher, start, end, tuple(found)))
        labels = int(labels_E[-1])
    left_out = tuple(arm for arm in rows if arm not in kept)
    says = verdict(labels, len(seeds), metrics[0], left_out)
    return Rehearsal(labels, len(seeds), left_out, tuple(metrics), says)


def _curve(arm: str, seed: int, rows: Sequence[Row], metric: str) -> Curve:
    found = curve(rows, metric)
    if found is None:
        raise DataError(
            f"A rehearsal compares the {metric} of its studies, but that of {arm} on seed {seed} has measured none: "
            "delete its folder under `studies`, then run the same command again."
        )
    return found
