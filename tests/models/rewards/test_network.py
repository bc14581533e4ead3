"""The reward model and its training, against a convex solver, closed forms and plain loops."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from duelist.errors import DataError, ModelError
from duelist.models.embeddings.config import EmbeddingConfig
from duelist.models.embeddings.files import embedding_id, write_embeddings
from duelist.models.rewards.config import RewardModelConfig
from duelist.models.rewards.network import RewardModel, last_layer_features
from duelist.progress import Silent
from duelist.trainers.reward_fitting import Comparisons, OptimizerConfig, fit_reward_model
from tiers import first

E = 5


def comparisons(n: int = 40, shares: bool = False) -> Comparisons:
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, n, E))
    truth = (first - second) @ np.arange(1.0, E + 1)
    swap = rng.random(n) > 1 / (1 + np.exp(-truth))
    first[swap], second[swap] = second[swap], first[swap]
    share = rng.integers(0, 6, n) / 5 if shares else np.ones(n)
    return Comparisons(first, second, share, rng.integers(1, 3, n).astype(float))


def scaled(vectors: np.ndarray) -> torch.Tensor:
    """Every row at norm √E."""
    norm = np.linalg.norm(vectors, axis=1, keepdims=True)
    return torch.from_numpy((vectors / norm * np.sqrt(vectors.shape[1])).astype(np.float32))


def trained(config: RewardModelConfig, data: Comparisons, **settings: float) -> RewardModel:
    model = RewardModel.fresh(config, E, 0)
    fit_reward_model(model, data, OptimizerConfig.model_validate(settings), 0, Silent())
    return model


@pytest.mark.parametrize("shares", first(1, [True, False]))
def test_without_hidden_layers_training_is_logistic_regression(shares: bool) -> None:
    """The unique minimum of a convex objective, found by SciPy's L-BFGS with its own differences."""
    data, prior = comparisons(shares=shares), 0.7
    delta = scaled(data.first_PH).numpy().astype(float) - scaled(data.second_PH).numpy()

    def objective(w: np.ndarray) -> float:
        margin = delta @ w
        loss = data.share_P * np.logaddexp(0, -margin) + (1 - data.share_P) * np.logaddexp(0, margin)
        return float(data.weight_P @ loss + prior / 2 * w @ w)

    best = minimize(objective, np.zeros(E), method="L-BFGS-B", tol=1e-14).x
    config = RewardModelConfig(hidden=(), prior_precision=prior)
    model = trained(config, data, steps=3000, learning_rate=0.05, batch_size=1000)
    np.testing.assert_allclose(model.weights["head"][0].numpy(), best, atol=2e-4)
    vectors = np.random.default_rng(1).normal(size=(3, E))
    np.testing.assert_allclose(model.rewards(vectors), scaled(vectors).numpy() @ best, atol=2e-3)


def test_the_laplace_posterior_is_the_closed_form() -> None:
    data = comparisons()
    config = RewardModelConfig(hidden=(4,), posterior="laplace", draws=40_000, prior_precision=2.0)
    model = trained(config, data, steps=50)
    vectors = np.concatenate([data.first_PH, data.second_PH])
    phi = np.asarray(last_layer_features(model.weights, scaled(vectors))[0].numpy(), dtype=float)
    delta, head = phi[:40] - phi[40:], model.weights["head"][0].numpy().astype(float)
    p = 1 / (1 + np.exp(-delta @ head))
    precision = 2.0 * np.eye(4)
    for d, p_i, w in zip(delta, p, data.weight_P, strict=True):
        precision += w * p_i * (1 - p_i) * np.outer(d, d)
    draws = model.draws["head"].numpy().astype(float)
    np.testing.assert_allclose(draws.mean(axis=0), head, atol=0.02)
    np.testing.assert_allclose(np.cov(draws.T), np.linalg.inv(precision), atol=0.02)
    np.testing.assert_allclose(model.samples(vectors), phi @ draws.T, atol=1e-5)


def test_before_any_label_margins_are_zero_and_the_laplace_posterior_is_the_prior() -> None:
    config = RewardModelConfig(posterior="laplace", draws=5000, prior_precision=4.0)
    model = RewardModel.fresh(config, E, 0)
    assert not model.rewards(np.random.default_rng(0).normal(size=(6, E))).any()
    assert model.draws["head"].std().item() == pytest.approx(0.5, rel=0.02)


def test_features_are_the_gradient_in_the_last_layer() -> None:
    model = trained(RewardModelConfig(hidden=(6, 3), posterior="ensemble", members=3), comparisons(), steps=20)
    vectors = np.random.default_rng(0).normal(size=(2, E))
    head = model.weights["head"].clone().requires_grad_()
    phi = last_layer_features(model.weights, scaled(vectors))
    torch.einsum("krf,kf->kr", phi, head).mean(dim=0)[1].backward()
    np.testing.assert_allclose(model.features(vectors)[1], head.grad.reshape(-1).numpy(), atol=1e-6)
    assert model.features(vectors).shape == (2, 9)


