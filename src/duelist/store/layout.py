"""File and folder names in a study's folder."""

from __future__ import annotations

import os
from pathlib import Path

from duelist.errors import StorageError

RECIPE = "recipe.yaml"
DATABASE = "study.db"
METRICS = "metrics.jsonl"
PREFERENCES = "preferences.jsonl"
EMBEDDINGS = "embeddings"
JUDGE = "judge"  # answers of judges, which cost time or money
ROUNDS = "rounds"
SELECTION = "selection.json"  # in a round's folder
PRELABELLING = "prelabel.json"  # likewise
KNOWN = "known.jsonl"  # in round 0's folder: the preferences known before round 1
KNOWN_STAGE = "known"  # the stage that reads them
FEATURE_CACHE = ".features"  # in a round's folder, until the selection is made
LOCK = ".lock"
LONGEST_NAME = 255  # bytes of a file's name, on the usual file systems
ARMS = "compare"  # the folder of a study's comparison arms
SEEDS = "seeds"  # the folder of its runs on further seeds
README = "README.md"


def round_folder(study: Path, t: int) -> Path:
    """Return the folder of a round's artifacts in a study's folder."""
    return study / ROUNDS / f"{t:03d}"


def require_folder_name(folder: Path) -> None:
    """Raise an error for a folder name that no file system accepts, before any parent folder is created.

    Raises:
        StorageError: if a part of the path is too long, or the path is not Unicode text, which libraries require.
    """
    try:
        str(folder).encode()
    except UnicodeEncodeError as error:
        raise StorageError(
            f"A folder's path must be Unicode text, but that of {str(folder)!r} is not: give another one."
        ) from error
    longest = max((part for part in folder.parts), key=lambda part: len(os.fsencode(part)), default="")
    if len(os.fsencode(longest)) > LONGEST_NAME or "\0" in longest:
        raise StorageError(
            f"A folder's name must have {LONGEST_NAME} bytes at most and no NUL, but {longest[:40]!r}... has not: give "
            "a shorter one."
        )


def require_study(folder: Path) -> None:
    """Raise an error if a folder contains no study.

    Raises:
        StorageError: if there is no study.
    """
    require_folder_name(folder)
    if not (folder / RECIPE).is_file() and not (folder / DATABASE).is_file():
        raise StorageError(f"A study's folder must hold a {RECIPE}, but {folder} has none: correct the path.")
