"""Studies of a suite: for each world, the arms of its comparison, and the random subsets of its reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from duelist.compare.arms import ArmSettings, PlannedStudy, plan_studies
from duelist.errors import RecipeError
from duelist.recipe.reading import load_recipe
from duelist.recipe.recipe import Recipe
from duelist.recipe.round_plan import total_budget
from duelist.settings.validation import write_yaml
from duelist.suite.worlds import World

# The default rule under test. Nothing else in the suite names it.
RULE_UNDER_TEST = "policy_gap"
RANDOM, AGAIN, FLOOR = "random", "random_again", "floor"
LOOK_AHEAD, BEST = "look_ahead", "best_subset"
SCALE = (AGAIN, FLOOR, LOOK_AHEAD, BEST)  # arms that show what the suite sees, and are no candidates
PLAIN = "acquisition=random"
# What `--quick` changes in every world, so that 64 studies take less than 15 minutes on two cores.
QUICK = ("rounds=4", "evaluation.responses_per_prompt=4")
# And in embedded worlds, where no loss by it is seen on the development seeds of `base` (docs/evidence.md).
QUICK_EMBEDDED = ("featurizers.gradient.dimension=2048",)
NOISE_OF_CHOICE = 1  # the stream of label noise by which the best subset is chosen; it is scored with stream 0


@dataclass(frozen=True)
class SuiteSettings:
    """What a suite runs.

    Attributes:
        worlds: worlds and data sets.
        seeds: seeds of random, of the rule under test and of the further arms.
        arms: further arms, for instance other rules.
        quick: run the rule under test and random alone, in shorter studies.
        scale_seeds: those of the seeds on which the arms run that only give a scale (the second random stream, the
            floor, the references); None for all.
        subsets: number of random subsets of which the best is a reference; 0 leaves it out.
        changes: overrides of every recipe, `key.path=value`.

    Raises:
        RecipeError: if a further arm has the name of an arm of the suite.
    """

    worlds: tuple[World, ...]
    seeds: tuple[int, ...]
    arms: tuple[ArmSettings, ...] = ()
    quick: bool = False
    subsets: int = 64
    changes: tuple[str, ...] = ()
    scale_seeds: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        for arm in self.arms:
            if arm.name in SCALE:
                raise RecipeError(
                    f"`--arm` must have a name of its own, but {arm.name!r} is one of the suite's arms "
                    f"({', '.join(SCALE)}): choose another name."
                )

    @property
    def scaled(self) -> tuple[int, ...]:
        """Seeds of the arms that only give a scale."""
        if self.quick:
            return ()
        return self.seeds if self.scale_seeds is None else self.scale_seeds


def world_changes(world: World, settings: SuiteSettings) -> list[str]:
    """Return the overrides of a world's recipe in this suite."""
    return [*world.changes, *(quick_changes(world) if settings.quick else ()), *settings.changes]


def quick_changes(world: World) -> tuple[str, ...]:
    """Return what `--quick` changes in a world."""
    return (*QUICK, *(QUICK_EMBEDDED if world.embedded else ()))


def world_recipe(world: World, settings: SuiteSettings) -> Recipe:
    """Return a world's recipe in this suite."""
    return load_recipe(world.recipe, world_changes(world, settings))


def plan_world(
    folder: Path, world: World, settings: SuiteSettings, streams: Mapping[int, int] | None = None
) -> list[PlannedStudy]:
    """Return the studies of a world's comparison, in `folder/WORLD`.

    Args:
        folder: the suite's folder.
        world: the world.
        settings: what the suite runs.
        streams: by seed, the stream of the best random subset, where it has been chosen.

    Raises:
        RecipeError: if a setting is not valid.
    """
    changes = world_changes(world, settings)
    studies = []
    for seed in settings.seeds:
        arms = _arms(world, settings, seed)
        if streams and seed in streams:
            arms.append(ArmSettings(BEST, (random_stream(seed, streams[seed]),)))
        studies += plan_studies(folder / world.name, world.recipe, changes, arms, [seed])
    return studies


