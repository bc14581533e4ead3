"""Settings of a judge: exactly one source, and nothing that has no effect."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from duelist.judges.config import JudgeConfig


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ({"model": "m", "rubric": "harmlessness", "load": {"gguf_file": "x"}}, "model"),
        ({"model": "m", "base_url": "http://localhost:8000/v1", "price_in": 1, "max_cost": 2}, "server"),
        ({"reward_model": "m", "temperature": 2, "input": "segments"}, "reward_model"),
        ({"function": "f.py:g", "arguments": {"x": 1}}, "function"),
    ],
)
def test_the_kind_follows_from_the_source(settings: dict[str, object], kind: str) -> None:
    config = JudgeConfig.model_validate(settings)
    assert config.kind == kind
    assert JudgeConfig.model_validate(config.model_dump(mode="json")) == config  # as in a saved recipe


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "one of `model`"),
        ({"model": "m", "function": "f.py:g"}, "one of `model`"),
        ({"base_url": "http://x/v1", "function": "f.py:g"}, "`base_url` needs `model`"),
        ({"base_url": "localhost:80", "model": "m"}, "URL such as"),
        ({"function": "f.py:g", "rubric": "harmlessness"}, "`rubric` must not be set for a function"),
        ({"model": "m", "price_in": 1.0}, "`price_in` must not be set for a language model in this process"),
        ({"base_url": "http://x/v1", "model": "m", "dtype": "float64"}, "`dtype` must not be set for a model on a"),
        ({"base_url": "http://x/v1", "model": "m", "max_cost": 1}, "`max_cost` needs the prices"),
    ],
)
def test_settings_without_meaning_are_rejected(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        JudgeConfig.model_validate(settings)


def test_every_setting_is_described_and_read_by_a_kind_of_judge() -> None:
    from duelist.judges.config import _READ_BY

    assert all(field.description for field in JudgeConfig.model_fields.values())
    assert set(JudgeConfig.model_fields) == set().union(*_READ_BY.values())
