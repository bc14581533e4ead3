"""Laplace's approximation against explicit inverses, and rewards of responses from margins of pairs."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duelist.acquisition.numerics.duels import Duels
from duelist.acquisition.numerics.posterior import Posterior, PosteriorConfig
from duelist.testing import random_features
from duelist.types import Features

NEEDS = frozenset({"margin_N", "gradient_ND", "embedding_ND", "reward_N2K"})


def covariance(features: Features, regularizer: float, embedding: bool = False) -> np.ndarray:
    """(λI + Σ_past p(1 − p) φφᵀ)⁻¹, as it is written."""
    past = features.past
    assert past is not None and past.margin_N is not None
    phi_PD = past.embedding_ND if embedding else past.gradient_ND
    assert phi_PD is not None
    precision = regularizer * np.eye(phi_PD.shape[1])
    for margin, phi in zip(past.margin_N, phi_PD, strict=True):
        p = 1 / (1 + np.exp(-margin))
        precision += p * (1 - p) * np.outer(phi, phi)
    return np.asarray(np.linalg.inv(precision))


@pytest.mark.parametrize("past", [0, 1, 5, 23, 24, 60])  # 24 dimensions: either factor, and the change between them
@pytest.mark.parametrize("relative", [True, False])
def test_laplace_equals_explicit_inverses(past: int, relative: bool) -> None:
    features = random_features(30, NEEDS, past=past)
    phi_ND = features.gradient_ND
    assert phi_ND is not None and features.margin_N is not None
    config = PosteriorConfig(lambda_=0.3, lambda_relative=relative, draws=20_000)
    regularizer = 0.3 * (np.mean((phi_ND**2).sum(axis=1)) if relative else 1.0)
    sigma_DD = covariance(features, regularizer)
    posterior = Posterior(features, config)
    mean_N, deviation_N = posterior.moments()
    assert np.array_equal(mean_N, features.margin_N)
    np.testing.assert_allclose(deviation_N, np.sqrt([phi @ sigma_DD @ phi for phi in phi_ND]), rtol=1e-9)
    margin_NK = posterior.margin_draws(np.random.default_rng(0))
    expected_NN = phi_ND @ sigma_DD @ phi_ND.T
    scale = expected_NN.diagonal().max()
    np.testing.assert_allclose(margin_NK.mean(axis=1), features.margin_N, atol=5 * np.sqrt(scale / 20_000))
    np.testing.assert_allclose(np.cov(margin_NK), expected_NN, atol=6 * scale / np.sqrt(20_000))


def test_laplace_on_embeddings_and_float32() -> None:
    features = random_features(30, NEEDS)
    config = PosteriorConfig(lambda_=2.0, lambda_relative=False, features="embedding")
    assert config.needs == {"margin_N", "embedding_ND", "past"}
    assert features.embedding_ND is not None
    _, deviation_N = Posterior(features, config).moments()
    sigma_DD = covariance(features, 2.0, embedding=True)
    np.testing.assert_allclose(deviation_N, np.sqrt([phi @ sigma_DD @ phi for phi in features.embedding_ND]))
    single = dataclasses.replace(features, embedding_ND=features.embedding_ND.astype(np.float32))
    np.testing.assert_allclose(Posterior(single, config).moments()[1], deviation_N, rtol=1e-6)


def test_a_pair_asked_before_is_known_better() -> None:
    features = random_features(10, NEEDS, past=0)
    again = dataclasses.replace(features, past=features)
    config = PosteriorConfig()
    assert (Posterior(again, config).moments()[1] < Posterior(features, config).moments()[1]).all()


def test_tiny_lambda_gives_no_nan() -> None:
    features = random_features(40, NEEDS, past=10)
    same = dataclasses.replace(features, past=features)
    for pool in (features, same):
        mean_N, deviation_N = Posterior(pool, PosteriorConfig(lambda_=1e-12)).moments()
        assert np.isfinite(deviation_N).all() and np.isfinite(mean_N).all()


def test_samples() -> None:
    features = random_features(30, NEEDS)
    assert features.reward_N2K is not None
    config = PosteriorConfig(posterior="samples")
    assert config.needs == {"reward_N2K"}
    posterior = Posterior(features, config)
    margins = features.reward_N2K[:, 0] - features.reward_N2K[:, 1]
    assert np.array_equal(posterior.margin_draws(np.random.default_rng(0)), margins)
    np.testing.assert_allclose(posterior.moments()[0], margins.mean(axis=1))
    np.testing.assert_allclose(posterior.moments()[1], [np.sqrt(np.mean((m - m.mean()) ** 2)) for m in margins])


# Rewards of responses


@given(st.integers(1, 40), st.integers(1, 8), st.booleans(), st.integers(0, 10_000))
def test_rewards_give_back_the_margins(n: int, prompts: int, cross_prompt: bool, seed: int) -> None:
    """However many pairs are missing: the margins are differences of rewards, so none is lost."""
    features = random_features(n, NEEDS, seed=seed, prompts=prompts, cross_prompt=cross_prompt)
    assert features.reward_N2K is not None
    margin_NK = features.reward_N2K[:, 0] - features.reward_N2K[:, 1]
    duels = Duels.of(features)
    for reward_AK in (duels.rewards_of_margins(margin_NK), duels.known_rewards(features.reward_N2K)):
        found_NK = reward_AK[duels.arm_N2[:, 0]] - reward_AK[duels.arm_N2[:, 1]]
        np.testing.assert_allclose(found_NK, margin_NK, atol=1e-8)


def test_inconsistent_margins_are_fitted_by_least_squares() -> None:
    """As with `normalize: pair`, where margins are no differences."""
    features = random_features(20, NEEDS, prompts=3)
    duels = Duels.of(features)
    margin_NK = np.random.default_rng(0).normal(size=(20, 4))
    incidence_NA = np.zeros((20, len(duels.group_A)))
    incidence_NA[np.arange(20), duels.arm_N2[:, 0]] = 1
    incidence_NA[np.arange(20), duels.arm_N2[:, 1]] = -1
    best = incidence_NA @ np.linalg.lstsq(incidence_NA, margin_NK)[0]
    np.testing.assert_allclose(incidence_NA @ duels.rewards_of_margins(margin_NK), best, atol=1e-9)


@pytest.mark.parametrize("cross_prompt", [False, True])
def test_arms_and_edges(cross_prompt: bool) -> None:
    features = random_features(25, frozenset(), cross_prompt=cross_prompt)
    duels = Duels.of(features)
    group_of = {}
    for i, (prompts, responses) in enumerate(zip(features.prompt_ids_N2, features.response_ids_N2, strict=True)):
        for side in (0, 1):
            arm = int(duels.arm_N2[i, side])
            key = (*sorted(prompts.tolist()), responses[side])
            assert group_of.setdefault(arm, key) == key  # an arm is one response of one group
    assert len(set(group_of.values())) == len(group_of) == len(duels.group_A)
    assert duels.groups == len({key[:2] for key in group_of.values()})
    assert (np.diff(duels.group_A) >= 0).all() and (np.diff(duels.from_J) >= 0).all()
    seen = sorted(zip(duels.pair_J.tolist(), duels.sign_J.tolist(), strict=True))
    assert seen == [(i, s) for i in range(25) for s in (-1, 1)]
    for edge in range(50):
        a, b = duels.arm_N2[duels.pair_J[edge]][:: duels.sign_J[edge]]
        assert (duels.from_J[edge], duels.to_J[edge]) == (a, b)
