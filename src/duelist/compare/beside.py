"""Sequential runs of a study and its comparison arms in this process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from duelist.compare.arms import with_arms
from duelist.progress import Progress
from duelist.recipe.recipe import Recipe
from duelist.store.layout import ARMS
from duelist.study.study import RoundReport, Study


def run_with_arms(
    folder: Path, recipe: Recipe, progress: Progress, on_round: Callable[[str, RoundReport], None]
) -> None:
    """Run a study, then each of its comparison arms as a complete study under `folder/compare/NAME`.

    Every arm has the same seed, so it has the same prompts, initial model and annotator noise. Finished arms are
    skipped.

    Args:
        folder: folder of the main study.
        recipe: recipe of the main study.
        progress: shows the progress.
        on_round: called with the arm's name (for the main study, its acquisition's name) and each round's report.

    Raises:
        RecipeError: if an arm has the name of the recipe's own acquisition.
    """
    for name, own_recipe in with_arms(recipe).items():
        place = folder if own_recipe is recipe else folder / ARMS / name
        with Study.create(place, own_recipe, progress) as study:
            study.run(on_round=lambda report, name=name: on_round(name, report))  # type: ignore[misc]
