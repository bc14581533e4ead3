"""Look-up of rows by their ids, with 16 bytes of memory for each row."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar, final

import numpy as np
from numpy.typing import NDArray

Value = TypeVar("Value")


def id_number(content_id: str) -> int:
    """Return the 64-bit number of an id of 16 hexadecimal digits (`content_id`); −1 for any other text."""
    try:
        number = int(content_id, 16)
    except (ValueError, TypeError):  # also of what is no text, which a mapping may be asked for
        return -1
    return number if id_text(number) == content_id else -1


def id_text(number: int) -> str:
    """Return the id that has this number."""
    return f"{number:016x}"


@final
class IdIndex:
    """Rows by the ids that they have. Several rows may have the same one.

    Attributes:
        id_N: the number of each row's id.
    """

    def __init__(self, id_N: NDArray[np.uint64]) -> None:
        self.id_N = id_N
        self._order_N = np.argsort(id_N, kind="stable")

    @property
    def first_rows(self) -> NDArray[np.int64]:
        """The first row of each id, ascending."""
        sorted_N = self.id_N[self._order_N]
        new_N = np.ones(len(sorted_N), np.bool_)
        new_N[1:] = sorted_N[1:] != sorted_N[:-1]
        return np.sort(self._order_N[new_N])

    def rows(self, content_id: str) -> list[int]:
        """Return all rows with an id, ascending."""
        number = id_number(content_id)
        if not 0 <= number < 2**64:
            return []
        start, end = (
            self.id_N.searchsorted(np.uint64(number), side, sorter=self._order_N) for side in ("left", "right")
        )
        return [int(row) for row in self._order_N[start:end]]


@final
class ById(Mapping[str, Value]):
    """Values by id, each made from the rows of the id when it is asked for. A copy and a pickle of it is a dictionary.

    Args:
        index: the rows of each id.
        value: returns the value of an id from its rows; None if it has none.
    """

    def __init__(self, index: IdIndex, value: Callable[[list[int]], Value | None]) -> None:
        self._index = index
        self._value = value

    def __getitem__(self, content_id: str) -> Value:
        rows = self._index.rows(content_id)
        found = self._value(rows) if rows else None
        if found is None:
            raise KeyError(content_id)
        return found

    def __iter__(self) -> Iterator[str]:
        ids = (id_text(int(self._index.id_N[row])) for row in self._index.first_rows)
        return (content_id for content_id in ids if content_id in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)
