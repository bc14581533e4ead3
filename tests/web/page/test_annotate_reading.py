"""Reading and settings: differences, scrolling, phone width, directions, keys of one's own, better answers."""

from __future__ import annotations

from typing import Any

import pytest
from page_questions import nearly_equal_pair, pairs, question, ranking, rich_pair, right_to_left_pair

pytestmark = pytest.mark.full

PHONE = {"width": 390, "height": 844}


def test_differences_are_marked_with_elements_and_lines(open_page: Any, on_screen: Any) -> None:
    _, page = open_page([nearly_equal_pair()])
    on_screen(page, "near")
    page.wait_for_selector("#hint:has-text('nearly equal')")
    page.keyboard.press("d")
    page.wait_for_selector("ins")
    assert page.locator(".plain del").all_inner_texts() == ["ten", "Black Forest"]
    assert page.locator(".plain ins").all_inner_texts() == ["eleven", "Alps"]
    style = "element => getComputedStyle(element).textDecorationStyle"
    styles = [page.eval_on_selector(f".plain {tag}", style) for tag in ("del", "ins")]
    assert styles == ["dashed", "solid"]  # not colour alone
    page.keyboard.press("d")
    page.wait_for_selector("ins", state="detached")


def test_responses_are_equally_high_and_scroll_together_or_apart(open_page: Any, on_screen: Any) -> None:
    long = question("q", ["A word. " * 3000, "Short."])
    _, page = open_page([long])
    on_screen(page, "q")
    heights = [box["height"] for box in (page.locator(".card").nth(i).bounding_box() for i in (0, 1))]
    assert heights[0] == heights[1] > 800  # the window scrolls both
    page.keyboard.press("l")
    page.wait_for_selector(".apart")
    bodies = "bodies => bodies.map(body => body.scrollHeight > body.clientHeight + 1)"
    assert page.eval_on_selector_all(".body", bodies) == [True, False]
    assert page.evaluate("document.documentElement.scrollHeight <= innerHeight")
    page.reload()
    page.wait_for_selector(".apart")  # the choice is kept


def test_nothing_scrolls_sideways_on_a_phone(open_page: Any, on_screen: Any) -> None:
    unbroken = question("u", ["x" * 600, "y" * 600], prompt="z" * 600)
    questions = [rich_pair(), unbroken, ranking(count=8)]
    stub, page = open_page(questions, PHONE, reasons=["more correct", "clearer", "safer"], strength=True)
    fits = "document.documentElement.scrollWidth <= innerWidth"
    for identity in ("rich", "u", "r1"):
        on_screen(page, identity)
        assert page.evaluate(fits), identity
        page.click("#more")
        assert page.evaluate(fits), f"{identity} with details"
        page.keyboard.press("s")
    page.wait_for_selector("#waiting[data-reason=finished]")
    assert page.evaluate(fits)
    page.click("#open-settings")
    assert page.evaluate(fits)
    stub.wait_until(lambda: len(stub.acts) == 3)


def test_a_phone_stacks_the_responses_and_votes_by_touch(open_page: Any, on_screen: Any) -> None:
    stub, page = open_page(pairs(2), PHONE, {"has_touch": True, "is_mobile": True})
    on_screen(page, "q0")
    first, second = (page.locator(".card").nth(i).bounding_box() for i in (0, 1))
    assert second["y"] >= first["y"] + first["height"]
    page.tap("[data-action=second]")
    on_screen(page, "q1")
    stub.wait_until(lambda: len(stub.acts) == 1)
    assert stub.acts[0]["chosen"] == "q0-1"


def test_right_to_left_text_takes_its_own_direction(open_page: Any, on_screen: Any) -> None:
    _, page = open_page([right_to_left_pair(), *pairs(1)])
    direction = "texts => texts.map(text => getComputedStyle(text).direction)"
    on_screen(page, "rtl")
    assert page.eval_on_selector_all("main .text", direction) == ["rtl"] * 3
    assert page.eval_on_selector_all("main .text p", direction) == ["rtl", "rtl", "ltr", "rtl"]
    page.keyboard.press("1")
    on_screen(page, "q0")
    assert page.eval_on_selector_all("main .text", direction) == ["ltr"] * 3


