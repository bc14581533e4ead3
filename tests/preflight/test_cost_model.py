"""The cost model: its sums by hand, and its fit on costs that are known."""

from __future__ import annotations

import json

import pytest

from duelist.preflight.cost_model import SECONDS_IN, CostModel, fitted, predicted
from duelist.preflight.work import RoundWork

TRUE = {"train": {"rounds": 0.5, "decisions": 0.01, "steps": 0.2}, "evaluate": {"rounds": 0.1, "responses": 0.002}}


def work(t: int, decisions: int, steps: int, responses: int) -> RoundWork:
    train = {"rounds": 1.0, "decisions": float(decisions), "steps": float(steps), "prompts": 0.0}
    return RoundWork(t, {"train": train, "evaluate": {"rounds": 1.0, "responses": float(responses), "batches": 1.0}})


def test_the_prediction_is_the_sum_over_units() -> None:
    found = predicted(TRUE, work(1, 8, 2, 50))
    assert found == {"train": pytest.approx(0.5 + 0.08 + 0.4), "evaluate": pytest.approx(0.1 + 0.1)}
    assert predicted({"sample": {"rounds": 1.0}}, work(1, 8, 2, 50)) == {}  # that stage does not run


def test_costs_that_follow_the_model_are_fitted_exactly_and_extrapolated() -> None:
    observed = [work(t, 2**t, t % 3 + 1, 10 * t) for t in range(1, 6)]
    found = fitted([(w, predicted(TRUE, w)) for w in observed], SECONDS_IN)
    far = work(1, 1000, 250, 4000)
    for stage, cost in predicted(TRUE, far).items():
        assert predicted(found, far)[stage] == pytest.approx(cost, rel=1e-6)


def test_no_coefficient_is_negative() -> None:
    """A stage that took less where there was more to do must not predict negative costs elsewhere."""
    rows = [(work(1, 10, 1, 10), {"train": 2.0}), (work(1, 20, 1, 10), {"train": 1.0})]
    found = fitted(rows, SECONDS_IN)
    assert all(factor > 0 for factor in found["train"].values())
    assert predicted(found, work(1, 1000, 1, 10))["train"] > 0


def test_a_model_is_read_back_from_json() -> None:
    model = CostModel(TRUE, {}, 9.0, "cpu", "here", "2026-01-02T03:04:05+00:00", 12.0, 8.0, 2**30, 24, ("a note",))
    assert CostModel.from_json(json.loads(json.dumps(model.as_json()))) == model
