"""Creation, opening and locking of a study's folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, final

from filelock import FileLock, Timeout

from duelist.errors import RecipeError, StorageError, StudyLockedError, full_disk_as_storage_error
from duelist.files.atomic import TEMPORARY, discard, discard_temporaries
from duelist.files.locks import held
from duelist.store.folder import StudyFolder, StudyLock
from duelist.store.layout import (
    DATABASE,
    EMBEDDINGS,
    KNOWN_STAGE,
    LOCK,
    METRICS,
    PREFERENCES,
    RECIPE,
    ROUNDS,
    require_folder_name,
    require_study,
)
from duelist.store.lease import OWNER, Lease, named, read_owner
from duelist.store.recipe_file import (
    Completed,
    as_kept,
    differences,
    kept_recipe,
    read_recipe,
    require_unedited,
    write_recipe,
)
from duelist.store.remains import recorded_recipe, require_whole_record
from duelist.store.store import Store


def create_folder(path: Path, recipe: Mapping[str, Any], completed: Completed = dict) -> StudyFolder:
    """Create a study's folder, or open it if it contains a study of the same recipe.

    A study of another recipe that has not asked anything yet is replaced by a new study: it has no labels to lose,
    and its recipe may be the reason why it could not ask.

    Args:
        path: the folder.
        recipe: the recipe, every default filled in.
        completed: fills the defaults into a recipe that was saved before some key existed.

    Raises:
        RecipeError: if it contains a study of another recipe that has asked questions.
        StorageError: if it contains something else, has lost part of its record, or cannot be written.
    """
    require_folder_name(path)
    with full_disk_as_storage_error(f"the new study {path}"):
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)  # its texts are private
        except OSError as error:
            raise StorageError(
                f"A study's folder must be writable, but {path} cannot be made: {error}. Fix the permissions or "
                "free disk space, or give another folder."
            ) from error
        begun = is_begun(path)
        if not begun:
            # An interrupted creation leaves only a lock and an empty database.
            own = (LOCK, OWNER)
            strange = [
                p.name for p in path.iterdir() if p.name not in own and not p.name.startswith((DATABASE, ".tmp-"))
            ]
            if strange:
                raise StorageError(
                    f"A new study needs a new or empty folder, but {path} holds {', '.join(sorted(strange)[:3])} "
                    f"and no {RECIPE}: give another folder."
                )
        lock = _lock(path)
        try:
            require_whole_record(path)
            if not begun:
                Store(path).close()
                write_recipe(path, recipe)
            elif different := differences(path, recipe, completed):
                _begin_anew(path, recipe, different, completed)
            return _opened(path, lock, completed, recipe)
        except BaseException:
            lock.release()
            raise


def open_folder(path: Path, completed: Completed = dict) -> StudyFolder:
    """Open a study's folder.

    Args:
        path: the folder.
        completed: fills the defaults into a recipe that was saved before some key existed.

    Raises:
        RecipeError: if recipe.yaml was changed since the study was created.
        StorageError: if there is no study in it, or one that has lost part of its record.
        StudyLockedError: if another process has the study open.
    """
    if not is_begun(path):
        require_study(path)
    lock = _lock(path)
    try:
        require_whole_record(path)
        return _opened(path, lock, completed)
    except BaseException:
        lock.release()
        raise


def open_folder_for_parent(path: Path, completed: Completed = dict) -> StudyFolder:
    """Open a study's folder that this process's parent has locked, to compute stages on its behalf.

    The caller must end when the parent ends, because the lock ends with the parent.

    Raises:
        StudyLockedError: if nobody holds the lock.
        RecipeError, StorageError: see `open_folder`.
    """
    lock = FileLock(path / LOCK, thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return _opened(path, _LockOfParent(), completed)
    lock.release()
    raise StudyLockedError(
        f"A study is computed for the process that has it open, but none has {path} open: open it with `Study.open`."
    )


@final
class _LockOfParent:
    """Lock that the parent holds: it is taken and released there."""

    def __init__(self) -> None:
        self.is_locked = True

    def require(self) -> None:
        """Do nothing: the parent sees whether it keeps the study."""

    def release(self) -> None:
        """Note that this process is done; the parent keeps its lock."""
        self.is_locked = False


def is_begun(path: Path) -> bool:
    """Return whether a folder contains a study, even if its recipe.yaml was deleted."""
    return (path / RECIPE).is_file() or recorded_recipe(path) is not None


def _opened(path: Path, lock: StudyLock, completed: Completed, recipe: Mapping[str, Any] | None = None) -> StudyFolder:
    """Open a complete study; take the reporting settings of training from `recipe`, else from recipe.yaml."""
    with full_disk_as_storage_error(f"the study {path}"):
        for place in (path, *path.glob("rounds/*")):
            discard_temporaries(place)
        folder = StudyFolder(path, lock, completed)
        try:
            if (path / RECIPE).is_file():
                require_unedited(path, completed)
                said = completed(read_recipe(path))
                wanted = said if recipe is None else as_kept(recipe)
                if not said == wanted == completed(folder.recipe):  # they differ only in how training reports
                    folder.adopt(wanted)
            else:
                write_recipe(path, folder.recipe)
            folder.derive()
        except BaseException:
            folder.store.close()
            raise
    return folder


def _lock(path: Path) -> Lease:
    owner = read_owner(path)
    who = "another one" if owner is None else named(owner)
    in_use = StudyLockedError(
        f"One process at a time may work on a study, but {who} works on {path}: wait for it or stop it. "
        "`duelist status` and `duelist export` work meanwhile."
    )
    return Lease(path, held(path / LOCK, "A study's folder", in_use).lock)


def _begin_anew(path: Path, recipe: Mapping[str, Any], different: Sequence[str], completed: Completed) -> None:
    """Discard a study that has asked nothing, and start over with another recipe. The recipe is replaced last.

    Raises:
        RecipeError: if the study has asked something.
    """
    store = Store(path)
    asked, stages = sum(x.round > 0 for x in store.asked()), store.stages()
    # What the recipe's `known` names is read again; labels that came otherwise are there alone.
    told = store.answer_count() - sum(int(s.info.get("preferences", 0)) for s in stages if s.name == KNOWN_STAGE)
    store.close()
    if asked or told:
        if (path / RECIPE).is_file():
            require_unedited(path, completed)
        own, key = kept_recipe(path), different[0]
        raise RecipeError(
            f"A study goes on with the recipe it began with, but {path} was begun with other values of "
            f"{', '.join(different)} (`{key}` was {own.get(key)!r}, now {recipe.get(key)!r}) and has asked {asked} "
            f"pairs, with {told} labels: give a new --study folder, or go on with `duelist run {path / RECIPE} --study "
            f"{path}`."
        )
    weights = {Path(s.artifact).name for s in stages if s.name == "train"}
    database = [DATABASE + end for end in ("-wal", "-shm", "")]
    if (path / ROUNDS).is_dir():  # at once, because a killed selection could look like one that was asked
        (path / ROUNDS).rename(path / f"{TEMPORARY}{ROUNDS}")
    for name in (METRICS, PREFERENCES, EMBEDDINGS, *weights, *database):
        discard(path / name)
    write_recipe(path, recipe)
