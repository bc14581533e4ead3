"""Every error Duelist raises on purpose.

    DuelistError
    ├── RecipeError (ValueError)            a recipe's key or value is not usable
    ├── DataError (ValueError)              a prompt, response, pair or label is not usable
    ├── BudgetError (ValueError)            more labels were asked for than the pool or budget has
    ├── ModelError (ValueError)             a model, adapter or tokenizer is missing or does not fit
    ├── RewardError (ValueError)            a reward function or model failed or returned no number
    ├── LabelConflictError (ValueError)     a label's id came back with other content
    ├── RoundStateError (RuntimeError)      ask, tell or update came at the wrong moment
    ├── NumericalError (ArithmeticError)    a feature or score is not a finite number
    ├── StudyLockedError (OSError)          another process works on this study
    └── StorageError (OSError)              the study could not be written or read

Each message says what is required, what was found, and what mends it.
"""

from __future__ import annotations

import errno
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager


class DuelistError(Exception):
    """The root of everything Duelist raises on purpose."""


class RecipeError(DuelistError, ValueError):
    """A recipe's key or value is not usable."""


class DataError(DuelistError, ValueError):
    """A prompt, response, pair or label is not usable."""


class BudgetError(DuelistError, ValueError):
    """More labels were asked for than the pool or the budget has."""


class ModelError(DuelistError, ValueError):
    """A model, adapter or tokenizer is missing or does not fit."""


class RewardError(DuelistError, ValueError):
    """A reward function or reward model failed, or returned something that is no finite number."""


class LabelConflictError(DuelistError, ValueError):
    """A label's id came back with other content: what was recorded first stays."""


class RoundStateError(DuelistError, RuntimeError):
    """ask, tell or update came at a moment when it has no meaning."""


class NumericalError(DuelistError, ArithmeticError):
    """A feature or score is not a finite number."""


class StudyLockedError(DuelistError, OSError):
    """Another process works on this study."""


class StorageError(DuelistError, OSError):
    """The study could not be written or read."""


def _is_disk_full(error: BaseException) -> bool:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    # safetensors (Rust) and SQLite report a full disk in words, not with an errno.
    text = str(error).lower()
    return "no space left on device" in text or "os error 28" in text or "disk is full" in text


@contextmanager
def unwritable_as_storage_error(path: object) -> Iterator[None]:
    """Within the block, a file that cannot be written is a `StorageError`.

    Args:
        path: the file.
    """
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        raise StorageError(
            f"{path} must be a file that can be written, but it cannot: {error}. Give another file."
        ) from error


@contextmanager
def full_disk_as_storage_error(doing: str) -> Iterator[None]:
    """Turn "no space left", whoever says it and however deep, into a `StorageError` that names the remedy.

    Args:
        doing: what was being written, for the message.

    Raises:
        StorageError: if the block failed for want of disk space. Any other exception passes unchanged.
    """
    try:
        yield
    except StorageError:
        raise
    except Exception as error:
        link: BaseException | None = error
        while link is not None:
            if _is_disk_full(link):
                raise StorageError(
                    errno.ENOSPC,
                    f"Disk space is required for {doing}, but the disk is full ({error}). Nothing recorded so far is "
                    "lost: free some space, then run the same command again to go on from the last finished stage.",
                ) from error
            link = link.__cause__ or link.__context__
        raise


@contextmanager
def user_code(component: object) -> Iterator[None]:
    """Turn whatever a user's function or class raises within the block into a `DuelistError` that says where.

    Duelist's own components raise as they do: their mistakes deserve a traceback. `sys.exit()` is an error whoever
    calls it, for the command would end as if the study were finished.

    Args:
        component: the function, or an object of the class, that is called within the block.

    Raises:
        DuelistError: with the exception as its cause. Errors of Duelist's and Ctrl-C pass unchanged.
    """
    named = component if hasattr(component, "__qualname__") else type(component)
    module = str(getattr(named, "__module__", ""))
    try:
        yield
    except (DuelistError, KeyboardInterrupt):
        raise
    except BaseException as error:
        if module.partition(".")[0] == "duelist" and not isinstance(error, SystemExit):
            raise
        frames = traceback.extract_tb(error.__traceback__)
        file = getattr(sys.modules.get(module), "__file__", None)
        frame = next((f for f in reversed(frames) if f.filename == file), frames[-1])
        raise DuelistError(
            f"{named.__qualname__} must return without an error, but it raised {described(error)} ({frame.filename}, "
            f"line {frame.lineno}). Fix it, then run the same command again; nothing recorded is lost."
        ) from error


def described(error: BaseException) -> str:
    """An exception's type and message."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
