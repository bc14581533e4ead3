"""A user's function that is called with lists and returns a list, as TRL calls reward functions."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any, final

from duelist.errors import RecipeError, RewardError, described
from duelist.settings.importing import import_object
from duelist.types import Prompt


@final
class ListFunction:
    """A function that takes `prompts`, other lists, and the prompts' columns by name, and returns a value for each.

    Args:
        path: `package.module:name` or `file.py:name`.
        arguments: additional keyword arguments; they go before the columns.
        lists: names of the lists that it takes beside `prompts`.
        kind: what it is, for messages.
        returns: what it returns for each prompt, in the singular, and for what, such as ("number", "completion").
        plain: converts a value to Python's own type; None to leave it as it is.

    Raises:
        RecipeError: if there is no such function, or it does not take the lists and the arguments.
    """

    def __init__(
        self,
        path: str,
        arguments: Mapping[str, Any],
        lists: Sequence[str],
        kind: str,
        returns: tuple[str, str],
        plain: Callable[[Any], Any] | None = None,
    ) -> None:
        self._path, self._arguments, self._lists = path, arguments, ("prompts", *lists)
        self._kind, (self._value, self._of), self._plain = kind, returns, plain
        self._function = import_object(path)
        if not callable(self._function):
            raise RecipeError(
                f"`function` must name a function, but {path} is a {type(self._function).__name__}: correct the name."
            )
        self._require_taken({}, partly=True)

    def require_columns(self, prompts: Sequence[Prompt]) -> None:
        """Require that the function takes the columns of some prompts.

        Raises:
            RecipeError: if it does not.
        """
        if prompts:
            self._require_taken(dict.fromkeys(self._shared(prompts), ()), partly=False)

    def __call__(self, prompts: Sequence[Prompt], **lists: Sequence[Any]) -> list[Any]:
        """Return the function's values, one for each prompt.

        Raises:
            RewardError: if it raises an error, or does not return as many values.
        """
        try:
            values = self._function(
                prompts=[p.as_trl() for p in prompts], **lists, **self._columns(prompts), **self._arguments
            )
            values = values.tolist() if hasattr(values, "tolist") else values  # NumPy and torch arrays
            if isinstance(values, list | tuple):
                values = [v if self._plain is None else self._plain(v) for v in values]
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # also sys.exit() and asyncio's cancellation
            raise RewardError(
                f"The {self._kind} {self._path} must return one {self._value} per {self._of}, but it raised "
                f"{described(error)}. Fix the function and run the same command again; nothing is lost."
            ) from error
        if not isinstance(values, list) or len(values) != len(prompts):
            got = f"{len(values)} values" if isinstance(values, list) else f"a {type(values).__name__}"
            raise RewardError(
                f"The {self._kind} {self._path} must return a list of {len(prompts)} {self._value}s, one per "
                f"{self._of}, but returned {got}. Fix the function and run the same command again; nothing is lost."
            )
        return values

    def _columns(self, prompts: Sequence[Prompt]) -> dict[str, list[Any]]:
        return {k: [p.columns[k] for p in prompts] for k in self._shared(prompts)}

    def _shared(self, prompts: Sequence[Prompt]) -> list[str]:
        """Return the names of the columns that all prompts have, without those that `arguments` override."""
        shared = reduce(set.intersection, (set(p.columns) for p in prompts)) if prompts else set()
        return sorted(shared - {*self._lists, *self._arguments})

    def _require_taken(self, columns: Mapping[str, Any], *, partly: bool) -> None:
        try:
            signature = inspect.signature(self._function)
        except (TypeError, ValueError):  # some functions written in C have no signature
            return
        bind = signature.bind_partial if partly else signature.bind
        try:
            bind(**{name: [] for name in self._lists}, **columns, **self._arguments)
        except TypeError as error:
            taken = ", ".join(f"`{name}`" for name in self._lists)
            raise RecipeError(
                f"A {self._kind} must take {taken}, the prompts' other columns and `arguments` by name, but "
                f"{self._path} does not: {error}. Let it take them, others as `**columns`."
            ) from error
