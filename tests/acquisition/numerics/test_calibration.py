"""The temperature of margins, against labels of a known one and against a search of every value."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duelist.acquisition.numerics.calibration import RANGE, fit_temperature, temperature_loss
from duelist.acquisition.numerics.linear_features import bernoulli_information


def labels_of(temperature: float, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Margins and single votes that are drawn with σ(ρ/τ)."""
    rng = np.random.default_rng(seed)
    margin_P = rng.normal(size=count) * 2 * temperature
    a_P = rng.random(count) < 1 / (1 + np.exp(-margin_P / temperature))
    return margin_P, np.stack([a_P, ~a_P], axis=1).astype(np.int64)


@pytest.mark.parametrize("temperature", [0.05, 0.5, 1.0, 3.0, 20.0])
def test_a_known_temperature_is_found(temperature: float) -> None:
    margin_P, votes_P2 = labels_of(temperature, 4000, seed=3)
    assert fit_temperature(margin_P, votes_P2) == pytest.approx(temperature, rel=0.1)


@pytest.mark.parametrize(
    ("margin_P", "votes_P2"),
    [
        (np.empty(0), np.empty((0, 2), np.int64)),
        (np.zeros(50), np.tile([[1, 0]], (50, 1))),  # the policy is the reference
        (np.linspace(-3, 3, 50), np.zeros((50, 2), np.int64)),  # ties and skips only
    ],
    ids=["no labels", "no margins", "no votes"],
)
def test_where_nothing_is_known_the_temperature_is_one(margin_P: np.ndarray, votes_P2: np.ndarray) -> None:
    assert fit_temperature(margin_P, votes_P2) == 1.0


def test_a_few_labels_move_it_little() -> None:
    """One label that agrees says that the margin is trusted, but by no more than the prior allows."""
    assert 0.6 < fit_temperature(np.array([2.0]), np.array([[1, 0]])) < 1.0
    assert 1.0 < fit_temperature(np.array([2.0]), np.array([[0, 1]])) < 3.0


@given(seed=st.integers(0, 10**6), count=st.integers(1, 40), size=st.floats(-9, 3), agree=st.floats(0, 1))
def test_no_other_temperature_is_likelier(seed: int, count: int, size: float, agree: float) -> None:
    """Also where the loss has two dips: tiny margins that are mostly right."""
    rng = np.random.default_rng(seed)
    margin_P = rng.normal(size=count) * 10.0**size
    right_P = rng.random(count) < agree
    votes_P = rng.integers(1, 30, size=count)
    a_P = np.where(right_P == (margin_P > 0), votes_P, 0)
    votes_P2 = np.stack([a_P, votes_P - a_P], axis=1)
    found = np.log(fit_temperature(margin_P, votes_P2))
    others = np.linspace(-RANGE, RANGE, 3001)
    best = min(temperature_loss(x, margin_P, votes_P2, 1.0) for x in others)
    assert temperature_loss(found, margin_P, votes_P2, 1.0) <= best + 1e-6 * (1 + abs(best))


@given(seed=st.integers(0, 10**6), count=st.integers(1, 30))
def test_which_response_is_called_a_does_not_matter(seed: int, count: int) -> None:
    margin_P, votes_P2 = labels_of(2.0, count, seed)
    swapped = np.random.default_rng(seed).random(count) < 0.5
    other = fit_temperature(
        np.where(swapped, -margin_P, margin_P), np.where(swapped[:, None], votes_P2[:, ::-1], votes_P2)
    )
    assert other == pytest.approx(fit_temperature(margin_P, votes_P2), rel=1e-6)


def test_the_variance_keeps_its_digits_where_the_outcome_is_almost_sure() -> None:
    np.testing.assert_allclose(bernoulli_information(np.array([0.0, -800.0, 800.0])), [0.25, 0.0, 0.0])
    np.testing.assert_allclose(bernoulli_information(np.array([-40.0, 40.0])), np.exp(-40.0), rtol=1e-12)
    logit_N = np.linspace(-5, 5, 11)
    p_N = 1 / (1 + np.exp(-logit_N))
    np.testing.assert_allclose(bernoulli_information(logit_N), p_N * (1 - p_N), rtol=1e-12)
