"""Exceptions that Duelist raises on purpose.

    DuelistError
    ├── RecipeError (ValueError)            a recipe's key or value is not usable
    ├── DataError (ValueError)              a prompt, response, pair or label is not usable
    ├── BudgetError (ValueError)            the request exceeds the labels in the pool or budget
    ├── ModelError (ValueError)             a model, adapter or tokenizer is missing or does not fit
    ├── RewardError (ValueError)            a reward function or model failed or returned no number
    ├── LabelConflictError (ValueError)     a label's id was submitted again with different content
    ├── RoundStateError (RuntimeError)      ask, tell or update was called at the wrong moment
    ├── EngineError (RuntimeError)          the workers of an engine fail again and again
    ├── NumericalError (ArithmeticError)    a feature or score is not a finite number
    ├── StudyLockedError (OSError)          another process has this study open
    └── StorageError (OSError)              the study could not be written or read

Each message states the requirement, the value found, and the remedy.
"""

from __future__ import annotations

import errno
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager


class DuelistError(Exception):
    """Base class of every exception that Duelist raises on purpose."""


class RecipeError(DuelistError, ValueError):
    """A recipe's key or value is not usable."""


class DataError(DuelistError, ValueError):
    """A prompt, response, pair or label is not usable."""


class BudgetError(DuelistError, ValueError):
    """The request exceeds the number of labels in the pool or the budget."""


class ModelError(DuelistError, ValueError):
    """A model, adapter or tokenizer is missing or does not fit."""


class RewardError(DuelistError, ValueError):
    """A reward function or reward model failed, or returned something that is not a finite number."""


class LabelConflictError(DuelistError, ValueError):
    """A label's id was submitted again with different content. The label recorded first is kept."""


class RoundStateError(DuelistError, RuntimeError):
    """ask, tell or update was called at a moment when it has no meaning."""


class EngineError(DuelistError, RuntimeError):
    """The workers of an engine fail again and again."""


class NumericalError(DuelistError, ArithmeticError):
    """A feature or score is not a finite number."""


class StudyLockedError(DuelistError, OSError):
    """Another process has this study open."""


class StorageError(DuelistError, OSError):
    """The study could not be written or read."""


def _is_disk_full(error: BaseException) -> bool:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    # safetensors (Rust) and SQLite report a full disk in the message, not with an errno.
    text = str(error).lower()
    return "no space left on device" in text or "os error 28" in text or "disk is full" in text


@contextmanager
def unwritable_as_storage_error(path: object) -> Iterator[None]:
    """Convert an `OSError` raised in the block into a `StorageError` that names the file.

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
    """Convert a full-disk error, from any library and at any depth, into a `StorageError` with the remedy.

    Args:
        doing: what was being written, for the message.

    Raises:
        StorageError: if the block failed because the disk is full. Any other exception passes unchanged.
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
    """Convert an exception that a user's function or class raises in the block into a located `DuelistError`.

    The message names the file and line. Exceptions of Duelist's own components pass unchanged, to keep the traceback.
    `sys.exit()` is an error in either case, because the command would end as if the study were finished.

    Args:
        component: the function, or an instance of the class, that the block calls.

    Raises:
        DuelistError: with the exception as its cause. Duelist's own exceptions and Ctrl-C pass unchanged.
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
    """Return an exception's type and message."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
