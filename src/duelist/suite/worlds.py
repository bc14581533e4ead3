"""Presets of worlds and data sets: one YAML file each in `worlds/`."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from duelist.errors import RecipeError
from duelist.recipe.reading import load_recipe
from duelist.recipe.recipe import Recipe
from duelist.recipe.shipped import shipped_recipes
from duelist.settings.validation import explain_invalid, nearest, read_yaml

FOLDER = Path(__file__).with_name("worlds")
BASE = "base"  # the world whose gain is the yardstick where random gains nothing
EMBEDDED = "quickstart"  # the recipe of the worlds with a known reward
# The annotator of every embedded world: Bradley–Terry labels of quickstart's temperature, until a preset adds noise.
ANNOTATOR = (
    "annotator={name: 'duelist.suite.annotator:NoisyAnnotator', function: 'duelist.world:reward', "
    "arguments: {world: '{prepared}'}, temperature: 0.125}"
)

ROUNDS = "rounds=8"  # quickstart itself is shorter, for the first minutes
# Samples are cheap beside labels. All arms have the same pool, hence the same first batch.
RESPONSES = "sampler.responses_per_prompt=8"

Reference = Literal["look_ahead", "best_subset"]


class TrainingChoice(BaseModel):
    """How a world trains, and how that was chosen."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    set: tuple[str, ...] = Field(description="Overrides of the recipe, `key.path=value`.")
    chosen: str = Field(description="Command, seeds and numbers of the choice, in words.")


class World(BaseModel):
    """One world or data set of the suite."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    title: str
    expects: str = Field(description="When choice should or should not help here.")
    recipe: str = Field(description="Shipped recipe, or a recipe file.")
    set: tuple[str, ...] = Field(default=(), description="Overrides of the recipe, `key.path=value`.")
    metric: str = Field(default="j_weighted", description="Metric that decides, as `duelist compare --metric` takes.")
    beside: tuple[str, ...] = Field(default=("j",), description="Metrics that are reported beside it.")
    unit: Literal["own", "base"] = Field(
        default="own",
        description="Whose gain by random selection is the unit of shares: this world's, or the base world's, where "
        "labels teach next to nothing.",
    )
    weight: str | None = Field(default=None, description="Prompt column with the weight in J, for the look-ahead.")
    rule: dict[str, Any] = Field(default={}, description="Settings of the rule under test in this world.")
    floor: str = Field(default="aplp", description="Rule that is known to be bad.")
    references: tuple[Reference, ...] = Field(default=("look_ahead", "best_subset"), description="Oracle references.")
    quick: bool = Field(default=False, description="Whether `--quick` runs it.")
    modules: tuple[str, ...] = Field(default=(), description="Modules that it needs beside Duelist's own.")
    training: TrainingChoice | None = Field(default=None, description="Committed training choice; null: the recipe's.")

    @property
    def embedded(self) -> bool:
        """Whether it is a preset of the embedded world, with a known reward."""
        return self.recipe == EMBEDDED

    @property
    def changes(self) -> tuple[str, ...]:
        """Overrides of the recipe, the training choice included."""
        training = () if self.training is None else self.training.set
        return ((ANNOTATOR, ROUNDS, RESPONSES) if self.embedded else ()) + self.set + training

    def require(self) -> Recipe:
        """Return the recipe.

        Raises:
            RecipeError: if a setting is not valid.
        """
        return load_recipe(self.recipe, self.changes)

    @property
    def absent(self) -> str | None:
        """Why the world cannot run here, in words; None if it can, as far as can be seen without running it."""
        if self.recipe not in shipped_recipes() and not Path(self.recipe).is_file():
            return f"there is no recipe {self.recipe!r}"
        missing = [name for name in self.modules if importlib.util.find_spec(name) is None]
        if missing:
            return f"it needs {', '.join(missing)}, which is not installed"
        data = self.data
        if data is not None and not Path(data).expanduser().exists():
            return (
                f"its data are not at {data} (`prepare.settings.data` of the recipe, relative to the current "
                "folder; `--data` gives another folder)"
            )
        return None

    @property
    def data(self) -> str | None:
        """Folder of the data that the recipe's preparation reads; None if it reads none."""
        prepare = self.require().prepare
        data = None if prepare is None else prepare.settings.get("data")
        return data if isinstance(data, str) else None


def read_world(path: Path) -> World:
    """Read a preset.

    Raises:
        RecipeError: if a key is unknown or a value is invalid.
    """
    content = read_yaml(path.read_text(encoding="utf-8"))
    try:
        return World(name=path.stem, **content)
    except ValidationError as error:
        raise RecipeError(explain_invalid(error, World, str(path))) from error


def worlds(names: list[str] | None = None, *, quick: bool = False) -> list[World]:
    """Return the presets, the base world first.

    Args:
        names: those to return, in this order; None for all.
        quick: only those of `--quick`, if no names are given.

    Raises:
        RecipeError: if a name is unknown.
    """
    paths = {path.stem: path for path in sorted(FOLDER.glob("*.yaml"), key=lambda p: (p.stem != BASE, p.stem))}
    if names is None:
        return [w for w in map(read_world, paths.values()) if w.quick or not quick]
    if len(set(names)) < len(names):
        raise RecipeError(f"`--worlds` must name each world once, but got {', '.join(names)}: leave one out.")
    for name in names:
        if name not in paths:
            raise RecipeError(f"A world must be one of {', '.join(paths)}, but got {name!r}.{nearest(name, paths)}")
    return [read_world(paths[name]) for name in names]


def with_data(found: list[World], places: list[str]) -> list[World]:
    """Return worlds with the folders of their data, given as `WORLD=FOLDER`.

    Raises:
        RecipeError: if a place has another form, names none of the worlds that have data, or names one twice.
    """
    if not places:
        return found
    folders: dict[str, str] = {}
    readers = [world.name for world in found if world.data is not None]
    for place in places:
        name, _, folder = place.partition("=")
        if name not in readers or name in folders or not folder:
            raise RecipeError(
                f"`--data` is written WORLD=FOLDER, once for a world that has data ({', '.join(readers) or 'none'} of "
                f"those named), but got {place!r}: correct it."
            )
        folders[name] = folder
    return [
        world.model_copy(update={"set": (*world.set, f"prepare.settings.data={json.dumps(folders[world.name])}")})
        if world.name in folders
        else world
        for world in found
    ]
