"""Rows by their ids, against a dictionary."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from duelist.data.id_index import ById, IdIndex, id_number, id_text

NUMBERS = st.lists(st.one_of(st.integers(0, 5), st.integers(2**64 - 3, 2**64 - 1)), max_size=20)


@given(numbers=NUMBERS)
@example(numbers=[2**64 - 1, 0, 2**64 - 1])
def test_rows_are_found_by_their_ids(numbers: list[int]) -> None:
    expected: dict[str, list[int]] = {}
    for row, number in enumerate(numbers):
        expected.setdefault(f"{number:016x}", []).append(row)
    index = IdIndex(np.array(numbers, np.uint64))
    assert index.first_rows.tolist() == [rows[0] for rows in expected.values()]
    for content_id in (*expected, f"{7:016x}", f"{2**63:016x}"):
        assert index.rows(content_id) == expected.get(content_id, [])
    mapping = ById(index, lambda rows: rows)
    assert mapping == expected and list(mapping) == list(expected)
    even = ById(index, lambda rows: rows[0] if rows[0] % 2 == 0 else None)
    assert even == {k: rows[0] for k, rows in expected.items() if rows[0] % 2 == 0}


@given(number=st.integers(0, 2**64 - 1))
def test_an_id_is_its_number(number: int) -> None:
    assert id_number(id_text(number)) == number and len(id_text(number)) == 16


@pytest.mark.parametrize(
    "other",
    ["", "prompt", "ff", "0x" + 14 * "0", 16 * "F", 17 * "f", "-" + 15 * "1", 16 * " ", None, 255, b"00000000000000ff"],
)
def test_anything_else_has_no_number(other: Any) -> None:
    index = IdIndex(np.array([255, 1, 0], np.uint64))
    assert index.rows(other) == []
    with pytest.raises(KeyError):
        ById(index, lambda rows: rows)[other]
    assert other not in ById(index, lambda rows: rows)
