"""The start of PILAF's comparison in miniature: a world, and the policy after a first, vanilla iteration."""

from __future__ import annotations

import shutil
from pathlib import Path

from duelist import Study, load_recipe, world
from duelist.recipe.reading import with_prepared
from duelist.seeding import derived_seed

OVERRIDES = ("prepare=null", "compare={}", "policy.initial_model=null", "sampler.name=vanilla")


def prepare(folder: Path, *, recipe: str, seed: int, prompts: int = 400) -> None:
    """Write a synthetic environment and, in `first/`, the policy of a first iteration: all arms start from it.

    The first iteration is the recipe's own with vanilla sampling, from the environment's fine-tuned model. Its seed is
    derived, so that no arm draws with the random numbers of the first iteration.

    Args:
        folder: an empty folder.
        recipe: the recipe whose method and training the first iteration uses.
        seed: the only source of randomness.
        prompts: number of training prompts.
    """
    world.prepare(folder, seed=seed, prompts=prompts)
    own = f"seed={derived_seed(seed, 'first iteration') % 2**31}"
    first = with_prepared(load_recipe(recipe, [*OVERRIDES, own]), folder)
    with Study.create(folder / "study", first) as study:
        study.run()
    shutil.move(folder / "study" / "model", folder / "first")
    shutil.rmtree(folder / "study")
