"""The average of p(1 − p) over a Gaussian margin, against adaptive quadrature."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import expit

from duelist.acquisition.numerics.linear_features import bernoulli_information
from duelist.acquisition.numerics.logistic_normal import averaged_information


@pytest.mark.parametrize("mean", [0.0, 0.5, -3.0, 8.0])
@pytest.mark.parametrize("variance", [0.04, 1.0, 9.0, 400.0])
def test_it_is_the_integral(mean: float, variance: float) -> None:
    def integrand(z: float) -> float:
        return float(expit(z) * expit(-z) * np.exp(-0.5 * (z - mean) ** 2 / variance) / np.sqrt(2 * np.pi * variance))

    width = 12 * variance**0.5
    points = [x for x in (0.0, mean) if mean - width < x < mean + width]
    exact = quad(integrand, mean - width, mean + width, points=points, limit=200, epsabs=1e-12)[0]
    found = averaged_information(np.array([mean]), np.array([variance]))
    assert found == pytest.approx([exact], abs=2e-8)


def test_without_variance_it_is_the_information_at_the_mean() -> None:
    mean_N = np.linspace(-10, 10, 41)
    np.testing.assert_allclose(averaged_information(mean_N, np.zeros(41)), bernoulli_information(mean_N), atol=2e-8)
