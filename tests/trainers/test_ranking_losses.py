"""Losses of rankings against the enumeration of all orders, and of pairs against the stock loss."""

from __future__ import annotations

import math
from itertools import pairwise, permutations
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from duelist.answers import REST
from duelist.trainers.losses import soft_label_loss
from duelist.trainers.ranking_losses import Answers, RankedObjective, SetColumns, answer_loss, loss_curvature

SCALES = [1.0, 0.7, 0.5, 0.4]


def answers(ranks: list[Any], scales: Any = (), best_worst: bool = False) -> Answers:
    """Answers whose shorter ones are padded."""
    q = max(map(len, ranks))
    padded = torch.tensor([[*row, *[-1] * (q - len(row))] for row in ranks])
    return Answers.of(padded, torch.full((len(ranks),), best_worst), scales, torch.float64)


def rewards(rows: list[Any]) -> torch.Tensor:
    q = max(map(len, rows))
    return torch.tensor([[*map(float, row), *[0.0] * (q - len(row))] for row in rows], dtype=torch.float64)


def order_loss(reward: torch.Tensor, order: Any, scales: Any, stages: int) -> torch.Tensor:
    """The definition: one order, its first stages, one at a time."""
    total = torch.zeros((), dtype=torch.float64)
    for j in range(stages):
        v = (scales[min(j, len(scales) - 1)] if scales else 1.0) * reward
        total = total - torch.log(torch.exp(v[order[j]]) / torch.exp(v[list(order[j:])]).sum())
    return total


def enumerated(reward: torch.Tensor, ranks: Any, scales: Any) -> torch.Tensor:
    """Mean over all orders that the ranks allow, with the responses below the ranked ones in any order."""
    k, ranked = len(ranks), sum(r < REST for r in ranks)
    orders = [o for o in permutations(range(k)) if all(ranks[a] <= ranks[b] for a, b in pairwise(o))]
    return torch.stack([order_loss(reward, o, scales, min(ranked, k - 1)) for o in orders]).mean()


RANKINGS = [
    (0, 1), (1, 0), (0, 0), (2, 0, 1), (0, 1, 1), (0, 0, 0), (3, 0, 2, 1), (1, 0, 1, 0), (0, 1, 1, 1), (1, 1, 0, 2),
    (0, REST, REST), (REST, 0, 1, REST), (0, 0, REST, REST), (4, 2, 0, 1, 3), (1, 0, REST, 1, REST), (0, 0, 0, 0, 0),
    (0, 1, 1, 2, 2), (REST, 1, 0, REST, 1),
]  # fmt: skip


@pytest.mark.parametrize("scales", [(), (1.0, 0.6), SCALES], ids=["equal", "two", "four"])
def test_losses_and_gradients_are_those_of_enumerated_orders(scales: Any) -> None:
    rng = np.random.default_rng(0)
    rows = [rng.normal(scale=2.0, size=len(r)) for r in RANKINGS]
    reward_BQ = rewards(rows).requires_grad_()
    loss_B = answer_loss(reward_BQ, answers(RANKINGS, scales))
    for i, ranks in enumerate(RANKINGS):
        expected = enumerated(reward_BQ[i, : len(ranks)], ranks, scales)
        assert loss_B[i].item() == pytest.approx(expected.item(), abs=1e-6), ranks
        (gradient_Q,) = torch.autograd.grad(loss_B[i], reward_BQ, retain_graph=True)
        (by_hand_Q,) = torch.autograd.grad(expected, reward_BQ, retain_graph=True)
        torch.testing.assert_close(gradient_Q, by_hand_Q, atol=1e-9, rtol=0)


def test_eight_tied_responses_and_a_ranking_of_eight() -> None:
    rng = np.random.default_rng(1)
    row, scales = rng.normal(size=8), [1 / (1 + 0.3 * j) for j in range(7)]
    reward_BQ = rewards([row, row])
    loss_B = answer_loss(reward_BQ, answers([range(8), (0, 0, 0, 0, 0, 1, 1, 2)], scales))
    assert loss_B[0].item() == pytest.approx(order_loss(reward_BQ[0], range(8), scales, 7).item(), abs=1e-9)
    assert loss_B[1].item() == pytest.approx(
        enumerated(reward_BQ[1], (0, 0, 0, 0, 0, 1, 1, 2), scales).item(), abs=1e-6
    )


