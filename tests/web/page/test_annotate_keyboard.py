"""A whole batch by keyboard alone, in Chromium. The one browser test of the default suite."""

from __future__ import annotations

from typing import Any

from page_questions import pairs


def test_a_batch_by_keyboard_alone(open_page: Any, on_screen: Any) -> None:
    stub, page = open_page(pairs(8))
    keys = ["ArrowLeft", "1", "ArrowRight", "2", "ArrowDown", "b", "g", "s"]
    for number, key in enumerate(keys):
        on_screen(page, f"q{number}")
        page.keyboard.press(key)
    page.wait_for_selector("#waiting[data-reason=finished]")
    stub.wait_until(lambda: len(stub.acts) == 8)
    assert [(act["question_id"], act["outcome"], act["chosen"]) for act in stub.acts] == [
        ("q0", "prefer", "q0-0"),
        ("q1", "prefer", "q1-0"),
        ("q2", "prefer", "q2-1"),
        ("q3", "prefer", "q3-1"),
        ("q4", "tie", None),
        ("q5", "both_bad", None),
        ("q6", "both_good", None),
        ("q7", "skip", None),
    ]
    assert stub.received == [act["act_id"] for act in stub.acts]
    assert [event["question_id"] for event in stub.shown] == [f"q{i}" for i in range(8)]

    # Undo the last two, from the end, and answer them differently.
    page.keyboard.press("u")
    on_screen(page, "q7")
    page.keyboard.press("u")
    on_screen(page, "q6")
    page.keyboard.press("2")
    on_screen(page, "q7")
    page.keyboard.press("Enter")  # keeps the earlier answer
    stub.wait_until(lambda: len(stub.acts) == 8)
    assert [(act["question_id"], act["outcome"]) for act in stub.acts[6:]] == [("q6", "prefer"), ("q7", "skip")]