def plan_subsets(folder: Path, world: World, settings: SuiteSettings) -> list[PlannedStudy]:
    """Return the studies that train once on each random subset, in `folder/WORLD/subsets`.

    Each is one round that asks for all labels at once. Arm `subset-000` has stream 1.

    Raises:
        RecipeError: if a setting is not valid.
    """
    if BEST not in world.references or not settings.subsets:
        return []
    recipe = world_recipe(world, settings)
    changes = [*world_changes(world, settings), "rounds=1", f"budget={total_budget(recipe)}"]
    changes += [f"annotator.stream={NOISE_OF_CHOICE}"] if world.embedded else []
    studies = []
    for seed in settings.scaled:
        arms = [ArmSettings(f"subset-{i:03d}", (random_stream(seed, i + 1),)) for i in range(settings.subsets)]
        studies += plan_studies(folder / world.name / "subsets", world.recipe, changes, arms, [seed])
    return studies


def rules_of(world: World, settings: SuiteSettings) -> dict[str, str]:
    """Return what each arm of a world is, in words."""
    further = {arm.name: ", ".join(arm.changes) or "the recipe unchanged" for arm in settings.arms}
    own = {RANDOM: "random selection", RULE_UNDER_TEST: "the rule under test"} | further
    if not settings.scaled:
        return own
    own |= {AGAIN: "random selection on a second stream", FLOOR: f"a rule known to be bad: {world.floor}"}
    if LOOK_AHEAD in world.references:
        own[LOOK_AHEAD] = "reference: one-step look-ahead on the true J"
    if BEST in world.references and settings.subsets:
        own[BEST] = f"reference: the best of {settings.subsets} random subsets, chosen with other noise and training"
    return own


def _arms(world: World, settings: SuiteSettings, seed: int) -> list[ArmSettings]:
    rule = {"name": RULE_UNDER_TEST, **world.rule}
    arms = [ArmSettings(RANDOM, (PLAIN,)), ArmSettings(RULE_UNDER_TEST, (_flow("acquisition", rule),))]
    arms += settings.arms
    if seed not in settings.scaled:
        return arms
    arms += [ArmSettings(AGAIN, (random_stream(seed, 0),)), ArmSettings(FLOOR, (f"acquisition={world.floor}",))]
    if LOOK_AHEAD in world.references:
        arms.append(ArmSettings(LOOK_AHEAD, _look_ahead(world, settings)))
    return arms


def _look_ahead(world: World, settings: SuiteSettings) -> tuple[str, ...]:
    recipe = world_recipe(world, settings)
    annotator, gradient = recipe.annotator, recipe.featurizers["gradient"]
    assert annotator is not None  # embedded worlds have one
    known = {key: value for key, value in annotator.content().items() if key != "name"}
    featurizers = {
        "margin": {},
        "gradient": {"dimension": gradient.setting("dimension"), "normalize": "none"},
        "duelist.suite.truth:Truth": {"annotator": known, "weight": world.weight},
    }
    rule = {"name": "duelist.suite.look_ahead:LookAhead", "beta": recipe.beta}
    return (_flow("featurizers", featurizers), _flow("acquisition", rule))


def random_stream(seed: int, stream: int) -> str:
    """Return the override for random selection of a seed on a stream of its own, whatever the study's seed does."""
    rule = {"name": "duelist.suite.rules:RandomStream", "seed": seed, "stream": stream}
    return _flow("acquisition", rule)


def _flow(key: str, value: Mapping[str, Any]) -> str:
    """Return an override `key=value` whose value is a mapping."""
    return f"{key}={write_yaml(dict(value))}"


def total_labels(studies: Sequence[PlannedStudy]) -> int:
    """Return the number of labels that studies ask for in all."""
    return sum(total_budget(study.recipe) for study in studies)
