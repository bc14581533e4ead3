"""A pair on which people contradict the judge: its loss has no minimum, until it is bounded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from trained_policies import adapter_weights, responses_to

from duelist.models.policy.config import PolicyConfig
from duelist.models.policy.logprobs import sequence_log_probs
from duelist.models.policy.policy import Policy
from duelist.models.policy.response_batches import tokenized
from duelist.progress import Silent
from duelist.trainers.dpo import DPO
from duelist.trainers.dpo_settings import DPOTrainerConfig
from duelist.trainers.losses import Objective, PairColumns
from duelist.types import Preference, Prompt

BETA = 0.5
KAPPA = 1.0
# People say a, the judge b: (1, 0) − (0, 0.8), a weight of 0.2 on a target of 5.
WEIGHT, SHARE, CORRECTED = 0.2, 5.0, 0.8


def columns(penalty: float) -> PairColumns:
    one = torch.ones(1, dtype=torch.float64)
    return PairColumns(WEIGHT * one, SHARE * one, torch.zeros(1, 2), penalty * CORRECTED * one)


def loss(margin: torch.Tensor, penalty: float) -> torch.Tensor:
    """The loss of the pair, where each response takes half of the margin."""
    return Objective()(margin, torch.zeros(len(margin), 2), columns(penalty), torch.stack([margin, -margin], dim=1) / 2)


def test_the_loss_is_that_of_people_less_the_judge_s() -> None:
    m = torch.linspace(-6, 6, 25, dtype=torch.float64)
    expected = np.log1p(np.exp(-m.numpy())) - 0.8 * np.log1p(np.exp(m.numpy()))
    assert loss(m, 0.0).numpy() == pytest.approx(expected, rel=1e-12)


def test_the_penalty_bounds_a_loss_that_falls_for_ever() -> None:
    m = torch.linspace(-100, 100, 200001, dtype=torch.float64)
    assert float(loss(m, 0.0).min()) == float(loss(m, 0.0)[-1]) < -79
    bounded = loss(m, KAPPA)
    least = float(m[bounded.argmin()])
    assert 0 < least < 4.1 / KAPPA  # 4/κ (σ(m) + σ(−m)/0.8)
    assert float(bounded.min()) > -2 * CORRECTED / KAPPA
    # Its slope there: −σ(−m) − 0.8 σ(m) + κ 0.8 m/4 = 0.
    assert -1 / (1 + np.exp(least)) - 0.8 / (1 + np.exp(-least)) + 0.2 * KAPPA * least == pytest.approx(0, abs=1e-3)


def test_the_penalty_of_unequal_responses_is_at_least_that_of_the_margin() -> None:
    reward_B2 = torch.randn(200, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    one = torch.ones(200, dtype=torch.float64)
    alone = PairColumns(0 * one, one, torch.zeros(200, 2), one)
    found = Objective()(reward_B2[:, 0] - reward_B2[:, 1], torch.zeros(200, 2), alone, reward_B2)
    assert found.numpy() == pytest.approx((reward_B2.numpy() ** 2).sum(axis=1) / 4)
    assert (found >= (reward_B2[:, 0] - reward_B2[:, 1]).square() / 8 - 1e-12).all()


def overfitted(folder: Path, penalty: float, steps: int) -> float:
    """The margin of the disagreeing pair after a tiny model was trained on it alone."""
    # With the output layer, whose small random weights bound what an adapter of the others can do.
    policy = Policy.load(PolicyConfig(model=str(folder), adapter="none", device="cpu"), seed=1)
    prompt = Prompt.of([{"role": "user", "content": "w1 w2"}])
    chosen, rejected = responses_to(policy, prompt, ("w3 w4", "w9 w8"))
    pair = Preference(prompt, chosen, rejected, "pair", "ann", SHARE, WEIGHT, None, penalty * CORRECTED)
    settings = {"learning_rate": 1e-2, "max_steps": steps, "lr_scheduler_type": "constant", "max_grad_norm": 0.0}
    DPO(DPOTrainerConfig(train=settings)).train(policy, [pair], BETA, 0, Silent())
    sequences = tokenized([chosen, rejected])
    now = sequence_log_probs(policy.model, sequences)
    with policy.as_reference():
        ratio = now - sequence_log_probs(policy.model, sequences)
    return float(BETA * (ratio[0] - ratio[1]))


def test_a_tiny_model_overfits_one_disagreeing_pair_without_end_unless_it_is_bounded(tiny_model: Path) -> None:
    few, many = (overfitted(tiny_model, 0.0, steps) for steps in (10, 30))
    assert many > 1.5 * few > 0  # it goes on, and on
    assert many > 2 * 4 / KAPPA
    assert 0 < overfitted(tiny_model, KAPPA, 30) < 4.1 / KAPPA


def trained_with(tiny_model: Path, judged: int) -> tuple[float, dict[str, torch.Tensor]]:
    """The number of steps, and the weights after training on 6 labelled pairs and next to weightless ones of a judge.

    As in `study.judged_items`, weights are scaled so that the mean over all items is the mean over people's.
    """
    policy = Policy.load(PolicyConfig(model=str(tiny_model), device="cpu"), seed=1)
    items = []
    for i in range(6 + judged):
        prompt = Prompt.of([{"role": "user", "content": f"w{i} w{i + 1}"}])
        one, other = responses_to(policy, prompt, (f"w3 w{i}", f"w{i} w9 w8"))
        weight = (6 + judged) / 6 * (1.0 if i < 6 else 1e-9)
        items.append(Preference(prompt, one, other, str(i), "ann", 1.0, weight, labelled=i < 6))
    settings = {"learning_rate": 1e-3, "num_train_epochs": 4, "per_device_train_batch_size": 6}
    report = DPO(DPOTrainerConfig(train=settings)).train(policy, items, BETA, 0, Silent())
    return report["optimizer_steps"], adapter_weights(policy)


def test_weightless_pairs_of_a_judge_leave_the_training_as_it_was(tiny_model: Path) -> None:
    steps, alone = trained_with(tiny_model, 0)
    steps_with, beside = trained_with(tiny_model, 30)
    assert steps == steps_with == 4
    for name, weights in alone.items():
        torch.testing.assert_close(weights, beside[name], rtol=1e-4, atol=1e-6)
