"""Studies of a comparison: its arms, its seeds, and each study's recipe and folder."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from duelist.errors import RecipeError
from duelist.recipe.reading import WITHOUT_ARMS, arms, load_recipe
from duelist.recipe.recipe import Recipe, recipe_content
from duelist.recipe.values import listed_names, require_arm_name

STUDIES = "studies"
MOST_SEEDS = 10_000
# Keys that all arms of a seed share: arms should differ only in what they select.
SHARED = ("prepare", "prompts", "policy", "annotator", "reward", "evaluation")


@dataclass(frozen=True)
class PlannedStudy:
    """One study of a comparison: one arm on one seed."""

    arm: str
    seed: int
    folder: Path
    recipe: Recipe


@dataclass(frozen=True)
class ArmSettings:
    """Requested arm: its name, and its overrides `key.path=value` of the recipe."""

    name: str
    changes: tuple[str, ...]


def parse_seeds(text: str, option: str = "--seeds") -> list[int]:
    """Parse seeds from `0:20` (20 seeds, 0 to 19), `0,3,5`, or both, `0:4,9`; `option` is named in errors.

    Raises:
        RecipeError: if the text has another form, or names no seed or a seed twice.
    """
    seeds: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,18})(?::(\d{1,18}))?\s*", part)
        if match is None:
            raise RecipeError(f"`{option}` is written `0:20` (0 to 19) or `0,3,5`, but got {text!r}.")
        first, end = int(match[1]), int(match[2] or int(match[1]) + 1)
        if end <= first:
            raise RecipeError(f"`first < end` must hold in `{option} first:end`, but got {part.strip()!r}.")
        if end - first + len(seeds) > MOST_SEEDS:
            raise RecipeError(f"`{option}` names {MOST_SEEDS} seeds at most, but got {text[:60]!r}.")
        seeds += range(first, end)
    twice = sorted(s for s, times in Counter(seeds).items() if times > 1)
    if twice:
        raise RecipeError(f"`{option}` must name each seed once, but {text!r} names {twice[0]} twice.")
    return seeds


@dataclass(frozen=True)
class Place:
    """One comparison of `--each`: its name (empty if it is the only one), its folder and its overrides."""

    name: str
    folder: Path
    changes: tuple[str, ...]


def parse_each(text: str | None, folder: Path) -> list[Place]:
    """Parse `--each a.b=v,w` into comparisons in `folder/b=v` and `folder/b=w`; without it, one in `folder`.

    Raises:
        RecipeError: if the text has another form, names a value twice, or a value contains a slash.
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
    """Parse an arm from `NAME:key=value,key=value`, or from `NAME` for the unchanged recipe.

    A comma separates settings only if `key=` follows it, so a value may be `[1, 2]`.

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
    """Return an arm for each acquisition in a list `a,b,c`; the recipe's own acquisition keeps its settings.

    Raises:
        RecipeError: if the list is empty.
    """
    own = recipe.acquisition.name
    return [
        ArmSettings(name.rpartition(":")[2], () if name == own else (f"acquisition={name}",))
        for name in listed_names(names, "--acquisition")
    ]


def with_arms(recipe: Recipe) -> dict[str, Recipe]:
    """Return a recipe under its acquisition's name, followed by each arm of its `compare` key.

    Raises:
        RecipeError: if an arm has the name of the recipe's own acquisition.
    """
    own = recipe.acquisition.name.rpartition(":")[2]
    others = arms(recipe)
    if own in others:
        raise RecipeError(f"Arms must have different names, but `compare.{own}` is this study's own: rename that arm.")
    return {own: recipe} | others


def require_arms(chosen: Sequence[ArmSettings], overrides: Sequence[str] = ()) -> None:
    """Check the names of arms, and that no seed is set.

    Raises:
        RecipeError: if a name is invalid or occurs twice, or a setting is the seed.
    """
    for change in (c for changes in (overrides, *(arm.changes for arm in chosen)) for c in changes):
        if change.partition("=")[0] == "seed":
            raise RecipeError(f"`--seeds` says the seeds of every arm, but `{change}` sets one: remove that.")
    names = [arm.name for arm in chosen]
    for name in names:
        require_arm_name(name)
        if names.count(name) > 1:
            raise RecipeError(f"Arms must have different names, but {name!r} occurs {names.count(name)} times.")


def plan_studies(
    folder: Path, source: str, overrides: Sequence[str], chosen: Sequence[ArmSettings], seeds: Sequence[int]
) -> list[PlannedStudy]:
    """Return every study of a comparison, seed by seed.

    Args:
        folder: comparison folder.
        source: recipe file, or name of a shipped recipe.
        overrides: `key.path=value`, applied to every arm.
        chosen: arms; if empty, the recipe and the arms of its `compare` key.
        seeds: seeds.

    Raises:
        RecipeError: if there are fewer than two arms, a name is invalid or occurs twice, or a setting is invalid.
    """
    require_arms(chosen, overrides)
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
            update = {"name": f"{recipe.name} ({name})" if chosen else recipe.name, **WITHOUT_ARMS}
            own = recipe.model_copy(update=update)
            studies.append(PlannedStudy(name, seed, study_folder(folder, name, seed), own))
    return studies


def study_folder(folder: Path, arm: str, seed: int) -> Path:
    """Return the folder of a study in a comparison."""
    return folder / STUDIES / arm / f"seed-{seed:03d}"


def unshared(studies: Sequence[PlannedStudy]) -> dict[str, list[str]]:
    """Return the arms that differ from the first in keys that the arms of a seed should share, with those keys."""
    of_seed = [s for s in studies if s.seed == studies[0].seed]
    first = recipe_content(of_seed[0].recipe)
    found = {s.arm: [k for k in SHARED if recipe_content(s.recipe)[k] != first[k]] for s in of_seed}
    return {arm: keys for arm, keys in found.items() if keys}


def recipes_of_arms(studies: Sequence[PlannedStudy]) -> dict[str, Recipe]:
    """Return each arm's recipe, on the first seed."""
    return {study.arm: study.recipe for study in studies if study.seed == studies[0].seed}
