"""What a judge tells is taken off a label's information: against determinants written out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from duelist.acquisition.activedpo import ActiveDPO, ActiveDPOConfig
from duelist.acquisition.base import Acquisition, choose
from duelist.acquisition.information import Information, InformationConfig
from duelist.acquisition.judged_discount import discounted
from duelist.testing import random_features
from duelist.types import Features

LAMBDA, BUDGET = 0.7, 5
N, P = 30, 8
JUDGED_N, JUDGED_ONLY_P = np.arange(N) % 3 == 0, np.arange(P) >= 5


def pool(rule: Acquisition) -> Features:
    return random_features(N, rule.needs, seed=3, past=P)


def greedy(features: Features, weight_N: np.ndarray, weight_P: np.ndarray) -> list[int]:
    """The picks of the largest determinant of λI + Σ w φφᵀ, one after another."""
    assert features.past is not None and features.gradient_ND is not None and features.past.gradient_ND is not None
    phi_ND, past_PD = (np.asarray(x, float) for x in (features.gradient_ND, features.past.gradient_ND))
    matrix_DD = LAMBDA * np.eye(phi_ND.shape[1]) + (past_PD.T * weight_P) @ past_PD
    picks: list[int] = []
    for _ in range(BUDGET):
        values = [
            -np.inf if i in picks else np.linalg.slogdet(matrix_DD + weight_N[i] * np.outer(phi, phi))[1]
            for i, phi in enumerate(phi_ND)
        ]
        best = int(np.argmax(values))
        picks.append(best)
        matrix_DD = matrix_DD + weight_N[best] * np.outer(phi_ND[best], phi_ND[best])
    return picks


@pytest.mark.parametrize("worth", [0.0, 0.3, 0.9, 1.0])
@pytest.mark.parametrize("weighted", [False, True], ids=["activedpo", "information"])
def test_the_picks_are_those_of_the_information_that_remains(worth: float, weighted: bool) -> None:
    absolute = {"lambda_": LAMBDA, "lambda_relative": False}
    rule = (
        Information(InformationConfig(**absolute, calibrate=False))
        if weighted
        else ActiveDPO(ActiveDPOConfig(**absolute))
    )
    features = pool(rule)
    assert features.past is not None
    bernoulli_N, bernoulli_P = np.ones(N), np.ones(P)
    if weighted:
        assert features.margin_N is not None and features.past.margin_N is not None
        p_N, p_P = (1 / (1 + np.exp(-x)) for x in (features.margin_N, features.past.margin_N))
        bernoulli_N, bernoulli_P = p_N * (1 - p_N), p_P * (1 - p_P)
    left_N, told_P = np.where(JUDGED_N, 1 - worth, 1.0), np.where(JUDGED_ONLY_P, worth, 1.0)
    seen = discounted(features, JUDGED_N, JUDGED_ONLY_P, worth)
    picks = choose(rule, seen, BUDGET, np.random.default_rng(0)).indices_B.tolist()
    assert picks == greedy(features, left_N * bernoulli_N, told_P * bernoulli_P)
    if worth == 1.0:
        assert not set(picks) & set(np.flatnonzero(JUDGED_N).tolist())


def test_an_asked_pair_that_was_judged_before_counts_once() -> None:
    """ω from the judge and 1 − ω from the person: one label."""
    features = pool(ActiveDPO(ActiveDPOConfig()))
    assert features.past is not None and features.gradient_ND is not None
    past = replace(
        features.past, gradient_ND=np.concatenate([features.past.gradient_ND[:-1], features.gradient_ND[:1]])
    )
    both = discounted(replace(features, past=past), np.arange(N) == 0, np.arange(P) == P - 1, 0.4)
    assert both.past is not None and both.gradient_ND is not None and both.past.gradient_ND is not None
    total = sum(np.outer(x, x) for x in (both.gradient_ND[0], both.past.gradient_ND[-1]))
    assert total == pytest.approx(np.outer(features.gradient_ND[0], features.gradient_ND[0]))
    assert np.array_equal(both.gradient_ND[1:], features.gradient_ND[1:])


def test_without_judged_pairs_nothing_changes() -> None:
    features = pool(ActiveDPO(ActiveDPOConfig()))
    same = discounted(features, np.zeros(N, bool), np.zeros(P, bool), 0.5)
    assert same.gradient_ND is features.gradient_ND
    assert discounted(replace(features, past=None), JUDGED_N, JUDGED_ONLY_P, 0.5).gradient_ND is features.gradient_ND
