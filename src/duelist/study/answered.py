"""Answers so far, as the arrays that a rule's calibration and the fit of stage scales read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from duelist.answers import ranks_of
from duelist.choice_models.stage_scales import fit_stage_scales
from duelist.store.decisions import question_of
from duelist.store.store import Store
from duelist.types import Answer, Label, Question

RANKS = {"a": (0, 1), "b": (1, 0)}  # of the outcomes of a pair that are preferences


def answers_before(t: int, store: Store) -> list[Label | Answer]:
    """Return the answers that count, to the questions asked in rounds before t."""
    asked = {x.question.id for x in store.asked() if x.round < t}
    return [x for x in store.current_answers() if question_of(x) in asked]


def votes_so_far(
    n: int, past: Sequence[Question], answers: Sequence[Label | Answer], store: Store
) -> dict[str, NDArray[Any]]:
    """Return how N candidate and P past pairs were decided, and their margins when they were asked.

    Args:
        n: the number of candidates, which were not asked.
        past: the past pairs.
        answers: the labels to count.
        store: the record.

    Returns:
        `votes_N2` and `asked_margin_N` of `Features`, over candidates and then past pairs.
    """
    margin = {x.question.id: x.margin for x in store.asked()}  # a pair that was only judged has none, and no votes
    votes = {p.id: [0, 0] for p in past}
    for label in answers:
        if isinstance(label, Label) and label.pair_id in votes and label.outcome in RANKS:
            votes[label.pair_id][label.outcome == "b"] += 1
    return {
        "asked_margin_N": np.array([0.0] * n + [margin.get(p.id, 0.0) for p in past]),
        "votes_N2": np.array([[0, 0]] * n + [votes[p.id] for p in past], np.int64).reshape(-1, 2),
    }


def answers_so_far(
    past: Sequence[Question], answers: Sequence[Label | Answer], store: Store
) -> dict[str, NDArray[Any]]:
    """Return the decided answers to past questions, with the rewards that the model gave when they were asked.

    A pair asked by an earlier version has its margin as the reward of a, and 0 as that of b.

    Args:
        past: the past questions.
        answers: the answers to count.
        store: the record.

    Returns:
        `asked_reward_XQ`, `rank_XQ` and `answered_X` of `Features`.
    """
    row = {question.id: i for i, question in enumerate(past)}
    width = max([2, *(question.k for question in past)])
    asked = {x.question.id: x for x in store.asked()}
    rewards: list[list[float]] = []
    ranks: list[list[int]] = []
    answered: list[int] = []
    for answer in answers:
        place = row.get(question_of(answer))
        rank = None if place is None else _ranks(answer, past[place])
        if place is None or rank is None:
            continue
        x = asked[past[place].id]
        padding = width - len(rank)
        rewards.append([*(x.rewards or (x.margin, 0.0)), *[0.0] * padding])
        ranks.append([*rank, *[-1] * padding])
        answered.append(place)
    return {
        "asked_reward_XQ": np.array(rewards, np.float64).reshape(-1, width),
        "rank_XQ": np.array(ranks, np.int64).reshape(-1, width),
        "answered_X": np.array(answered, np.int64),
    }


def scales_after(t: int, store: Store) -> tuple[float, ...]:
    """Return the scale of each stage of a ranking, fitted to all answers up to round t; empty if all are on pairs."""
    past = [x.question for x in store.asked() if x.round <= t]
    if all(question.k == 2 for question in past):
        return ()
    found = answers_so_far(past, answers_before(t + 1, store), store)
    asks_X = np.array([question.asks for question in past])[found["answered_X"]]
    fitted = fit_stage_scales(found["asked_reward_XQ"], found["rank_XQ"], asks_X)
    return tuple(fitted.scale_X.tolist())


def _ranks(answer: Label | Answer, question: Question) -> tuple[int, ...] | None:
    if isinstance(answer, Label):
        return RANKS.get(answer.outcome)
    return ranks_of(answer, question.asks, [r.id for r in question.responses])
