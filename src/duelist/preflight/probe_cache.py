"""Cache of probes: what the last probe of a recipe on this machine measured, for plans with other amounts of work."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path

from duelist._version import __version__
from duelist.errors import StorageError
from duelist.files.atomic import atomic_path
from duelist.preflight.cost_model import CostModel
from duelist.recipe.preparation import cache_folder
from duelist.recipe.recipe import Recipe, recipe_content
from duelist.types import content_id

# Keys that decide how much work there is, not what a unit of it costs. The others are the name of a cached probe.
AMOUNTS = (
    "name", "description", "seed", "rounds", "budget", "schedule", "stop", "initial_random", "initial", "known",
    "report_to", "compare", "compare_seeds", "control_fraction", "checkpoint_every", "pool",
)  # fmt: skip


def machine_name() -> str:
    """Return a name of this machine that tells it from others."""
    return f"{platform.node()} ({platform.machine()}, {os.cpu_count()} cores)"


def cache_file(recipe: Recipe) -> Path:
    """Return the file of this recipe's probe on this machine. It may not exist yet."""
    content = {key: value for key, value in recipe_content(recipe).items() if key not in AMOUNTS}
    content["prompts"] = {k: v for k, v in content["prompts"].items() if k not in ("limit", "per_round", "held_out")}
    content["evaluation"] = {k: v for k, v in content["evaluation"].items() if k != "every"}
    return cache_folder() / "probes" / f"{content_id(content, machine_name(), __version__)}.json"


def cached_probe(recipe: Recipe) -> CostModel | None:
    """Return what the last probe of this recipe on this machine measured; None if there was none."""
    try:
        return CostModel.from_json(json.loads(cache_file(recipe).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def keep_probe(recipe: Recipe, model: CostModel) -> None:
    """Keep what a probe measured, for later plans of this recipe with other amounts of work.

    Raises:
        StorageError: if the cache cannot be written.
    """
    file = cache_file(recipe)
    try:
        with atomic_path(file) as temporary:
            temporary.write_text(json.dumps(model.as_json()), encoding="utf-8")
    except OSError as error:
        raise StorageError(
            f"The probe's result is kept in {file.parent}, but it cannot be written: {error}. Fix its permissions, or "
            "set DUELIST_CACHE to another folder."
        ) from error
