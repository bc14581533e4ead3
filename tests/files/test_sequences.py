"""Sequences whose items are made when they are asked for, against tuples."""

from __future__ import annotations

import copy
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duelist.files.sequences import Computed, joined

PLACES = st.one_of(st.none(), st.integers(-8, 8))


@given(
    items=st.lists(st.integers(), max_size=6).map(tuple), start=PLACES, stop=PLACES, step=st.sampled_from([1, 2, -1])
)
def test_a_lazy_sequence_is_like_a_tuple(
    items: tuple[int, ...], start: int | None, stop: int | None, step: int
) -> None:
    lazy = Computed(len(items), items.__getitem__)
    assert (len(lazy), tuple(lazy), lazy[start:stop:step]) == (len(items), items, items[start:stop:step])
    for i in range(-len(items), len(items)):
        assert lazy[i] == items[i]
    for beyond in (len(items), -len(items) - 1):
        with pytest.raises(IndexError):
            lazy[beyond]
    assert lazy == items and lazy == list(items) and lazy != (*items, 0) and lazy != len(items)
    assert bool(lazy) == bool(items)


@given(parts=st.lists(st.lists(st.integers(), max_size=4), max_size=4))
def test_joined_sequences_are_one(parts: list[list[int]]) -> None:
    expected = [item for part in parts for item in part]
    assert list(joined(*parts)) == expected
    assert [joined(*parts)[i] for i in range(-len(expected), len(expected))] == [*expected, *expected]


def test_a_lazy_sequence_is_copied_and_pickled_as_a_tuple() -> None:
    lazy = joined(Computed(2, lambda i: [i]), [[2]])
    for found in (copy.deepcopy(lazy), pickle.loads(pickle.dumps(lazy))):
        assert found == ([0], [1], [2]) and isinstance(found, tuple)
