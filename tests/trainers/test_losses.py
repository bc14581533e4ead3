"""The losses against their definitions, written out anew with plain arithmetic."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from duelist.trainers.losses import Objective, PairColumns, rao_kupper_loss, soft_label_loss, xpo_bonus

MARGINS = [-30.0, -2.0, -0.3, 0.0, 0.7, 4.0, 30.0]


def columns(size: int, **given: list[float]) -> PairColumns:
    weight = given.get("weight", [1.0] * size)
    share = given.get("share", [1.0] * size)
    drawn = given.get("drawn", [[0.0, 0.0]] * size)
    return PairColumns(*(torch.tensor(x, dtype=torch.float64) for x in (weight, share, drawn)))


def numbers(loss: torch.Tensor) -> list[float]:
    return [float(x) for x in loss.detach()]


def test_at_share_and_weight_one_it_is_minus_log_sigma() -> None:
    h = torch.tensor(MARGINS, dtype=torch.float64)
    loss = Objective()(h, torch.zeros(len(h), 2, dtype=torch.float64), columns(len(h)))
    assert numbers(loss) == pytest.approx([math.log1p(math.exp(-x)) for x in MARGINS], rel=1e-12)


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 1.0])
def test_soft_labels_are_a_mean_over_the_votes(share: float) -> None:
    h = torch.tensor(MARGINS, dtype=torch.float64)
    for_chosen, for_rejected = (np.log1p(np.exp(-s * np.array(MARGINS))) for s in (1, -1))
    expected = share * for_chosen + (1 - share) * for_rejected
    assert numbers(soft_label_loss(h, torch.full_like(h, share))) == pytest.approx(expected.tolist(), rel=1e-12)


def test_the_loss_of_a_share_is_least_where_the_model_agrees_with_it() -> None:
    h = torch.linspace(-4, 4, 8001, dtype=torch.float64)
    best = h[soft_label_loss(h, torch.full_like(h, 0.8)).argmin()]
    assert float(torch.sigmoid(best)) == pytest.approx(0.8, abs=1e-3)


@pytest.mark.parametrize("threshold", [1.2, 3.0, 10.0])
def test_rao_kuppers_three_outcomes_have_the_probabilities_of_the_model(threshold: float) -> None:
    """λ_a/(λ_a + νλ_b), λ_b/(λ_b + νλ_a), (ν² − 1)λ_aλ_b/((λ_a + νλ_b)(λ_b + νλ_a)): they add up to one."""
    h = torch.tensor([-2.0, 0.0, 0.7, 4.0], dtype=torch.float64)
    yes, no = torch.ones(4, dtype=torch.bool), torch.zeros(4, dtype=torch.bool)
    won, lost = (torch.exp(-rao_kupper_loss(s * h, no, threshold)) for s in (1, -1))
    tied = torch.exp(-rao_kupper_loss(h, yes, threshold))
    for i, x in enumerate(h.tolist()):
        a, b = math.exp(x), 1.0
        assert float(won[i]) == pytest.approx(a / (a + threshold * b), rel=1e-12)
        both = (a + threshold * b) * (b + threshold * a)
        assert float(tied[i]) == pytest.approx((threshold**2 - 1) * a * b / both, rel=1e-10)
    assert numbers(won + lost + tied) == pytest.approx([1.0] * 4, rel=1e-10)
    assert float(tied[1]) == pytest.approx((threshold - 1) / (threshold + 1), rel=1e-12)


def test_rao_kupper_tends_to_the_stock_loss_as_ties_become_impossible() -> None:
    h = torch.tensor(MARGINS, dtype=torch.float64)
    no = torch.zeros(len(h), dtype=torch.bool)
    assert torch.allclose(rao_kupper_loss(h, no, 1 + 1e-12), soft_label_loss(h, torch.ones_like(h)), rtol=1e-9)


def test_a_tie_pulls_the_margin_towards_zero() -> None:
    h = torch.tensor([2.0, -2.0], dtype=torch.float64, requires_grad=True)
    rao_kupper_loss(h, torch.tensor([True, True]), 3.0).sum().backward()
    assert h.grad is not None
    assert float(h.grad[0]) > 0 > float(h.grad[1])
    assert float(h.grad.sum()) == pytest.approx(0, abs=1e-12)


def test_xpo_adds_alpha_times_the_log_probabilities_of_what_the_reference_said() -> None:
    log_probs = torch.tensor([[-3.0, -5.0], [-7.0, -11.0]], dtype=torch.float64, requires_grad=True)
    drawn = [[0.0, 1.0], [1.0, 1.0]]
    bonus = xpo_bonus(log_probs, torch.tensor(drawn, dtype=torch.float64), 0.1)
    assert numbers(bonus) == pytest.approx([-0.5, -1.8])
    bonus.sum().backward()
    # Descent lowers log π(y) of what the reference said, at rate α, and of nothing else.
    assert log_probs.grad is not None
    assert log_probs.grad.tolist() == [[0.0, 0.1], [0.1, 0.1]]


def test_a_weight_multiplies_the_label_s_loss_but_not_the_bonus() -> None:
    h = torch.tensor([0.7, -1.0], dtype=torch.float64)
    log_probs = torch.tensor([[-3.0, -5.0], [-7.0, -11.0]], dtype=torch.float64)
    given = columns(2, weight=[2.0, 0.5], share=[1.0, 0.75], drawn=[[1.0, 0.0], [0.0, 0.0]])  # type: ignore[list-item]
    loss = Objective(xpo_alpha=0.1)(h, log_probs, given)
    first = 2 * math.log1p(math.exp(-0.7)) + 0.1 * -3.0
    second = 0.5 * (0.75 * math.log1p(math.exp(1.0)) + 0.25 * math.log1p(math.exp(-1.0)))
    assert numbers(loss) == pytest.approx([first, second], rel=1e-12)


def test_a_share_of_one_half_is_the_tie_of_rao_kupper() -> None:
    h = torch.tensor([0.7, 0.7], dtype=torch.float64)
    loss = Objective(tie_threshold=3.0)(h, torch.zeros(2, 2), columns(2, share=[1.0, 0.5]))
    won, lost = (3 / (3 + math.exp(s * 0.7)) for s in (1, -1))  # 1 − p of either
    assert numbers(torch.exp(-loss)) == pytest.approx([1 - won, 8 * (1 - won) * (1 - lost)], rel=1e-10)
