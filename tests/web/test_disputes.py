"""Agreement of two answers, against an enumeration of what each says about every two responses."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duelist.web.disputes import agreement, stated_order

IDS = ["w", "x", "y", "z"]


def sent(outcome: str, ids: list[str] = IDS, **more: Any) -> dict[str, Any]:
    return {"shown": ids, "outcome": outcome, "chosen": "", "ranking": [], "best": "", "worst": ""} | more


@st.composite
def rankings(draw: st.DrawFn) -> list[list[str]]:
    order = draw(st.permutations(IDS))
    kept = order[: draw(st.integers(1, 4))]
    tiers: list[list[str]] = []
    for name in kept:
        if tiers and draw(st.booleans()):
            tiers[-1].append(name)
        else:
            tiers.append([name])
    return tiers


def says(tiers: list[list[str]], one: str, other: str) -> int | None:
    """1 if `one` is better: the first tier that holds either decides; the rest is silent."""
    for tier in tiers:
        if one in tier and other in tier:
            return 0
        if one in tier or other in tier:
            return 1 if one in tier else -1
    return None


@given(rankings(), rankings())
def test_rankings_agree_by_the_pairs_on_which_both_speak(first: list[list[str]], second: list[list[str]]) -> None:
    values = []
    for one, other in combinations(IDS, 2):
        a, b = says(first, one, other), says(second, one, other)
        if a is not None and b is not None:
            values.append(1 - abs(a - b) / 2)
    found = agreement(*(stated_order(sent("ranked", ranking=t, stopped=True)) for t in (first, second)))
    assert found == (pytest.approx(sum(values) / len(values)) if values else None)


PAIRS = {
    "equal": ({"outcome": "prefer", "chosen": "w"}, {"outcome": "prefer", "chosen": "w"}, 1.0),
    "opposite": ({"outcome": "prefer", "chosen": "w"}, {"outcome": "prefer", "chosen": "x"}, 0.0),
    "a preference and a tie": ({"outcome": "prefer", "chosen": "w"}, {"outcome": "tie"}, 0.5),
    "no preference twice": ({"outcome": "both_bad"}, {"outcome": "tie"}, 1.0),
    "a skip says nothing": ({"outcome": "skip"}, {"outcome": "tie"}, None),
}


@pytest.mark.parametrize(("one", "other", "expected"), PAIRS.values(), ids=PAIRS.keys())
def test_pairs(one: dict[str, str], other: dict[str, str], expected: float | None) -> None:
    assert agreement(*(stated_order(sent("", ["w", "x"]) | x) for x in (one, other))) == expected


def test_best_and_worst_say_nothing_about_those_between() -> None:
    order = stated_order(sent("ranked", best="y", worst="w"))
    assert order == {("w", "x"): -1, ("w", "y"): -1, ("w", "z"): -1, ("x", "y"): -1, ("y", "z"): 1}
    best_only = stated_order(sent("ranked", best="w"))
    assert best_only == {("w", "x"): 1, ("w", "y"): 1, ("w", "z"): 1}
