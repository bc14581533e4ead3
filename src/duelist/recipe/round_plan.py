"""Per-round schedule: budget, evaluation, checkpoint.

All code that needs the budget of a round calls `budget_of`, or `budgets` for all rounds.
"""

from __future__ import annotations

from collections.abc import Sequence

from duelist.recipe.budget_schedule import scheduled
from duelist.recipe.recipe import Recipe

DEFAULT_CHECKPOINT = 10  # rounds, online


def budgets(recipe: Recipe) -> tuple[int, ...]:
    """Return the number of questions asked in each round, from the first to the last."""
    return scheduled(recipe.schedule, recipe.rounds, recipe.budget)


def budget_of(recipe: Recipe, t: int) -> int:
    """Return the number of questions asked in round t, counted from 1."""
    return budgets(recipe)[t - 1]


def asked_before(recipe: Recipe, t: int) -> int:
    """Return the number of questions asked in all rounds before round t."""
    return sum(budgets(recipe)[: t - 1])


def total_budget(recipe: Recipe) -> int:
    """Return the number of questions asked in the whole study."""
    return sum(budgets(recipe))


def model_round(recipe: Recipe, t: int) -> int:
    """Return the round whose model selects round t's batch."""
    return max(0, t - 1 - recipe.lookahead)


def is_checkpoint(recipe: Recipe, t: int, last: int) -> bool:
    """Return whether the weights are saved after round t of a study whose last round is `last`."""
    return not recipe.online or t == last or t % checkpoint_every(recipe) == 0


def is_evaluated(recipe: Recipe, t: int, last: int) -> bool:
    """Return whether the model is evaluated after round t of a study whose last round is `last`."""
    return t in (0, last) or t % (recipe.evaluation.every or checkpoint_every(recipe)) == 0


def checkpoint_every(recipe: Recipe) -> int:
    """Return the number of rounds between checkpoints."""
    return (recipe.checkpoint_every or DEFAULT_CHECKPOINT) if recipe.online else 1


def in_words(recipe: Recipe) -> str:
    """Return the rounds and their labels as readable text."""
    of_rounds = budgets(recipe)
    if len(set(of_rounds)) == 1:
        return f"{recipe.rounds} rounds of {of_rounds[0]} labels"
    return f"{recipe.rounds} rounds of {listed([str(b) for b in of_rounds])} labels"


def listed(of_rounds: Sequence[str]) -> str:
    """Return the rounds' values as readable text: all of them, or the first three and the last of many."""
    return ", ".join(of_rounds if len(of_rounds) <= 8 else [*of_rounds[:3], "…", of_rounds[-1]])
