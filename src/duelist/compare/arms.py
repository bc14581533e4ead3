"""Which studies a comparison has: its arms, its seeds, and each study's recipe and folder."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from duelist.errors import RecipeError
from duelist.recipe.recipe import Recipe, arms, load_recipe, recipe_content
from duelist.recipe.values import listed_names, require_arm_name

STUDIES = "studies"
MOST_SEEDS = 10_000
# What all arms of a seed share, so that they differ by what they choose alone.
SHARED = ("prepare", "prompts", "policy", "annotator", "reward", "evaluation")


@dataclass(frozen=True)
class PlannedStudy:
    """One study of a comparison: an arm on a seed."""

    arm: str
    seed: int
    folder: Path
    recipe: Recipe


@dataclass(frozen=True)
class ArmSettings:
    """An arm as asked for: its name, and the changes `key.path=value` that make its recipe."""

    name: str
    changes: tuple[str, ...]


def parse_seeds(text: str) -> list[int]:
    """Seeds from `0:20` (20 of them, 0 to 19), `0,3,5`, or both, `0:4,9`.

    Raises:
        RecipeError: if the text is of another form, or names no seed or one twice.
    """
    seeds: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,18})(?::(\d{1,18}))?\s*", part)
        if match is None:
            raise RecipeError(f"`--seeds` is written `0:20` (0 to 19) or `0,3,5`, but got {text!r}.")
        first, end = int(match[1]), int(match[2] or int(match[1]) + 1)
        if end <= first:
            raise RecipeError(f"`first < end` must hold in `--seeds first:end`, but got {part.strip()!r}.")
        if end - first + len(seeds) > MOST_SEEDS:
            raise RecipeError(f"`--seeds` names {MOST_SEEDS} seeds at most, but got {text[:60]!r}.")
        seeds += range(first, end)
    twice = sorted(s for s, times in Counter(seeds).items() if times > 1)
    if twice:
        raise RecipeError(f"`--seeds` must name each seed once, but {text!r} names {twice[0]} twice.")
    return seeds


@dataclass(frozen=True)
class Place:
    """One of several comparisons: its name (empty if it is the only one), its folder, and what is changed in it."""

    name: str
    folder: Path
    changes: tuple[str, ...]


def parse_each(text: str | None, folder: Path) -> list[Place]:
    """The comparisons that `--each a.b=v,w` asks for, in `folder/b=v`, `folder/b=w`; without it one, in `folder`.

    Raises:
        RecipeError: if the text is of another form, or names a value twice or the seed.
    """
    if text is None:
        return [Place("", folder, ())]
    key, equals, values = text.partition("=")
    found = [v.strip() for v in values.split(",") if v.strip()]
    if not equals or not re.fullmatch(r"[\w.\-]+", key) or not found or len(set(found)) < len(found):
        raise RecipeError(f"`--each` is written `key.path=value,value` with different values, but got {text!r}.")
    if any(re.search(r"[/\\]", value) for value in found):
        raise RecipeError(f"The values of `--each` name folders and must have no slash, but got {text!r}.")
    return [Place(name, folder / name, (f"{key}={v}",)) for v in found for name in [f"{key.rpartition('.')[2]}={v}"]]


def parse_arm(text: str) -> ArmSettings:
    """An arm from `NAME:key=value,key=value`, or from `NAME` alone for the recipe as it is.

    A comma separates settings only where `key=` follows it, so that a value may be `[1, 2]`.

    Raises:
        RecipeError: if a setting has no `=`.
    """
    name, _, settings = text.partition(":")
    changes = tuple(re.split(r",(?=[\w.\-]+=)", settings)) if settings else ()
    for change in changes:
        if "=" not in change:
            raise RecipeError(f"An arm is written `NAME:key=value,key=value`, but {change!r} in {text!r} has no `=`.")
    return ArmSettings(name, changes)


def acquisition_arms(names: str, recipe: Recipe) -> list[ArmSettings]:
    """An arm for each acquisition of a list `a,b,c`; the recipe's own keeps the settings it has there.

    Raises:
        RecipeError: if the list names none.
    """
    own = recipe.acquisition.name
    return [
        ArmSettings(name.rpartition(":")[2], () if name == own else (f"acquisition={name}",))
        for name in listed_names(names, "--acquisition")
    ]


def with_arms(recipe: Recipe) -> dict[str, Recipe]:
    """A recipe by its acquisition's name, and after it each arm that it is to be compared with.

    Raises:
        RecipeError: if an arm has the name of the recipe's own acquisition.
    """
    own = recipe.acquisition.name.rpartition(":")[2]
    others = arms(recipe)
    if own in others:
        raise RecipeError(f"Arms must have different names, but `compare.{own}` is this study's own: rename that arm.")
    return {own: recipe} | others


def plan_studies(
    folder: Path, source: str, overrides: Sequence[str], chosen: Sequence[ArmSettings], seeds: Sequence[int]
) -> list[PlannedStudy]:
    """Every study of a comparison, seed by seed.

    Args:
        folder: the comparison's folder.
        source: a recipe file, or a shipped recipe's name.
        overrides: changes `key.path=value` that hold for every arm.
        chosen: the arms; none for the recipe and the arms in its own `compare`.
        seeds: the seeds.

    Raises:
        RecipeError: if there are fewer than two arms, a name is not usable or occurs twice, or a setting is not usable.
    """
    for change in (c for changes in (overrides, *(arm.changes for arm in chosen)) for c in changes):
        if change.partition("=")[0] == "seed":
            raise RecipeError(f"`--seeds` says the seeds of every arm, but `{change}` sets one: remove that.")
    names = [arm.name for arm in chosen]
    for name in names:
        require_arm_name(name)
        if names.count(name) > 1:
            raise RecipeError(f"Arms must have different names, but {name!r} occurs {names.count(name)} times.")
    studies = []
    for seed in seeds:
        changes = [*overrides, f"seed={seed}"]
        if chosen:
            recipes = {arm.name: load_recipe(source, [*changes, "compare={}", *arm.changes]) for arm in chosen}
        else:
            recipes = with_arms(load_recipe(source, changes))
        if len(recipes) < 2:
            raise RecipeError(
                f"A comparison needs two arms or more, but got {', '.join(recipes) or 'none'}: name them, as in "
                "`--acquisition random,activedpo`, or `--arm NAME:key=value` for each."
            )
        for name, recipe in recipes.items():
            own = recipe.model_copy(
                update={"name": f"{recipe.name} ({name})" if chosen else recipe.name, "compare": {}}
            )
            studies.append(PlannedStudy(name, seed, study_folder(folder, name, seed), own))
    return studies


def study_folder(folder: Path, arm: str, seed: int) -> Path:
    """Where a study of a comparison lies."""
    return folder / STUDIES / arm / f"seed-{seed:03d}"


def unshared(studies: Sequence[PlannedStudy]) -> dict[str, list[str]]:
    """Arms that differ from the first in what the arms of a seed should share, each with those keys of the recipe."""
    of_seed = [s for s in studies if s.seed == studies[0].seed]
    first = recipe_content(of_seed[0].recipe)
    found = {s.arm: [k for k in SHARED if recipe_content(s.recipe)[k] != first[k]] for s in of_seed}
    return {arm: keys for arm, keys in found.items() if keys}


def recipes_of_arms(studies: Sequence[PlannedStudy]) -> dict[str, Recipe]:
    """Each arm's recipe, that of the first seed."""
    return {study.arm: study.recipe for study in studies if study.seed == studies[0].seed}
