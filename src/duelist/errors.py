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
