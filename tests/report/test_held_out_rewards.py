"""Intervals of the mean reward over held-out prompts, against SciPy's tests."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from duelist.report.held_out import change, mean, rewards_by_prompt


def evaluation(folder: Path, t: int, rows: list[dict[str, object]]) -> None:
    place = folder / f"rounds/{t:03d}"
    place.mkdir(parents=True)
    text = "".join(json.dumps(row) + "\n" for row in [{"mean_reward": 1.0}, *rows])
    (place / "evaluation.jsonl").write_text(text, encoding="utf-8")


def test_intervals_are_those_of_t_tests() -> None:
    rng = np.random.default_rng(0)
    before, after = ({f"p{i}": float(x) for i, x in enumerate(rng.normal(size=12))} for _ in range(2))
    expected = stats.ttest_1samp(list(after.values()), 0).confidence_interval()
    found = mean(after)
    assert found is not None and found.ends == pytest.approx((expected.low, expected.high)) and found.n == 12
    expected = stats.ttest_rel(list(after.values()), list(before.values())).confidence_interval()
    moved = change({**before, "only before": 9.0}, {"only after": 9.0, **after})
    assert moved is not None and moved.ends == pytest.approx((expected.low, expected.high)) and moved.n == 12


def test_fewer_than_two_prompts_have_no_interval() -> None:
    assert mean({}) is None and change({"a": 1.0}, {"b": 1.0}) is None
    alone = mean({"a": 2.0})
    assert alone is not None and (alone.value, alone.ends, alone.n) == (2.0, None, 1)


def test_rewards_are_means_of_a_prompts_responses(tmp_path: Path) -> None:
    evaluation(tmp_path, 0, [{"prompt_id": "a", "reward": 1.0}, {"prompt_id": "a", "reward": 2.0}, {"prompt_id": "b"}])
    evaluation(tmp_path, 1, [{"prompt_id": "a", "reward": 1.0, "score": 0.5}])  # of a reward model: not all are kept
    evaluation(tmp_path, 2, [])
    (tmp_path / "rounds/002/evaluation.jsonl").write_text("damaged", encoding="utf-8")
    assert [rewards_by_prompt(tmp_path, t) for t in range(4)] == [{"a": 1.5}, {}, {}, {}]
