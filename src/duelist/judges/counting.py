"""Count of the comparisons that are judged: those all of whose requests have ended."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import final


@final
class Counter:
    """Counter of finished comparisons, for the progress bar.

    Args:
        keys: of each comparison, the keys of its requests in both orders. Comparisons may share some.
    """

    def __init__(self, keys: Sequence[Iterable[str]]) -> None:
        self._left = [set(of_one) for of_one in keys]
        self._of: dict[str, list[int]] = {}
        for i, of_one in enumerate(self._left):
            for key in of_one:
                self._of.setdefault(key, []).append(i)

    def ended(self, keys: Iterable[str]) -> int:
        """Return how many comparisons are finished with these requests, each of which ends once."""
        finished = 0
        for key in keys:
            for i in self._of[key]:
                self._left[i].discard(key)
                finished += not self._left[i]
        return finished
