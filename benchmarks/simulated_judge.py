"""A judge of known accuracy in the quickstart's environment, for a recipe's `judged_pool`.

    duelist compare quickstart --set rounds=8 --set acquisition=random --seeds 0:2 --arm people: --arm "good:\
    judged_pool.judge.function=benchmarks/simulated_judge.py:judge,judged_pool.judge.arguments.world='{prepared}',\
    judged_pool.judge.arguments.right=0.95,judged_pool.pairs=64"
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from duelist.seeding import hash_uniform
from duelist.world import reward


def judge(
    prompts: Sequence[Any],
    first: Sequence[str],
    second: Sequence[str],
    *,
    world: str,
    right: float = 0.8,
    bias: str = "",
    seed: int = 0,
    **columns: Any,
) -> list[tuple[float, float, float]]:
    """Return certain verdicts that are right in a known share of the pairs, the same in both orders.

    Args:
        prompts: the prompts.
        first: the responses shown first.
        second: the others.
        world: the folder of the environment.
        right: the share of the pairs of unequal reward on which the better response wins.
        bias: in half of the pairs, the `longer` response wins, or the `left` one.
        seed: seed of which pairs it is wrong about.
        **columns: the prompts' other columns; not used.
    """
    rewards = zip(reward(prompts, first, world=world), reward(prompts, second, world=world), strict=True)
    found = []
    for prompt, one, other, (of_one, of_other) in zip(prompts, first, second, rewards, strict=True):
        names = [str(prompt), *sorted((one, other))]
        better = (of_one, one) > (of_other, other)
        wins = better == (hash_uniform(seed, "luck", *names) < right)
        if bias and hash_uniform(seed, "swayed", *names) < 0.5:
            wins = bias == "left" or (len(one.split()), one) > (len(other.split()), other)
        found.append((float(wins), float(not wins), 0.0))
    return found
