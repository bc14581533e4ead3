"""Supervised fine-tuning before round 1: its stage, and the recipe that has its result as the base model."""

from __future__ import annotations

from pathlib import Path

from duelist.progress import Progress
from duelist.recipe.recipe import Recipe, policy_of
from duelist.seeding import derived_seed
from duelist.store.folder import StudyFolder
from duelist.store.layout import round_folder
from duelist.study.components import prepared

STAGE = "sft"  # of round 0, and the name of its folder there


def run_fine_tuning(recipe: Recipe, folder: StudyFolder, progress: Progress) -> None:
    """Run the stage of round 0 that fine-tunes the base model, unless it is finished or the recipe has none.

    Args:
        recipe: the study's recipe, not prepared yet.
        folder: the study's folder.
        progress: receives the number of optimizer steps done.
    """
    ready = prepared(recipe, progress)
    initial, policy = ready.initial, ready.policy
    if initial is None or initial.sft is None or policy is None:
        return
    config, source = initial.sft, initial.demonstrations(ready.known)
    assert source is not None  # the recipe was validated

    def fill(target: Path) -> dict[str, float]:
        from duelist.trainers.trl_sft import fine_tune

        return dict(fine_tune(policy, config, source, derived_seed(recipe.seed, STAGE), target, progress))

    folder.run_training(0, STAGE, fill, STAGE)


def with_fine_tuned(recipe: Recipe, folder: Path) -> Recipe:
    """Return a recipe whose base model is the one that the stage makes; the recipe itself if it has no such stage.

    Args:
        recipe: the study's recipe.
        folder: the study's folder.
    """
    if recipe.initial is None or recipe.initial.sft is None:
        return recipe
    model = round_folder(folder, 0).absolute() / STAGE  # workers may have another working folder
    # The template is in the saved tokenizer, and the revision is that of the model before.
    made = {"model": str(model), "revision": None, "chat_template": None}
    return recipe.model_copy(update={"policy": policy_of(recipe).model_copy(update=made)})
