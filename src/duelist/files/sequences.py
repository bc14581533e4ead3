"""Sequences whose items are made when they are asked for, so that they take no memory."""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import Any, TypeVar, final, overload

Item = TypeVar("Item")


class LazySequence(Sequence[Item], ABC):
    """A sequence that keeps no item. It equals any sequence of equal items; slices, copies and pickles are tuples."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def item(self, position: int) -> Item:
        """Return the item at a position from 0 to the length − 1."""

    @overload
    def __getitem__(self, position: int) -> Item: ...
    @overload
    def __getitem__(self, position: slice) -> tuple[Item, ...]: ...
    def __getitem__(self, position: int | slice) -> Item | tuple[Item, ...]:
        of_all = range(len(self))
        if isinstance(position, slice):
            return tuple(self.item(i) for i in of_all[position])
        return self.item(of_all[position])

    def __iter__(self) -> Iterator[Item]:
        return map(self.item, range(len(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or len(self) != len(other):
            return False
        return all(own == its for own, its in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> tuple[Any, ...]:
        return tuple, (list(self),)


@final
class Computed(LazySequence[Item]):
    """The items that a function gives for the positions 0 to length − 1."""

    def __init__(self, length: int, item: Callable[[int], Item]) -> None:
        self._length = length
        self._item = item

    def __len__(self) -> int:
        return self._length

    def item(self, position: int) -> Item:
        return self._item(position)


def joined(*parts: Sequence[Item]) -> Sequence[Item]:
    """Return the items of some sequences one after the other, without a copy of them."""
    parts = tuple(part for part in parts if len(part))
    if len(parts) == 1:
        return parts[0]
    end = list(accumulate(map(len, parts)))

    def item(position: int) -> Item:
        k = bisect_right(end, position)
        return parts[k][position - end[k]]  # counted from the part's end

    return Computed(end[-1] if end else 0, item)