def test_members_are_trained_together_as_they_would_be_alone() -> None:
    """The losses are summed over members, so no member's gradient depends on another."""
    config = RewardModelConfig(hidden=(6,), posterior="ensemble", members=3, prior_precision=1.0)
    data, settings = comparisons(), OptimizerConfig(steps=30, batch_size=16)
    fresh = RewardModel.fresh(config, E, 0)
    fresh.weights["head"] = torch.randn(3, 6, generator=torch.Generator().manual_seed(1))
    together = RewardModel(config, fresh.weights, {})
    fit_reward_model(together, data, settings, 7, Silent())
    rewards = together.samples(data.first_PH)
    assert len(np.unique(rewards.round(4), axis=1).T) == 3
    for k in range(3):
        alone = RewardModel(
            RewardModelConfig(hidden=(6,), prior_precision=1.0), {n: w[k : k + 1] for n, w in fresh.weights.items()}, {}
        )
        fit_reward_model(alone, data, settings, 7, Silent())
        np.testing.assert_allclose(alone.rewards(data.first_PH), rewards[:, k], atol=1e-5)
    np.testing.assert_allclose(together.rewards(data.first_PH), rewards.mean(axis=1))


def test_a_dropout_draw_is_one_function() -> None:
    config = RewardModelConfig(hidden=(8,), posterior="dropout", draws=4, dropout=0.5)
    model = trained(config, comparisons(), steps=20)
    vectors = np.random.default_rng(0).normal(size=(3, E))
    samples = model.samples(vectors)
    np.testing.assert_allclose(model.samples(vectors[::-1])[::-1], samples, atol=1e-6)
    w, b, head = (model.weights[n].double().numpy()[0] for n in ("w0", "b0", "head"))
    hidden = np.maximum(scaled(vectors).numpy() @ w + b, 0)
    np.testing.assert_allclose(samples[:, 2], (hidden * model.draws["mask0"][2].numpy()) @ head, atol=1e-5)


def test_early_stopping_keeps_the_best_weights_it_met() -> None:
    """Labels by coin toss: the longer the training, the worse on labels set aside."""
    rng = np.random.default_rng(0)
    data = Comparisons(rng.normal(size=(60, E)), rng.normal(size=(60, E)), np.ones(60), np.ones(60))
    config = RewardModelConfig(prior_precision=1e-3)
    found = {}
    for share in (0.0, 0.3):
        model = RewardModel.fresh(config, E, 0)
        settings = OptimizerConfig(steps=400, learning_rate=3e-3, validation=share)
        found[share] = fit_reward_model(model, data, settings, 0, Silent())
    assert found[0.0]["train_loss"] < 0.05
    assert found[0.3]["train_loss"] > 0.3
    assert found[0.3]["validation_loss"] < 1.0


def test_training_is_the_same_again_and_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    config = RewardModelConfig(hidden=(6,), posterior="laplace", draws=3)
    a, b = (trained(config, comparisons(), steps=20, batch_size=16) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    for name, value in a.weights.items():
        assert torch.equal(value, b.weights[name])
    assert torch.equal(a.draws["head"], b.draws["head"])


def test_a_saved_model_scores_texts_by_itself(tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).normal(size=(2, E))
    write_embeddings(tmp_path / "v.npz", [embedding_id("Why?", t) for t in ("Because.", "No.")], vectors)
    config = RewardModelConfig(
        embedding=EmbeddingConfig(source="file", path=str(tmp_path / "v.npz")), posterior="laplace", draws=3
    )
    model = trained(config, comparisons(), steps=20)
    (tmp_path / "saved").mkdir()
    model.save(tmp_path / "saved")
    again = RewardModel.load(tmp_path / "saved")
    np.testing.assert_array_equal(again.score(["Why?", "Why?"], ["No.", "Because."]), model.rewards(vectors)[::-1])
    np.testing.assert_array_equal(again.samples(vectors), model.samples(vectors))
    with pytest.raises(ModelError, match="A trained reward model is a folder with"):
        RewardModel.load(tmp_path)


def test_the_length_of_an_embedding_counts_only_without_normalisation() -> None:
    vectors = np.random.default_rng(0).normal(size=(4, E))
    for normalize in (True, False):
        model = trained(RewardModelConfig(hidden=(6,), normalize=normalize), comparisons(), steps=20)
        same = np.allclose(model.rewards(vectors), model.rewards(3 * vectors), atol=1e-6)
        assert same == normalize


def test_what_does_not_fit_the_model_is_refused() -> None:
    model = RewardModel.fresh(RewardModelConfig(hidden=(4,)), E, 0)
    for vectors in (np.zeros((2, E + 1)), np.zeros(E)):
        with pytest.raises(ModelError, match=rf"\[R, {E}\], but got an array of shape"):
            model.rewards(vectors)
    with pytest.raises(DataError, match="got 1 prompts and 2 responses"):
        model.score(["w1"], ["w2", "w3"])
    assert model.score([], []).shape == (0,)