def test_a_stopped_ranking_is_the_sum_over_the_orders_of_the_rest() -> None:
    rng = np.random.default_rng(2)
    reward_BQ = rewards([rng.normal(size=5)])
    loss = answer_loss(reward_BQ, answers([(REST, 0, REST, 1, REST)], SCALES))
    whole = [order_loss(reward_BQ[0], (1, 3, *rest), SCALES, 4) for rest in permutations((0, 2, 4))]
    assert loss.item() == pytest.approx(-math.log(sum(math.exp(-x.item()) for x in whole)), abs=1e-9)


def test_the_probabilities_of_all_orders_add_up_to_one() -> None:
    rng = np.random.default_rng(3)
    orders = list(permutations(range(4)))
    reward_BQ = rewards([rng.normal(size=4)] * len(orders))
    assert torch.exp(-answer_loss(reward_BQ, answers(orders, SCALES))).sum().item() == pytest.approx(1, abs=1e-9)


def test_best_and_worst_is_the_joint_softmax_over_ordered_pairs() -> None:
    rng = np.random.default_rng(4)
    rows = [rng.normal(size=k) for k in (3, 4, 5)]
    reward_BQ = rewards(rows).requires_grad_()
    loss_B = answer_loss(reward_BQ, answers([(2, 0, 1), (1, 0, 1, 2), (1, 1, 2, 1, 0)], SCALES, best_worst=True))
    for i, (best, worst) in enumerate([(1, 0), (1, 3), (4, 2)]):
        r = reward_BQ[i, : len(rows[i])]
        options = sum(torch.exp(r[a] - r[b]) for a in range(len(r)) for b in range(len(r)) if a != b)
        expected = torch.log(options) - r[best] + r[worst]
        assert loss_B[i].item() == pytest.approx(expected.item(), abs=1e-9)
        for mine, plain in zip(
            torch.autograd.grad(loss_B[i], reward_BQ, retain_graph=True),
            torch.autograd.grad(expected, reward_BQ, retain_graph=True),
            strict=True,
        ):
            torch.testing.assert_close(mine, plain, atol=1e-9, rtol=0)


def test_answers_of_both_kinds_stand_in_one_batch() -> None:
    rng = np.random.default_rng(5)
    reward_BQ = rewards([rng.normal(size=4), rng.normal(size=4), rng.normal(size=3)])
    rank_BQ = torch.tensor([[0, 1, 1, 2], [0, 1, 1, 2], [2, 1, 0, -1]])
    mixed = Answers.of(rank_BQ, torch.tensor([True, False, True]), SCALES, torch.float64)
    alone = [
        answer_loss(reward_BQ[:1], answers([(0, 1, 1, 2)], SCALES, best_worst=True)),
        answer_loss(reward_BQ[1:2], answers([(0, 1, 1, 2)], SCALES)),
        answer_loss(reward_BQ[2:, :3], answers([(2, 1, 0)], SCALES, best_worst=True)),
    ]
    torch.testing.assert_close(answer_loss(reward_BQ, mixed), torch.cat(alone), atol=1e-12, rtol=0)
    index = torch.tensor([2, 0])
    torch.testing.assert_close(answer_loss(reward_BQ[index], mixed.at(index)), torch.cat(alone)[index])
    members_KBQ = torch.stack([reward_BQ, 2 * reward_BQ])
    of_members = answer_loss(members_KBQ, mixed)
    torch.testing.assert_close(of_members, torch.stack([answer_loss(r, mixed) for r in members_KBQ]))


