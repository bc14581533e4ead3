"""What lies where in a study's folder."""

from __future__ import annotations

from pathlib import Path

from duelist.errors import StorageError

RECIPE = "recipe.yaml"
DATABASE = "study.db"
METRICS = "metrics.jsonl"
PREFERENCES = "preferences.jsonl"
EMBEDDINGS = "embeddings"
ROUNDS = "rounds"
SELECTION = "selection.json"  # in a round's folder
LOCK = ".lock"
ARMS = "compare"  # the folder of the studies beside a study


def require_study(folder: Path) -> None:
    """Refuse a folder that holds no study.

    Raises:
        StorageError: if there is none.
    """
    if not (folder / RECIPE).is_file() and not (folder / DATABASE).is_file():
        raise StorageError(f"A study's folder must hold a {RECIPE}, but {folder} has none: correct the path.")
