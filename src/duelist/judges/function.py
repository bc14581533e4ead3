"""Judge by a Python function: another library's judge, or a simulated one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from duelist.errors import RewardError
from duelist.judgement import Judgement, Opinion
from duelist.judges.base import Comparison, Judge
from duelist.judges.config import JudgeConfig
from duelist.judges.opinions import turned
from duelist.progress import Progress
from duelist.settings.context import Context
from duelist.settings.list_function import ListFunction


class FunctionJudge(Judge):
    """Judge that calls a function once per order, with the responses in the order displayed.

    The function's randomness is its own: it must give the same answer to the same comparison. Nothing is cached.
    """

    def __init__(self, config: JudgeConfig) -> None:
        assert config.function is not None
        self.config = config
        self.name = f"judge:{config.function}"
        lists, returns = ["first", "second"], ("verdict", "comparison")
        self._function = ListFunction(config.function, config.arguments, lists, "judge", returns)

    def check(self, context: Context) -> None:
        self._function.require_columns(context.train)

    def judge(self, comparisons: Sequence[Comparison], seed: int, progress: Progress) -> list[Judgement]:
        if not comparisons:
            return []
        prompts = [c.prompt for c in comparisons]
        with progress.stage("Judging", len(comparisons)) as advance:
            a, b = [c.a for c in comparisons], [c.b for c in comparisons]
            a_first = [self._opinion(value) for value in self._function(prompts, first=a, second=b)]
            b_first = [self._opinion(value) for value in self._function(prompts, first=b, second=a)]
            advance(len(comparisons))
        return [Judgement(one, turned(other)) for one, other in zip(a_first, b_first, strict=True)]

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
