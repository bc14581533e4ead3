"""Maximum number of questions in each round's pool, computed from the recipe's counts before anything is drawn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from duelist.data.prompts import PromptSet, per_round_counts
from duelist.errors import BudgetError
from duelist.pairing.base import PoolSize
from duelist.recipe.recipe import Recipe
from duelist.recipe.round_plan import budgets, in_words, total_budget
from duelist.samplers.base import FROM_DATASET


def prompts_in_rounds(recipe: Recipe, prompts: PromptSet | None) -> tuple[int, ...] | None:
    """Return how many prompts get responses in each round.

    Args:
        recipe: the recipe.
        prompts: its prompts; None if they are not available.

    Returns:
        One number per round; None if it cannot be known yet.
    """
    config = recipe.prompts
    known = config.limit if prompts is None else len(prompts.train)
    if known is None and config.per_round is None:
        return None
    return per_round_counts(config.per_round, recipe.rounds, known or 0)


def pairs_in_rounds(recipe: Recipe, prompts: PromptSet | None) -> tuple[int, ...] | None:
    """Return the maximum number of questions in each round's pool.

    Args:
        recipe: the recipe.
        prompts: its prompts; None if they are not available.

    Returns:
        One number per round; None if it depends on unavailable prompts or on a component's own code.
    """
    pairing = recipe.pairing.build()
    pairs = [pairing.most_pairs(pool) for pool in _pools(recipe, prompts)]
    known = tuple(n for n in pairs if n is not None)
    return known if len(known) == len(pairs) else None


def responses_in_rounds(recipe: Recipe, prompts: PromptSet | None) -> tuple[int, ...] | None:
    """Return the maximum number of responses in each round's pool; None if it cannot be known yet."""
    responses = [None if pool.responses is None else sum(pool.responses) for pool in _pools(recipe, prompts)]
    known = tuple(n for n in responses if n is not None)
    return known if len(known) == len(responses) else None


def most_responses(recipe: Recipe, prompts: PromptSet | None) -> int | None:
    """Return the maximum number of responses in one round's pool; None if it cannot be known yet."""
    in_rounds = responses_in_rounds(recipe, prompts)
    return None if in_rounds is None else max(in_rounds)


def require_large_pool(recipe: Recipe, prompts: PromptSet, in_rounds: Sequence[int]) -> None:
    """Check that the budget does not exceed the number of questions in the pool.

    Args:
        recipe: the recipe.
        prompts: its prompts.
        in_rounds: maximum number of questions in each round's pool.

    Raises:
        BudgetError: if it exceeds that number; both are named.
    """
    drawn = recipe.sampler.build().counts is not None
    # A data set's responses are the same in every round, like a fixed pool's: a pair is asked only once.
    same = recipe.pool == "fixed" or not drawn
    everything = in_rounds[0]
    if recipe.pool != "fixed" and not drawn:
        everyone = recipe.model_copy(update={"prompts": recipe.prompts.model_copy(update={"per_round": None})})
        everything = (pairs_in_rounds(everyone, prompts) or in_rounds)[0]
    short = [(b, n) for b, n in zip(budgets(recipe), in_rounds, strict=True) if b > n]
    if same and total_budget(recipe) > everything:
        short = [(total_budget(recipe), everything)]
    if short:
        needed, pool = max(short)
        raise BudgetError(
            f"`budget <= candidate questions` must hold, but budget={recipe.budget} for {recipe.rounds if same else 1} "
            f"round(s) {'' if recipe.schedule == 'constant' else f'(those of {in_words(recipe)}) '}needs {needed} "
            f"questions, and the pool has {pool} at most: lower the budget or the "
            "rounds, or use more prompts or more responses per prompt."
        )


def _pools(recipe: Recipe, prompts: PromptSet | None) -> list[PoolSize]:
    in_rounds = prompts_in_rounds(recipe, prompts) or [None] * recipe.rounds
    sizes = {n: _pool_size(recipe, prompts, n) for n in set(in_rounds)}  # each reads every prompt
    return [sizes[n] for n in in_rounds]


def _pool_size(recipe: Recipe, prompts: PromptSet | None, n: int | None) -> PoolSize:
    """Return the known size of a pool of the n prompts with most in the data set; None for each unknown number."""
    sampler = recipe.sampler.build()
    counts, looked_up = sampler.counts, sampler.origins == FROM_DATASET
    if n is None or (counts is None and (prompts is None or not looked_up)):
        return PoolSize(None, None, None)
    given = None
    if prompts is not None:
        given = sum(_most(prompts.given_counts[1], n))
    if counts is not None:
        return PoolSize([counts.responses] * n, counts.sets * n, given)
    return PoolSize([] if prompts is None else _most(prompts.given_counts[0], n), None, given)


def _most(count_N: NDArray[np.int64], n: int) -> list[int]:
    """Return the n largest counts."""
    return [int(count) for count in np.sort(count_N)[::-1][:n]]
