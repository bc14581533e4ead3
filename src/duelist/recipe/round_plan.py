"""What each round of a study is due: how many pairs it asks, whether it is evaluated, whether its weights are kept.

Everything that wants to know a round's budget asks `budget_of`, or `budgets` for all of them.
"""

from __future__ import annotations

from collections.abc import Sequence

from duelist.recipe.budget_schedule import scheduled
from duelist.recipe.recipe import Recipe

DEFAULT_CHECKPOINT = 10  # rounds, online


def budgets(recipe: Recipe) -> tuple[int, ...]:
    """How many pairs each round asks, from the first to the last."""
    return scheduled(recipe.schedule, recipe.rounds, recipe.budget)


def budget_of(recipe: Recipe, t: int) -> int:
    """How many pairs round t asks, from 1."""
    return budgets(recipe)[t - 1]


def asked_before(recipe: Recipe, t: int) -> int:
    """How many pairs are asked in all rounds before round t."""
    return sum(budgets(recipe)[: t - 1])


def total_budget(recipe: Recipe) -> int:
    """How many pairs the whole study asks."""
    return sum(budgets(recipe))


def is_checkpoint(recipe: Recipe, t: int, last: int) -> bool:
    """Whether the weights are kept after round t of a study whose last round is `last`."""
    return not recipe.online or t == last or t % checkpoint_every(recipe) == 0


def is_evaluated(recipe: Recipe, t: int, last: int) -> bool:
    """Whether the model is measured after round t of a study whose last round is `last`."""
    return t in (0, last) or t % (recipe.evaluation.every or checkpoint_every(recipe)) == 0


def checkpoint_every(recipe: Recipe) -> int:
    """After how many rounds the weights are kept again."""
    return (recipe.checkpoint_every or DEFAULT_CHECKPOINT) if recipe.online else 1


def in_words(recipe: Recipe) -> str:
    """How many labels in how many rounds, for people."""
    of_rounds = budgets(recipe)
    if len(set(of_rounds)) == 1:
        return f"{recipe.rounds} rounds of {of_rounds[0]} labels"
    return f"{recipe.rounds} rounds of {listed([str(b) for b in of_rounds])} labels"


def listed(of_rounds: Sequence[str]) -> str:
    """What rounds have, for people: all of them, or the first and the last of many."""
    return ", ".join(of_rounds if len(of_rounds) <= 8 else [*of_rounds[:3], "…", of_rounds[-1]])
