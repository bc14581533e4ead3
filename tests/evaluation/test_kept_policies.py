"""benchmarks/kept_policies.py: values of policies from another policy's answers."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from benchmark_scripts import benchmark


@pytest.fixture(scope="module")
def kept() -> Any:
    return benchmark("kept_policies")


def test_values_are_unbiased(kept: Any) -> None:
    """Over all draws of two answers to each of two prompts, from three possible ones."""
    rng = np.random.default_rng(0)
    reference_PA, policy_PA = rng.dirichlet(np.ones(3), (2, 2))
    reward_PA = rng.normal(size=(2, 3))
    expected = {"mean_reward": 0.0, "kl": 0.0}
    for drawn in itertools.product(range(3), repeat=4):
        prompt_R, answer_R = np.array([0, 0, 1, 1]), np.array(drawn)
        probability = reference_PA[prompt_R, answer_R].prod()
        log_ratio_R = np.log(policy_PA[prompt_R, answer_R] / reference_PA[prompt_R, answer_R])
        found = kept.values(log_ratio_R, reward_PA[prompt_R, answer_R], 2)
        expected = {name: value + probability * found[name] for name, value in expected.items()}
    assert expected["mean_reward"] == pytest.approx((policy_PA * reward_PA).sum(1).mean())
    assert expected["kl"] == pytest.approx((policy_PA * np.log(policy_PA / reference_PA)).sum(1).mean())


def test_all_answers_count_where_nothing_was_trained(kept: Any) -> None:
    assert kept.values(np.zeros(4), np.arange(4.0), 2) == {"mean_reward": 1.5, "kl": 0.0, "effective": 1.0}
