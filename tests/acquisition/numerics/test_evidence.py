"""The marginal likelihood of labels, against quadrature and against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import dblquad, quad
from scipy.special import expit, log_expit

from duelist.acquisition.numerics.evidence import PRIOR_DEVIATION, fit_precision, log_evidence, reduced

RNG = np.random.default_rng(0)
ROWS_PD = RNG.normal(size=(14, 2))
VOTES_P2 = RNG.multinomial(2, [0.7, 0.3], size=14)


def integrated(rows_PD: np.ndarray, votes_P2: np.ndarray, precision: float) -> float:
    """log ∫ p(labels | θ) N(θ; 0, I/λ) dθ in one or two dimensions."""

    def density(*theta: float) -> float:
        logit_P = rows_PD @ np.array(theta)
        value = votes_P2[:, 0] @ log_expit(logit_P) + votes_P2[:, 1] @ log_expit(-logit_P)
        value += 0.5 * len(theta) * np.log(precision / (2 * np.pi)) - 0.5 * precision * np.square(theta).sum()
        return float(np.exp(value))

    width = 8 / np.sqrt(precision)
    if rows_PD.shape[1] == 1:
        return float(np.log(quad(density, -width, width, limit=200)[0]))
    return float(np.log(dblquad(density, -width, width, -width, width, epsabs=1e-12, epsrel=1e-6)[0]))


@pytest.mark.parametrize("precision", [0.3, 3.0, 30.0])
def test_it_is_the_integral_up_to_laplace_s_error(precision: float) -> None:
    exact = integrated(ROWS_PD, VOTES_P2, precision)
    found, mode_D = log_evidence(ROWS_PD, VOTES_P2, precision)
    assert found == pytest.approx(exact, abs=0.08 / precision**0.3)
    slope_D = ROWS_PD.T @ (VOTES_P2.sum(1) * expit(ROWS_PD @ mode_D) - VOTES_P2[:, 0]) + precision * mode_D
    assert slope_D == pytest.approx([0, 0], abs=1e-4)
    again, _ = log_evidence(ROWS_PD, VOTES_P2, precision, np.array([3.0, -3.0]))
    assert again == pytest.approx(found, abs=1e-8)  # wherever the search begins


def test_a_strong_prior_says_even_odds() -> None:
    found, mode_D = log_evidence(ROWS_PD, VOTES_P2, 1e9)
    assert found == pytest.approx(-VOTES_P2.sum() * np.log(2), abs=1e-5) and abs(mode_D).max() < 1e-6


def test_the_fit_maximises_the_exact_evidence_with_its_prior() -> None:
    rows_PD, centre = ROWS_PD[:, :1], 2.0
    # Margins that are mostly right: the labels ask for a weaker prior than the centre's.
    votes_P2 = np.where(rows_PD > 0, [[3, 0]], [[0, 3]])
    votes_P2[:3] = votes_P2[:3, ::-1]
    grid = np.geomspace(0.02, 200, 61)
    posterior = [integrated(rows_PD, votes_P2, x) - np.log(x / centre) ** 2 / (2 * PRIOR_DEVIATION**2) for x in grid]
    best = grid[int(np.argmax(posterior))]
    found = fit_precision(rows_PD, votes_P2, centre)
    assert found == pytest.approx(best, rel=0.2) and best < 0.8 * centre


def test_more_dimensions_than_labels_change_nothing() -> None:
    """A label's row counts by its inner products alone."""
    rotation_DD = np.linalg.qr(RNG.normal(size=(40, 40)))[0]
    wide_PD = np.concatenate([ROWS_PD, np.zeros((14, 38))], axis=1) @ rotation_DD
    assert reduced(wide_PD).shape == (14, 14)
    few, _ = log_evidence(ROWS_PD, VOTES_P2, 0.7)
    many, _ = log_evidence(reduced(wide_PD), VOTES_P2, 0.7)
    assert many == pytest.approx(few, abs=1e-9)
    assert fit_precision(wide_PD, VOTES_P2, 1.0) == pytest.approx(fit_precision(ROWS_PD, VOTES_P2, 1.0), rel=1e-3)


def test_labels_that_say_nothing_leave_the_centre() -> None:
    assert fit_precision(ROWS_PD, np.zeros((14, 2), np.int64), 0.37) == 0.37
    assert fit_precision(np.zeros((14, 2)), VOTES_P2, 0.37) == 0.37
    assert fit_precision(np.empty((0, 5)), np.empty((0, 2), np.int64), 0.37) == 0.37


def test_a_scale_of_the_features_is_a_scale_of_the_precision() -> None:
    one = fit_precision(ROWS_PD, VOTES_P2, 1.0)
    assert fit_precision(10 * ROWS_PD, VOTES_P2, 100.0) == pytest.approx(100 * one, rel=1e-3)
