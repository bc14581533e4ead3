"""Prompts and given responses of a data set of any size: read from a temporary file when they are asked for."""

from __future__ import annotations

from array import array
from collections import ChainMap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import final
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from duelist.data.id_index import ById, IdIndex, id_number, id_text
from duelist.files.records import Records
from duelist.files.sequences import LazySequence
from duelist.types import GivenResponses, Prompt


@final
class StoredPrompts(LazySequence[Prompt]):
    """Different prompts, in the order of their rows. One that is in use is not read again.

    Attributes:
        id_N: the numbers of their ids.
    """

    def __init__(self, records: Records[Prompt], row_N: NDArray[np.int64], id_N: NDArray[np.uint64]) -> None:
        self._records = records
        self._row_N = row_N
        self.id_N = id_N
        # A list with the prompt of each response holds every prompt once.
        self._in_use: WeakValueDictionary[int, Prompt] = WeakValueDictionary()

    def __len__(self) -> int:
        return len(self._row_N)

    def item(self, position: int) -> Prompt:
        row = int(self._row_N[position])
        prompt = self._in_use.get(row)
        if prompt is None:
            prompt = self._in_use[row] = self._records[row]
        return prompt

    def some(self, which_X: NDArray[np.int64] | NDArray[np.bool_]) -> StoredPrompts:
        """Return the prompts at some positions, or those where a mask is true."""
        return StoredPrompts(self._records, self._row_N[which_X], self.id_N[which_X])

    @property
    def ids(self) -> Iterator[str]:
        """Their ids, in order."""
        return (id_text(int(number)) for number in self.id_N)

    @property
    def by_id(self) -> Mapping[str, Prompt]:
        """The prompts by their ids."""
        return ById(self._index, lambda positions: self[positions[0]])

    @cached_property
    def _index(self) -> IdIndex:
        return IdIndex(self.id_N)


def prompt_ids(prompts: Sequence[Prompt]) -> Iterable[str]:
    """Return the ids of some prompts; stored ones are not read."""
    return prompts.ids if isinstance(prompts, StoredPrompts) else (p.id for p in prompts)


def prompts_by_id(prompts: Sequence[Prompt]) -> Mapping[str, Prompt]:
    """Return some prompts by their ids; stored ones are read when they are asked for."""
    return prompts.by_id if isinstance(prompts, StoredPrompts) else {p.id: p for p in prompts}


def first_found(*places: Mapping[str, Prompt]) -> Mapping[str, Prompt]:
    """Return the prompts of several places, each from the first one that has it."""
    return ChainMap(*places)  # type: ignore[arg-type]  # a ChainMap that is only read may have any mappings


@final
class PromptRows:
    """Prompts and given responses of a data set's rows, as they are read."""

    def __init__(self) -> None:
        self._prompts: Records[Prompt] = Records()
        self._texts: Records[list[str]] = Records()
        self._id_N = array("Q")

    def add(self, prompt: Prompt, texts: list[str] | None) -> None:
        """Keep a row: its prompt, and its responses; None if these do not count."""
        self._prompts.append(prompt)
        self._id_N.append(id_number(prompt.id))
        if texts is not None:
            self._texts.append(texts)

    def read(self) -> tuple[StoredPrompts, GivenResponses]:
        """Return the different prompts, and the responses of all rows by prompt."""
        index = IdIndex(np.frombuffer(self._id_N, np.uint64))
        row_N = index.first_rows
        prompts = StoredPrompts(self._prompts, row_N, index.id_N[row_N])
        if not len(self._texts):
            return prompts, GivenResponses({}, {})
        return prompts, GivenResponses(ById(index, self._pooled), ById(index, self._pairs))

    def _pooled(self, rows: Sequence[int]) -> list[str]:
        return list(dict.fromkeys(text for row in rows for text in self._texts[row]))

    def _pairs(self, rows: Sequence[int]) -> list[tuple[str, str]] | None:
        of_rows = [self._texts[row] for row in rows]
        return [(texts[0], texts[1]) for texts in of_rows if len(texts) == 2 and texts[0] != texts[1]] or None
