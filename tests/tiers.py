"""Which cases of a test run by default, and which in the full tier."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import Any

import pytest


def first(kept: int, cases: Iterable[Any]) -> list[Any]:
    """Return the cases of one parameter, of which those after the first `kept` are marked `full`."""
    return [case if i < kept else pytest.param(case, marks=pytest.mark.full) for i, case in enumerate(cases)]


def first_rows(kept: int, rows: Iterable[tuple[Any, ...]]) -> list[Any]:
    """Return the cases of several parameters, of which those after the first `kept` are marked `full`."""
    return [row if i < kept else pytest.param(*row, marks=pytest.mark.full) for i, row in enumerate(rows)]


def one_of_each(key: Callable[[Any], Hashable], cases: Iterable[Any]) -> list[Any]:
    """Return the cases of one parameter, of which those whose key an earlier one has are marked `full`."""
    seen: set[Hashable] = set()
    found = []
    for case in cases:
        found.append(pytest.param(case, marks=pytest.mark.full) if key(case) in seen else case)
        seen.add(key(case))
    return found
