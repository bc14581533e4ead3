"""Split of a budget over rounds. A schedule splits the total T·B by largest remainder, at least one pair per round:

constant    B : B : … : B
decrease    T : T−1 : … : 1       3:2:1 for three rounds, as in Yang et al., arXiv 2406.17312, Table 2
increase    1 : 2 : … : T
[b₁, …]     as listed
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

Schedule = Literal["constant", "decrease", "increase"] | tuple[Annotated[int, Field(ge=1)], ...]


@functools.cache
def scheduled(schedule: Schedule, rounds: int, budget: int) -> tuple[int, ...]:
    """Return the budgets of all rounds.

    Args:
        schedule: see the module's docstring.
        rounds: T, 1 or more.
        budget: B, the mean per round, 1 or more; a list's own numbers take precedence.

    Returns:
        T budgets of 1 or more, with sum T·B (for a list, its own sum).
    """
    if isinstance(schedule, tuple):
        return schedule
    if schedule == "constant":
        return (budget,) * rounds
    decreasing = _apportioned(rounds * budget, range(rounds, 0, -1))
    return tuple(decreasing if schedule == "decrease" else decreasing[::-1])


def fill_mean_budget(values: Any) -> Any:
    """Fill in `budget` in a recipe's raw content if `schedule` is a list of budgets."""
    if not isinstance(values, dict) or "budget" in values:
        return values
    listed = values.get("schedule")
    if not isinstance(listed, list | tuple) or not listed or not all(isinstance(b, int) for b in listed):
        return values
    return {**values, "budget": max(1, round(sum(listed) / len(listed)))}


def require_listed_budgets(schedule: Schedule, rounds: int, budget: int) -> None:
    """Check that a list of budgets has one entry per round, and that `budget` is its mean.

    Raises:
        ValueError: if they disagree.
    """
    if not isinstance(schedule, tuple):
        return
    if len(schedule) != rounds:
        raise ValueError(
            f"A list in `schedule` must have a budget for each of the {rounds} rounds, but has {len(schedule)}: "
            "correct the list or `rounds`."
        )
    if abs(rounds * budget - sum(schedule)) >= rounds:
        raise ValueError(
            f"`budget` must be the mean of the list in `schedule`, {sum(schedule) / rounds:g} (rounded), but is "
            f"{budget}: remove `budget`, or correct one of them."
        )


def require_listed_prompts(per_round: object, rounds: int, pool: str) -> None:
    """Check that a list of prompts per round has one entry per round, and that the pool is redrawn each round.

    Raises:
        ValueError: if they disagree.
    """
    if not isinstance(per_round, tuple):
        return
    if len(per_round) != rounds:
        raise ValueError(
            f"A list in `prompts.per_round` must have a part of the prompts for each of the {rounds} rounds, but has "
            f"{len(per_round)}: correct the list or `rounds`."
        )
    if pool == "fixed":
        raise ValueError(
            "A list in `prompts.per_round` gives each round prompts of its own, but with `pool: fixed` all rounds "
            "share those of round 1: set `pool: regenerate`, or one number."
        )


def require_online_keys(online: bool, checkpoint_every: int | None) -> None:
    """Check that keys of online mode are set only in online mode.

    Raises:
        ValueError: if one is set in another mode; the key is named.
    """
    if checkpoint_every is not None and not online:
        raise ValueError(
            f"`checkpoint_every` is for `online: true`, but is {checkpoint_every} without it: remove it (every round's "
            "weights are kept), or set `online`."
        )


def _apportioned(total: int, weights: Sequence[int]) -> list[int]:
    """Split `total` in proportion to the weights by largest remainder, each part 1 or more.

    Parts whose share is below 1 get 1, and the others share the rest. A larger weight never gets less.
    """
    ones: set[int] = set()
    while True:
        rest = [i for i in range(len(weights)) if i not in ones]
        left, whole = total - len(ones), sum(weights[i] for i in rest)
        below = {i for i in rest if left * weights[i] < whole}
        if not below:
            break
        ones |= below
    parts = [1] * len(weights)
    remainder = {}
    for i in rest:
        parts[i], remainder[i] = divmod(left * weights[i], whole)
    short = total - sum(parts)
    for i in sorted(rest, key=lambda i: -remainder[i])[:short]:
        parts[i] += 1
    return parts
