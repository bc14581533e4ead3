"""Reading of answers: only what was asked for counts."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duelist.judges.chat_answers import alternatives, letter_of, log_prob_of_choices, shares
from duelist.judges.opinions import mass, opinion

LETTERS = ("A", "B", "C")


@pytest.mark.parametrize("text", ["A", " A\n", "**A**", "(A)", "A.", '"A"', "`A`", ' {"answer":"A"} '])
def test_a_letter_alone_is_read(text: str) -> None:
    assert letter_of(text, LETTERS) == "A"


@pytest.mark.parametrize(
    "text",
    [
        *(
            None,
            "",
            "D",
            "a",
            "AB",
            "A or B",
            "Response A",
            "A because it is better",
            "I choose A",
            "A\nB",
            "Answer: A",
        ),
        *(
            '{"answer": "D"}',
            '{"answer": "A", "other": 1}',
            '{"answer": ["A"]}',
            '["A", "B"]',
            "A, B",
            "[" * 5000,
            "A!",
        ),
    ],
)
def test_anything_else_is_not(text: str | None) -> None:
    assert letter_of(text, LETTERS) is None


def test_shares_count_unreadable_answers() -> None:
    found = [math.exp(x) for x in shares(["A", "A", "B", "no", None], LETTERS)]
    assert found == pytest.approx([0.4, 0.2, 0.0])


def content(rows: Any) -> dict[str, Any]:
    return {"choices": [{"logprobs": {"content": [{"top_logprobs": rows}]}}]}


def test_spellings_with_spaces_are_added_up() -> None:
    rows = [{"token": t, "logprob": math.log(p)} for t, p in {"A": 0.3, " A": 0.1, "B": 0.2, "Ab": 0.4}.items()]
    found = alternatives(content(rows))
    assert found is not None
    assert [math.exp(x) for x in log_prob_of_choices(found, LETTERS)] == pytest.approx([0.4, 0.2, 0.0])


@pytest.mark.parametrize(
    "rows",
    [
        *(None, [], "A", [{"token": "A"}], [{"token": 1, "logprob": -1}], [{"token": "A", "logprob": "-1"}]),
        *([{"token": "A", "logprob": 1.0}], [{"token": "A", "logprob": float("nan")}], [3]),
        [{"token": "A", "logprob": -0.1}, {"token": "B", "logprob": -0.1}],
    ],
)
def test_what_is_no_log_probability_is_not_read(rows: Any) -> None:
    assert alternatives(content(rows)) is None


@pytest.mark.parametrize("answer", [{}, {"choices": []}, {"choices": [{"logprobs": None}]}, {"choices": {"a": 1}}])
def test_an_answer_without_log_probabilities_has_none(answer: dict[str, Any]) -> None:
    assert alternatives(answer) is None


@given(st.lists(st.floats(-50, 0), min_size=2, max_size=3), st.floats(0.1, 10))
def test_an_opinion_is_a_softmax(log_probs: list[float], temperature: float) -> None:
    found = opinion(log_probs, 0, temperature)
    assert found is not None
    assert sum(found) == pytest.approx(1)
    for i, x in enumerate(log_probs):
        for j, y in enumerate(log_probs):
            if min(found[i], found[j]) > 1e-200:
                assert math.log(found[i] / found[j]) == pytest.approx((x - y) / temperature, abs=1e-6)
    assert opinion(log_probs, min(1, mass(log_probs) + 1e-9), temperature) is None or mass(log_probs) >= 1


def test_nothing_on_the_choices_is_no_opinion() -> None:
    assert opinion([-math.inf, -math.inf], 0) is None
