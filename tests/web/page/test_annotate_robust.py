"""What happens to an answer when something goes wrong between the person and the server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from page_questions import pairs
from page_stub import LOST, PageStub

pytestmark = pytest.mark.full


def pass_time_until(page: Any, condition: Callable[[], bool]) -> None:
    """Move the page's clock in steps of a second until the condition holds."""
    for _ in range(300):
        if condition():
            return
        page.clock.run_for(1000)
    raise AssertionError("not reached in five minutes of the page's time")


def sent(stub: PageStub) -> list[str]:
    return [body["act_id"] for path, body in stub.attempts if path == "/api/acts"]


def test_reload_in_mid_pair_keeps_the_question_and_what_was_written(open_page: Any, on_screen: Any) -> None:
    stub, page = open_page(pairs(3), reasons=["more correct", "clearer"], still=True)
    on_screen(page, "q0")
    page.clock.fast_forward(7000)
    page.check("text=clearer")
    page.keyboard.press("c")
    page.keyboard.type("Blue, of course")
    page.reload()
    on_screen(page, "q0")
    assert page.input_value("#comment") == "Blue, of course"
    page.clock.fast_forward(2000)
    page.keyboard.press("1")
    stub.wait_until(lambda: len(stub.acts) == 1)
    act = stub.acts[0]
    assert (act["comment"], act["reasons"], act["active_seconds"]) == ("Blue, of course", ["clearer"], 9)


@pytest.mark.parametrize("failures", [[500, 503], [LOST, 500], [429, 408]])
def test_a_failed_answer_is_sent_again_and_recorded_once(open_page: Any, on_screen: Any, failures: list[int]) -> None:
    stub, page = open_page(pairs(3), still=True)
    on_screen(page, "q0")
    stub.fail("/api/acts", *failures)
    page.keyboard.press("2")
    on_screen(page, "q1")  # nobody waits for the server
    page.wait_for_selector(".notice[data-kind=retrying]")
    page.keyboard.press("1")
    pass_time_until(page, lambda: len(stub.acts) == 2 and len(stub.attempts) > 3)
    page.wait_for_selector(".notice[data-kind=retrying]", state="detached")
    assert [(act["question_id"], act["chosen"]) for act in stub.acts] == [("q0", "q0-1"), ("q1", "q1-0")]
    assert sent(stub) == [stub.acts[0]["act_id"]] * 3 + [stub.acts[1]["act_id"]]


def test_retry_after_is_waited_for(open_page: Any, on_screen: Any) -> None:
    stub, page = open_page(pairs(2), still=True)
    on_screen(page, "q0")
    stub.fail("/api/acts", 429, Retry_After="40")
    page.keyboard.press("2")
    page.wait_for_selector(".notice[data-kind=retrying]")
    page.clock.run_for(39_000)
    on_screen(page, "q1")
    assert len(sent(stub)) == 1
    page.clock.run_for(2000)
    stub.wait_until(lambda: len(stub.acts) == 1)


def test_an_answer_that_was_never_sent_survives_a_closed_browser(open_page: Any, on_screen: Any) -> None:
    stub, page = open_page(pairs(3))
    on_screen(page, "q0")
    window = page.context
    window.set_offline(True)
    page.keyboard.press("2")
    on_screen(page, "q1")
    page.wait_for_selector(".notice[data-kind=retrying]")
    page.close()
    window.set_offline(False)
    page = window.new_page()
    page.goto(stub.url)
    on_screen(page, "q1")
    stub.wait_until(lambda: len(stub.acts) == 1)
    assert sent(stub) == [stub.acts[0]["act_id"]]
    assert stub.acts[0]["chosen"] == "q0-1"


def test_an_expired_session_keeps_the_answer_until_the_link_is_opened_again(open_page: Any, on_screen: Any) -> None:
    stub, page = open_page(pairs(4))
    on_screen(page, "q0")
    stub.end_session()
    page.keyboard.press("ArrowDown")
    on_screen(page, "q1")
    page.wait_for_selector(".notice[data-kind=signed-out]")
    page.keyboard.press("1")
    page.wait_for_selector("#waiting[data-reason=signed_out]")
    assert stub.acts == []
    link = stub.renew_session()
    other = page.context.new_page()
    other.goto(link)
    stub.wait_until(lambda: len(stub.acts) == 2)
    page.wait_for_selector(".notice[data-kind=signed-out]", state="detached")
    on_screen(page, "q2")
    assert [act["outcome"] for act in stub.acts] == ["tie", "prefer"]
    assert stub.received == [act["act_id"] for act in stub.acts]


def test_another_person_in_the_same_browser_does_not_send_the_first_ones_answers(
    open_page: Any, on_screen: Any
) -> None:
    stub, page = open_page(pairs(4))
    on_screen(page, "q0")
    stub.end_session()
    page.keyboard.press("1")
    page.wait_for_selector(".notice[data-kind=signed-out]")
    stub.bootstrap["annotator"] = {"name": "bob", "role": "annotator"}
    other = page.context.new_page()
    other.goto(stub.renew_session())
    on_screen(other, "q0")
    other.keyboard.press("2")
    stub.wait_until(lambda: len(stub.acts) == 1)
    page.reload()
    assert [act["chosen"] for act in stub.acts] == ["q0-1"]
    assert len(stub.received) == 1


def test_a_refused_answer_is_kept_and_shown_with_the_reason(open_page: Any, on_screen: Any) -> None:
    stub, page = open_page(pairs(3))
    on_screen(page, "q0")
    stub.fail("/api/acts", 422, body={"error": "invalid", "message": "The comment is too <b>long</b>."})
    page.keyboard.press("1")
    notice = page.wait_for_selector(".notice[data-kind=refused]")
    assert "The comment is too <b>long</b>." in notice.inner_text()
    assert stub.acts == []
    page.reload()
    page.click(".notice >> text=Send it again")
    stub.wait_until(lambda: len(stub.acts) == 1)
    page.wait_for_selector(".notice[data-kind=refused]", state="detached")


