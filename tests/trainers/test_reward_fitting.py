"""Reward models trained on rankings: against a convex solver, numerical curvature, pairs, and a planted reward."""

from __future__ import annotations

from itertools import pairwise, permutations
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import approx_fprime, minimize

from duelist.answers import REST
from duelist.models.rewards.config import RewardModelConfig
from duelist.models.rewards.network import RewardModel, last_layer_features
from duelist.progress import Silent
from duelist.trainers.bradley_terry import BradleyTerry, BradleyTerryConfig
from duelist.trainers.comparisons import Comparisons, RankedComparisons, TrainingData
from duelist.trainers.reward_fitting import OptimizerConfig, fit_reward_model

E, SCALES = 5, (1.0, 0.6, 0.4)
PATTERNS = [
    (False, (0, 1)), (False, (0, 1, 2, 3)), (False, (0, 1, 1, 2)), (False, (0, REST, REST)), (True, (0, 1, 1, 2)),
    (False, (0, 1, REST, REST)), (False, (0, 0)), (True, (0, 1, 2)), (False, (0, 1, 2)),
]  # fmt: skip


def answers(n: int = 36, seed: int = 0) -> RankedComparisons:
    """Answers of all kinds to questions that share responses."""
    rng = np.random.default_rng(seed)
    place_PQ, rank_PQ, best_worst = np.full((n, 4), -1), np.full((n, 4), -1), []
    for i in range(n):
        joint, ranks = PATTERNS[i % len(PATTERNS)]
        k = len(ranks)
        place_PQ[i, :k], rank_PQ[i, :k] = rng.choice(30, k, replace=False), rng.permutation(ranks)
        best_worst.append(joint)
    weight_P = rng.integers(1, 3, n).astype(float)
    return RankedComparisons(rng.normal(size=(30, E)), place_PQ, rank_PQ, np.array(best_worst), weight_P, SCALES)


def scaled(vectors: np.ndarray) -> np.ndarray:
    """Every row at norm √E, rounded as the model's inputs are."""
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True) * np.sqrt(E)).astype(np.float32).astype(float)


def objective(w: np.ndarray, x: np.ndarray, data: RankedComparisons, prior: float) -> float:
    """Weighted losses by enumeration of all orders, plus the prior, with the rewards x @ w."""
    total = prior / 2 * w @ w
    for place, rank, joint, weight in zip(data.place_PQ, data.rank_PQ, data.best_worst_P, data.weight_P, strict=True):
        k = int((rank >= 0).sum())
        r, rank = x[place[:k]] @ w, rank[:k]
        if joint:
            options = [r[i] - r[j] for i in range(k) for j in range(k) if i != j]
            loss = np.logaddexp.reduce(options) - r[rank == 0].sum() + r[rank == 2].sum()
        else:
            orders = [o for o in permutations(range(k)) if all(rank[a] <= rank[b] for a, b in pairwise(o))]
            loss = np.mean(
                [
                    sum(
                        np.logaddexp.reduce(data.scales[j] * r[list(o[j:])]) - data.scales[j] * r[o[j]]
                        for j in range(min((rank < REST).sum(), k - 1))
                    )
                    for o in orders
                ]
            )
        total += weight * loss
    return float(total)


def trained(config: RewardModelConfig, data: TrainingData, **settings: Any) -> RewardModel:
    model = RewardModel.fresh(config, E, 0)
    fit_reward_model(model, data, OptimizerConfig.model_validate(settings), 0, Silent())
    return model


def test_without_hidden_layers_training_is_the_minimum_of_the_enumerated_losses() -> None:
    data, prior = answers(), 0.7
    x = scaled(data.vector_RH)
    best = minimize(objective, np.zeros(E), args=(x, data, prior), method="L-BFGS-B", tol=1e-12).x
    config = RewardModelConfig(hidden=(), prior_precision=prior)
    model = trained(config, data, steps=600, learning_rate=0.05, batch_size=1000)
    np.testing.assert_allclose(model.weights["head"][0].numpy(), best, atol=5e-4)
    assert np.abs(best).max() > 0.05


def test_the_reported_loss_is_the_mean_of_the_enumerated_losses() -> None:
    data = answers()
    model = RewardModel.fresh(RewardModelConfig(hidden=()), E, 0)
    report = fit_reward_model(model, data, OptimizerConfig(steps=50), 0, Silent())
    head = model.weights["head"][0].double().numpy()
    expected = objective(head, scaled(data.vector_RH), data, 0.0) / 36
    assert report["train_loss"] == pytest.approx(expected, rel=1e-5)