def test_keys_of_ones_own(open_page: Any, on_screen: Any) -> None:
    stub, page = open_page(pairs(4))
    on_screen(page, "q0")
    page.click("#open-settings")
    page.click("[data-bind=tie]")
    page.keyboard.press("b")
    assert "already means" in page.inner_text("#keys-said")
    page.keyboard.press("5")
    assert "orders cards" in page.inner_text("#keys-said")
    page.keyboard.press("t")
    assert "is now T" in page.inner_text("#keys-said")
    page.keyboard.press("Escape")
    page.reload()
    on_screen(page, "q0")
    assert page.inner_text("[data-action=tie] kbd") == "T"
    page.keyboard.press("ArrowDown")  # no longer a tie
    page.keyboard.press("t")
    on_screen(page, "q1")
    # A keyboard of another script: the key at the place of B.
    page.evaluate("dispatchEvent.call(document, new KeyboardEvent('keydown', {key: 'и', code: 'KeyB'}))")
    on_screen(page, "q2")
    page.click("#open-settings")
    page.uncheck("#single-keys")
    page.keyboard.press("Escape")
    page.keyboard.press("1")
    page.click("[data-action=both_good]")
    on_screen(page, "q3")
    stub.wait_until(lambda: len(stub.acts) == 3)
    assert [act["outcome"] for act in stub.acts] == ["tie", "both_bad", "both_good"]


def test_the_colours_can_be_chosen_and_are_kept(open_page: Any, on_screen: Any) -> None:
    _, page = open_page(pairs(1), context={"color_scheme": "light"})
    on_screen(page, "q0")
    paper = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(paper)
    page.click("#open-settings")
    page.select_option("#theme", "dark")
    dark = page.evaluate(paper)
    page.reload()
    assert page.evaluate(paper) == dark != light


def test_a_better_answer_after_both_bad(open_page: Any, on_screen: Any) -> None:
    stub, page = open_page(pairs(4), write_better=True)
    on_screen(page, "q0")
    page.keyboard.press("b")
    page.keyboard.press("Escape")  # back to the pair
    page.keyboard.press("b")
    page.keyboard.type("Red, for example.\nLike a poppy; 1 of 2.")
    assert page.is_visible("text=Record with this answer")
    page.reload()  # what was written is kept
    on_screen(page, "q0")
    page.keyboard.press("b")
    page.keyboard.press("Control+Enter")
    on_screen(page, "q1")
    page.keyboard.press("b")
    page.keyboard.press("Enter")  # nothing written
    on_screen(page, "q2")
    stub.wait_until(lambda: len(stub.acts) == 2)
    assert [(act["outcome"], act["better"]) for act in stub.acts] == [
        ("both_bad", "Red, for example.\nLike a poppy; 1 of 2."),
        ("both_bad", None),
    ]


def test_guidelines_are_one_key_away(open_page: Any, on_screen: Any) -> None:
    _, page = open_page(pairs(1), guidelines_html="<h3>What counts</h3><p>Prefer what is <em>true</em>.</p>")
    on_screen(page, "q0")
    page.keyboard.press("?")
    page.wait_for_selector("dialog[open] >> text=What counts")
    page.keyboard.press("1")  # does not vote behind the guidelines
    page.keyboard.press("?")
    page.wait_for_selector("#guidelines:not([open])", state="attached")
    on_screen(page, "q0")


def test_a_key_that_is_held_votes_once(open_page: Any, on_screen: Any) -> None:
    stub, page = open_page(pairs(3))
    on_screen(page, "q0")
    page.keyboard.down("1")
    on_screen(page, "q1")
    page.keyboard.down("1")  # a repeat
    page.keyboard.up("1")
    page.keyboard.press("2")
    on_screen(page, "q2")
    stub.wait_until(lambda: len(stub.acts) == 2)
    assert [act["chosen"] for act in stub.acts] == ["q0-0", "q1-1"]


def test_what_was_recorded_is_said_politely(open_page: Any, on_screen: Any) -> None:
    _, page = open_page(pairs(2))
    on_screen(page, "q0")
    page.keyboard.press("2")
    on_screen(page, "q1")
    assert page.inner_text("#said") == "Recorded: B is better."
    assert page.get_attribute("#said", "role") == "status"
    assert page.evaluate("document.activeElement.id") == "question-title"
