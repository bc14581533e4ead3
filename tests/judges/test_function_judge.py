"""Judge by a function: both orders are asked, in the order displayed, and nothing is guessed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from duelist.errors import RecipeError, RewardError
from duelist.judges.base import Comparison
from duelist.judges.config import JudgeConfig
from duelist.judges.of import judge_of
from duelist.progress import Silent
from duelist.settings.importing import import_object
from duelist.types import Prompt

FILE = Path(__file__)
ASKED: list[dict[str, object]] = []


def longer(prompts: list[str], first: list[str], second: list[str], **columns: object) -> list[object]:
    ASKED.append({"prompts": prompts, "first": first, "second": second, **columns})
    return [
        None if "?" in a + b else ((1.0, 0.0, 0.0) if len(a) > len(b) else (0.25, 0.75, 0.0))
        for a, b in zip(first, second, strict=True)
    ]


def left(prompts: list[str], first: list[str], second: list[str]) -> list[object]:
    return [(0.8, 0.1, 0.1)] * len(prompts)


def broken(prompts: list[str], first: list[str], second: list[str], answer: object) -> object:
    if answer == "raise":
        raise ValueError("no")
    return answer


def config(name: str, **settings: object) -> JudgeConfig:
    return JudgeConfig.model_validate({"function": f"{FILE}:{name}", **settings})


def test_both_orders_are_asked_and_turned_back() -> None:
    judge = judge_of(config("longer"))
    asked = sys.modules[import_object(f"{FILE}:longer").__module__].ASKED  # type: ignore[attr-defined]
    asked.clear()
    prompts = [Prompt.of("Say x", {"topic": i}) for i in range(3)]
    found = judge.judge(
        [
            Comparison(prompts[0], "long one", "short"),
            Comparison(prompts[1], "c", "what?"),
            Comparison(prompts[2], "s", "longest"),
        ],
        0,
        Silent(),
    )
    assert [(x["first"], x["second"]) for x in asked] == [
        (["long one", "c", "s"], ["short", "what?", "longest"]),
        (["short", "what?", "longest"], ["long one", "c", "s"]),
    ]
    assert asked[0]["prompts"] == ["Say x"] * 3
    assert asked[0]["topic"] == [0, 1, 2]
    assert [(x.a_first, x.b_first) for x in found] == [
        ((1, 0, 0), (0.75, 0.25, 0)),
        (None, None),
        ((0.25, 0.75, 0), (0, 1, 0)),
    ]
    assert [x.outcome for x in found] == ["a", "unparsed", "b"]


def test_a_judge_of_places_contradicts_itself() -> None:
    (found,) = judge_of(config("left")).judge([Comparison(Prompt.of("Say x"), "p", "q")], 0, Silent())
    assert found.outcome == "inconsistent"
    assert found.probability == pytest.approx(0.5)


@pytest.mark.parametrize(
    "answer", ["raise", 3, [], [[0.5, 0.5]], [[0.5, 0.6, 0.0]], [[1.5, -0.5, 0.0]], [[float("nan"), 0, 1]], ["a"]]
)
def test_what_is_no_verdict_is_an_error_not_a_label(answer: object) -> None:
    judge = judge_of(config("broken", arguments={"answer": answer}))
    with pytest.raises(RewardError, match="must"):
        judge.judge([Comparison(Prompt.of("Say x"), "p", "q")], 0, Silent())


def test_probabilities_of_float32_may_exceed_one_by_their_rounding() -> None:
    judge = judge_of(config("broken", arguments={"answer": [[1.0000001, 0.0, 0.0]]}))
    (found,) = judge.judge([Comparison(Prompt.of("Say x"), "a", "b")], 0, Silent())
    assert found.a_first == (1.0, 0.0, 0.0) and found.b_first == (0.0, 1.0, 0.0)


def test_a_function_must_take_what_it_is_called_with() -> None:
    with pytest.raises(RecipeError, match="A judge must take"):
        judge_of(config("left", arguments={"more": 1}))
    with pytest.raises(RecipeError, match="must name a function"):
        judge_of(config("FILE"))