@given(st.integers(2, 5), st.integers(0, 2**32 - 1), st.booleans(), st.booleans())
def test_the_order_of_the_responses_changes_nothing(k: int, seed: int, best_worst: bool, stopped: bool) -> None:
    rng = np.random.default_rng(seed)
    ranks = np.r_[0, 2, np.ones(k - 2)].astype(int) if best_worst and k > 2 else rng.integers(0, k, k)
    best_worst = best_worst and k > 2
    if stopped and not best_worst:
        ranks = np.where(ranks > np.median(ranks), REST, ranks)
    row, places = rng.normal(scale=3.0, size=k), rng.permutation(k)
    one = answer_loss(rewards([row]), answers([ranks.tolist()], SCALES, best_worst))
    other = answer_loss(rewards([row[places]]), answers([ranks[places].tolist()], SCALES, best_worst))
    assert one.item() == pytest.approx(other.item(), abs=1e-9)
    shifted = answer_loss(rewards([row + 5.0]), answers([ranks.tolist()], SCALES, best_worst))
    assert one.item() == pytest.approx(shifted.item(), abs=1e-9)


@given(st.floats(-30, 30), st.floats(-30, 30), st.booleans())
def test_at_two_responses_it_is_the_stock_loss_and_the_half_preference(a: float, b: float, tie: bool) -> None:
    h = torch.tensor([a - b], dtype=torch.float64)
    stock = soft_label_loss(h, torch.tensor([0.5 if tie else 1.0], dtype=torch.float64))
    loss = answer_loss(rewards([(a, b)]), answers([(0, 0) if tie else (0, 1)], SCALES))
    assert loss.item() == pytest.approx(stock.item(), abs=1e-6)


def test_weights_multiply_and_xpo_adds_what_the_reference_drew() -> None:
    rng = np.random.default_rng(6)
    reward_BQ, log_prob_BQ = rewards([rng.normal(size=3), rng.normal(size=2)]), rewards([(-3, -5, -7), (-2, -9)])
    given_answers = answers([(1, 0, 2), (0, 1)], SCALES)
    weight_B = torch.tensor([2.0, 0.5], dtype=torch.float64)
    columns = SetColumns(given_answers, weight_B, torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]]))
    plain = answer_loss(reward_BQ, given_answers)
    torch.testing.assert_close(RankedObjective(tuple(SCALES))(reward_BQ, log_prob_BQ, columns), weight_B * plain)
    xpo = RankedObjective(tuple(SCALES), xpo_alpha=0.1)(reward_BQ, log_prob_BQ, columns)
    bonus = torch.tensor([-1.0, -0.9], dtype=torch.float64)
    torch.testing.assert_close(xpo, weight_B * plain + bonus)


def test_large_rewards_stay_finite() -> None:
    reward_BQ = rewards([(500.0, -500.0, 0.0, 300.0)]).requires_grad_()
    for best_worst, ranks in ((True, (1, 0, 2, 1)), (False, (1, 0, 2, 3)), (False, (0, 0, 0, 1))):
        loss = answer_loss(reward_BQ, answers([ranks], SCALES, best_worst))
        (gradient_BQ,) = torch.autograd.grad(loss.sum(), reward_BQ)
        assert torch.isfinite(loss).all() and torch.isfinite(gradient_BQ).all()


@pytest.mark.parametrize("best_worst", [False, True])
def test_the_curvature_is_the_second_derivative(best_worst: bool) -> None:
    rng = np.random.default_rng(7)
    rankings = [(2, 0, 1), (1, 0, 1, 2)] if best_worst else RANKINGS
    reward_BQ = rewards([rng.normal(size=len(r)) for r in rankings])
    given_answers = answers(rankings, SCALES, best_worst)
    curvature_BQQ = loss_curvature(reward_BQ, given_answers)
    for i in range(len(rankings)):
        one = given_answers.at(torch.tensor([i]))
        second = torch.autograd.functional.hessian(lambda r, one=one: answer_loss(r[None], one).sum(), reward_BQ[i])
        torch.testing.assert_close(curvature_BQQ[i], second, atol=1e-9, rtol=0)
