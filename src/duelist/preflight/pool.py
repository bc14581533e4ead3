"""How many pairs each round's pool has, at most: before anything is drawn, from the recipe's counts alone."""

from __future__ import annotations

from collections.abc import Sequence

from duelist.data.prompts import PromptSet, per_round_counts
from duelist.errors import BudgetError
from duelist.recipe.component_settings import build
from duelist.recipe.components import COMPONENTS
from duelist.recipe.recipe import Recipe
from duelist.recipe.round_plan import budgets, in_words, total_budget
from duelist.samplers.base import Sampler


def prompts_in_rounds(recipe: Recipe, prompts: PromptSet | None) -> tuple[int, ...] | None:
    """How many prompts each round answers.

    Args:
        recipe: the recipe.
        prompts: its prompts; None where they are out of reach.

    Returns:
        One number a round; None where it cannot be known yet.
    """
    config = recipe.prompts
    known = config.limit if prompts is None else len(prompts.train)
    if known is None and config.per_round is None:
        return None
    return per_round_counts(config.per_round, recipe.rounds, known or 0)


def pairs_in_rounds(recipe: Recipe, prompts: PromptSet | None) -> tuple[int, ...] | None:
    """How many pairs each round's pool has, at most.

    Args:
        recipe: the recipe.
        prompts: its prompts; None where they are out of reach.

    Returns:
        One number a round; None where prompts that are out of reach or components' own code alone say it.
    """
    in_rounds = prompts_in_rounds(recipe, prompts)
    if recipe.pairing["name"] == "cross_prompt":
        drawn = int(recipe.pairing["pairs"])
        responses = None if in_rounds is None else _responses_of_prompts(recipe, prompts, max(in_rounds))
        if in_rounds is None or responses is None:
            return (drawn,) * recipe.rounds
        totals = (sum(responses[:n]) for n in in_rounds)
        return tuple(min(drawn, r * (r - 1) // 2) for r in totals)
    if in_rounds is None or recipe.pairing["name"] not in COMPONENTS["pairing"]:
        return None
    pairs = _pairs_of_prompts(recipe, prompts, max(in_rounds))
    return None if pairs is None else tuple(sum(pairs[:n]) for n in in_rounds)


def require_large_pool(recipe: Recipe, prompts: PromptSet, in_rounds: Sequence[int]) -> None:
    """Refuse a budget that exceeds what the pool can have.

    Args:
        recipe: the recipe.
        prompts: its prompts.
        in_rounds: the pairs in each round's pool, at most.

    Raises:
        BudgetError: naming both.
    """
    drawn = build("sampler", recipe.sampler, Sampler).counts is not None
    # A data set's responses are the same every round, like a fixed pool's: what was asked is not asked again.
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
            f"`budget <= candidate pairs` must hold, but budget={recipe.budget} for {recipe.rounds if same else 1} "
            f"round(s) {'' if recipe.schedule == 'constant' else f'(those of {in_words(recipe)}) '}needs {needed} "
            f"pairs, and the pool has {pool} at most: lower the budget or the "
            "rounds, or use more prompts or more responses per prompt."
        )


def _responses_of_prompts(recipe: Recipe, prompts: PromptSet | None, most: int) -> list[int] | None:
    """How many responses `most` prompts have, those with most first; None if that is not known."""
    counts = build("sampler", recipe.sampler, Sampler).counts
    if counts is not None:
        return [counts.responses] * most
    if prompts is None or recipe.sampler["name"] != "dataset":
        return None
    return sorted((len(prompts.given.texts.get(p.id, [])) for p in prompts.train), reverse=True)


def _pairs_of_prompts(recipe: Recipe, prompts: PromptSet | None, most: int) -> list[int] | None:
    """How many pairs `most` prompts have within each of them, those with most first; None if that is not known."""
    pairing, counts = recipe.pairing["name"], build("sampler", recipe.sampler, Sampler).counts
    if pairing == "as_given":
        if prompts is None or (counts is None and recipe.sampler["name"] != "dataset"):
            return None
        given = (prompts.given.pairs.get(p.id, []) for p in prompts.train)
        return sorted((len({tuple(sorted(pair)) for pair in pairs}) for pairs in given), reverse=True)
    if pairing == "as_drawn":
        return None if counts is None else [counts.sets] * most
    responses = _responses_of_prompts(recipe, prompts, most)
    return None if responses is None else [m * (m - 1) // 2 for m in responses]
