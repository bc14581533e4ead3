"""Judge by a Python function: another library's judge, or a simulated one."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from duelist.errors import RecipeError, RewardError, described
from duelist.judgement import Judgement, Opinion
from duelist.judges.base import Comparison, Judge
from duelist.judges.config import JudgeConfig
from duelist.progress import Progress
from duelist.settings.context import Context
from duelist.settings.importing import import_object
from duelist.types import Prompt


class FunctionJudge(Judge):
    """Judge that calls a function once per order, with the responses in the order displayed.

    The function's randomness is its own: it must give the same answer to the same comparison. Nothing is cached.
    """

    def __init__(self, config: JudgeConfig) -> None:
        assert config.function is not None
        self.config = config
        self.name = f"judge:{config.function}"
        self._function = import_object(config.function)
        if not callable(self._function):
            raise RecipeError(
                f"`function` must name a function, but {config.function} is a {type(self._function).__name__}: correct "
                "the name."
            )
        self._require_taken({}, partly=True)

    def check(self, context: Context) -> None:
        if context.train:
            self._require_taken(self._columns(context.train), partly=False)

    def judge(self, comparisons: Sequence[Comparison], seed: int, progress: Progress) -> list[Judgement]:
        if not comparisons:
            return []
        prompts = [c.prompt for c in comparisons]
        with progress.stage("Judging", len(comparisons)) as advance:
            a_first = self._ask(prompts, [c.a for c in comparisons], [c.b for c in comparisons])
            b_first = self._ask(prompts, [c.b for c in comparisons], [c.a for c in comparisons])
            advance(len(comparisons))
        return [
            Judgement(one, None if other is None else (other[1], other[0], other[2]))
            for one, other in zip(a_first, b_first, strict=True)
        ]

    def _ask(self, prompts: Sequence[Prompt], first: list[str], second: list[str]) -> list[Opinion | None]:
        """Return P(first), P(second) and P(equal) of each comparison; None where there is no verdict."""
        name = self.config.function
        try:
            found = self._function(
                prompts=[p.as_trl() for p in prompts],
                first=first,
                second=second,
                **self._columns(prompts),
                **self.config.arguments,
            )
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # also sys.exit()
            raise RewardError(
                f"The judge {name} must return one verdict per comparison, but it raised {described(error)}. Fix the "
                "function and run the same command again; nothing is lost."
            ) from error
        found = found.tolist() if hasattr(found, "tolist") else found
        if not isinstance(found, list | tuple) or len(found) != len(prompts):
            got = f"{len(found)} values" if isinstance(found, list | tuple) else f"a {type(found).__name__}"
            raise RewardError(
                f"The judge {name} must return a list of {len(prompts)} verdicts, one per comparison, but returned "
                f"{got}. Fix the function and run the same command again; nothing is lost."
            )
        return [self._opinion(value) for value in found]

    def _opinion(self, value: Any) -> Opinion | None:
        if value is None:
            return None
        try:
            first, second, equal = (float(p) for p in value)
        except (TypeError, ValueError):
            first = second = equal = -1.0
        if not (min(first, second, equal) >= 0 and abs(first + second + equal - 1) < 1e-6):
            raise RewardError(
                f"A verdict of the judge {self.config.function} must be None or three probabilities that add up to 1 "
                f"(the first is better, the second, equal), but one is {value!r:.200}. Fix the function and run the "
                "same command again; nothing is lost."
            )
        return min(first, 1.0), min(second, 1.0), min(equal, 1.0)  # rounding in float32 may exceed 1

    def _columns(self, prompts: Sequence[Prompt]) -> dict[str, list[Any]]:
        """Return the columns that all prompts have, as lists, without those that `arguments` override."""
        shared = set.intersection(*(set(p.columns) for p in prompts))
        own = {"prompts", "first", "second", *self.config.arguments}
        return {k: [p.columns[k] for p in prompts] for k in sorted(shared - own)}

    def _require_taken(self, columns: Mapping[str, Any], *, partly: bool) -> None:
        try:
            signature = inspect.signature(self._function)
        except (TypeError, ValueError):  # some functions written in C have no signature
            return
        bind = signature.bind_partial if partly else signature.bind
        try:
            bind(prompts=[], first=[], second=[], **columns, **self.config.arguments)
        except TypeError as error:
            raise RecipeError(
                "A judge must take `prompts`, `first`, `second`, the prompts' other columns and `arguments` by name, "
                f"but {self.config.function} does not: {error}. Let it take them, others as `**columns`."
            ) from error