def test_the_laplace_posterior_has_the_curvature_of_the_enumerated_losses() -> None:
    data, prior = answers(), 2.0
    config = RewardModelConfig(hidden=(4,), posterior="laplace", draws=40_000, prior_precision=prior)
    model = trained(config, data, steps=50)
    head = model.weights["head"][0].double().numpy()
    with torch.no_grad():
        phi = last_layer_features(model.weights, model.inputs(data.vector_RH))[0].double().numpy()

    def gradient(w: np.ndarray) -> np.ndarray:
        return approx_fprime(w, objective, 1e-5, phi, data, prior)

    precision = np.stack([(gradient(head + h) - gradient(head - h)) / 2e-3 for h in 1e-3 * np.eye(4)])
    with torch.no_grad():
        found = data.labels(model).curvature(model).numpy() + prior * np.eye(4)
    np.testing.assert_allclose(found, precision, atol=2e-3 * np.abs(precision).max())
    draws = model.draws["head"].double().numpy()
    np.testing.assert_allclose(draws.mean(axis=0), head, atol=0.02)
    np.testing.assert_allclose(np.cov(draws.T), np.linalg.inv(precision), atol=0.02)


def test_pairs_give_the_same_model_either_way() -> None:
    rng = np.random.default_rng(2)
    vectors = rng.normal(size=(60, E))
    share_P, weight_P = np.where(rng.random(30) < 0.2, 0.5, 1.0), rng.integers(1, 3, 30).astype(float)
    rank_PQ = np.where(share_P[:, None] == 1, [0, 1], [0, 0])
    place_PQ = np.arange(60).reshape(30, 2)
    pairs = Comparisons(vectors[::2], vectors[1::2], share_P, weight_P)
    sets = RankedComparisons(vectors, place_PQ, rank_PQ, np.zeros(30, dtype=bool), weight_P, SCALES)
    for posterior in ("ensemble", "laplace"):
        config = RewardModelConfig(hidden=(6,), posterior=posterior)
        one, other = (trained(config, data, steps=40, batch_size=16) for data in (pairs, sets))
        np.testing.assert_allclose(other.samples(vectors), one.samples(vectors), atol=2e-4)


def test_members_and_dropout_train_on_rankings() -> None:
    data = answers()
    untrained = objective(np.zeros(E), scaled(data.vector_RH), data, 0.0) / 36
    for posterior in ("ensemble", "dropout"):
        config = RewardModelConfig(hidden=(8,), posterior=posterior, members=3, draws=3, prior_precision=0.01)
        settings, models = OptimizerConfig(steps=80, learning_rate=0.03, validation=0.1), []
        for _ in range(2):
            models.append(RewardModel.fresh(config, E, 0))
            report = fit_reward_model(models[-1], data, settings, 0, Silent())
            assert {"train_loss", "validation_loss"} == set(report) and report["train_loss"] < 0.95 * untrained
        one, again = (model.samples(data.vector_RH) for model in models)
        assert one.shape == (30, 3) and np.array_equal(one, again)


def test_equal_scales_are_a_setting() -> None:
    data, found = answers(), []
    for settings in ({}, {"stage_scales": "equal"}):
        trainer = BradleyTerry(BradleyTerryConfig.model_validate(settings))
        assert trainer.plan.takes_sets and trainer.plan.stage_scales == settings.get("stage_scales", "fitted")
        model = RewardModel.fresh(RewardModelConfig(hidden=()), E, 0)
        trainer.train(model, data, 1.0, 0, Silent())
        found.append(model.rewards(data.vector_RH))
    plain = RewardModel.fresh(RewardModelConfig(hidden=()), E, 0)
    without = RankedComparisons(data.vector_RH, data.place_PQ, data.rank_PQ, data.best_worst_P, data.weight_P)
    fit_reward_model(plain, without, OptimizerConfig(), 0, Silent())
    assert np.array_equal(found[1], plain.rewards(data.vector_RH))
    assert np.abs(found[0] - found[1]).max() > 1e-3


def test_a_planted_reward_is_recovered_better_from_rankings_than_from_as_many_pairs() -> None:
    """By people who choose as Plackett and Luce say; the mean over three seeds."""
    recovered: dict[int, list[float]] = {2: [], 4: []}
    for seed in range(3):
        rng = np.random.default_rng(seed)
        truth = rng.normal(size=8)
        fresh = rng.normal(size=(500, 8))
        for k, found in recovered.items():
            vectors = rng.normal(size=(40 * k, 8))
            utility = (vectors @ truth + rng.gumbel(size=40 * k)).reshape(40, k)
            rank_PQ = (-utility).argsort(axis=1).argsort(axis=1)
            place_PQ = np.arange(40 * k).reshape(40, k)
            data = RankedComparisons(vectors, place_PQ, rank_PQ, np.zeros(40, dtype=bool), np.ones(40))
            model = RewardModel.fresh(RewardModelConfig(hidden=(), normalize=False, prior_precision=0.3), 8, 0)
            fit_reward_model(model, data, OptimizerConfig(steps=120, learning_rate=0.1), 0, Silent())
            found.append(float(np.corrcoef(model.rewards(fresh), fresh @ truth)[0, 1]))
    assert np.mean(recovered[4]) > np.mean(recovered[2]) + 0.03
    assert np.mean(recovered[4]) > 0.9