def test_a_question_answered_in_one_tab_leaves_the_other(open_page: Any, on_screen: Any) -> None:
    stub, page = open_page(pairs(3))
    on_screen(page, "q0")
    other = page.context.new_page()
    other.goto(stub.url)
    on_screen(other, "q0")
    page.keyboard.press("1")
    on_screen(other, "q1")
    assert "in another tab" in other.inner_text("#said")
    on_screen(page, "q1")
    other.keyboard.press("2")
    on_screen(page, "q2")
    on_screen(other, "q2")
    stub.wait_until(lambda: len(stub.acts) == 2)
    assert [(act["question_id"], act["chosen"]) for act in stub.acts] == [("q0", "q0-0"), ("q1", "q1-1")]


def test_undo_reaches_back_after_a_reload_and_restores_what_was_said(open_page: Any, on_screen: Any) -> None:
    stub, page = open_page(pairs(4), reasons=["clearer"], strength=True)
    on_screen(page, "q0")
    page.keyboard.press(".")
    page.check("text=clearer")
    page.keyboard.press("2")
    on_screen(page, "q1")
    page.keyboard.press("s")
    stub.wait_until(lambda: len(stub.acts) == 2)
    page.reload()
    on_screen(page, "q2")
    page.wait_for_load_state("networkidle")  # the history has arrived
    page.keyboard.press("u")
    on_screen(page, "q1")
    page.keyboard.press("u")
    on_screen(page, "q0")
    assert page.is_checked("text=clearer")
    assert page.get_attribute("[data-strength=clearly]", "aria-pressed") == "true"
    assert "your answer" in page.inner_text("[data-action=second]")
    page.keyboard.press("Enter")
    on_screen(page, "q1")  # the questions that were put aside come back in their order
    page.keyboard.press("ArrowDown")
    on_screen(page, "q2")
    stub.wait_until(lambda: len(stub.acts) == 2)
    first, second = stub.acts
    assert (first["chosen"], first["strength"], first["reasons"]) == ("q0-1", "clearly", ["clearer"])
    assert second["outcome"] == "tie"
    assert len(stub.undone) == 2


def test_an_undo_that_comes_too_late_says_so(open_page: Any, on_screen: Any) -> None:
    stub, page = open_page(pairs(3))
    on_screen(page, "q0")
    page.keyboard.press("1")
    on_screen(page, "q1")
    stub.wait_until(lambda: len(stub.acts) == 1)
    stub.fail("/api/undo", 409, body={"error": "too_late", "message": "The round is closed."})
    page.keyboard.press("u")
    page.wait_for_selector("#said:has-text('The round is closed.')")
    on_screen(page, "q1")
    page.keyboard.press("u")
    page.wait_for_selector("#said:has-text('no answer of this batch')")


def test_an_undo_whose_answer_was_lost_undoes_once(open_page: Any, on_screen: Any) -> None:
    stub, page = open_page(pairs(3))
    on_screen(page, "q0")
    page.keyboard.press("1")
    on_screen(page, "q1")
    stub.wait_until(lambda: len(stub.acts) == 1)
    stub.fail("/api/undo", 503, 503)
    for _ in range(2):
        page.keyboard.press("u")
        page.wait_for_selector("#said:has-text('nothing was undone')")
        page.keyboard.press("d")  # says something else
        page.wait_for_selector("#said:has-text('Differences')")
    page.keyboard.press("u")
    on_screen(page, "q0")
    identities = {body["act_id"] for path, body in stub.attempts if path == "/api/undo"}
    assert len(identities) == 1


def test_waiting_ends_by_itself(open_page: Any, on_screen: Any) -> None:
    stub, page = open_page([], still=True)
    stub.wait = {"reason": "training", "retry_seconds": 5}
    pass_time_until(page, lambda: page.is_visible("text=The model is learning"))
    stub.questions = pairs(1)
    pass_time_until(page, lambda: page.is_visible("[data-response=q0-0]"))


def test_the_next_question_is_fetched_before_it_is_needed(open_page: Any, on_screen: Any) -> None:
    stub, page = open_page(pairs(3))
    on_screen(page, "q0")
    stub.wait_until(lambda: [body["hold"] for path, body in stub.attempts if path == "/api/next"] == [[], ["q0"]])
    page.wait_for_load_state("networkidle")
    page.context.set_offline(True)
    page.keyboard.press("1")
    on_screen(page, "q1")
    page.context.set_offline(False)
    stub.wait_until(lambda: len(stub.acts) == 1)


def test_active_and_idle_time_are_told_apart(open_page: Any, on_screen: Any) -> None:
    stub, page = open_page(pairs(2), still=True)
    on_screen(page, "q0")
    page.clock.fast_forward(90_000)  # 60 s active, 30 s idle
    page.keyboard.press("Shift")
    page.clock.fast_forward(10_000)  # active
    set_hidden = "hidden => { Object.defineProperty(document, 'hidden', { get: () => hidden, configurable: true });"
    set_hidden += " document.dispatchEvent(new Event('visibilitychange')); }"
    page.evaluate(set_hidden, True)
    page.clock.fast_forward(500_000)  # neither
    page.evaluate(set_hidden, False)
    page.clock.fast_forward(55_000)  # 50 s active, 5 s idle: the minute without input began before the tab was hidden
    page.keyboard.press("1")
    stub.wait_until(lambda: len(stub.acts) == 1)
    assert (stub.acts[0]["active_seconds"], stub.acts[0]["idle_seconds"]) == (120, 35)
