"""Rankings and best-and-worst: cards ordered by keys and by dragging; the act is what the screen shows."""

from __future__ import annotations

from typing import Any

import pytest
from page_questions import pairs, ranking

pytestmark = pytest.mark.full


def rail(page: Any) -> list[list[str]]:
    """Ids in the rail, group by group, as the person sees them."""
    groups = "groups => groups.map(g => [...g.querySelectorAll('.entry')].map(e => e.dataset.drag))"
    return list(page.eval_on_selector_all("#rail .group", groups))


def press(page: Any, keys: str) -> None:
    for key in keys.split():
        page.keyboard.press(key)


def drag(page: Any, source: str, target: str, along: float = 0.5) -> None:
    """Drag by mouse onto a point of the target, `along` its width."""
    start = page.locator(source).bounding_box()
    end = page.locator(target).bounding_box()
    page.mouse.move(start["x"] + 30, start["y"] + start["height"] / 2)
    page.mouse.down()
    page.mouse.move(end["x"] + along * end["width"], end["y"] + end["height"] / 2, steps=5)
    page.mouse.up()


def handle(number: int) -> str:
    return f"[data-response=r1-{number}] .card-title"


def entry(number: int) -> str:
    return f"#rail [data-drag=r1-{number}]"


FREE = "#rail .free >> nth=0"


def test_a_ranking_of_four_by_keyboard_interrupted_by_a_reload(open_page: Any, on_screen: Any) -> None:
    stub, page = open_page([ranking()], still=True)
    on_screen(page, "r1")
    page.clock.fast_forward(4000)
    press(page, "3")
    page.clock.fast_forward(3000)
    press(page, "1")
    page.reload()
    on_screen(page, "r1")
    assert rail(page) == [["r1-2"], ["r1-0"]]
    page.clock.fast_forward(2000)
    press(page, "= 4")
    press(page, "Enter")  # one card is missing
    assert "1 card is not placed" in page.inner_text("#said")
    page.clock.fast_forward(1000)
    press(page, "2")
    seen = rail(page)
    assert seen == [["r1-2"], ["r1-0", "r1-3"], ["r1-1"]]
    press(page, "Enter")
    stub.wait_until(lambda: len(stub.acts) == 1)
    act = stub.acts[0]
    assert act["ranking"] == seen
    assert act["shown"] == ["r1-0", "r1-1", "r1-2", "r1-3"]
    assert act["stopped"] is False
    times = [("r1-2", 4), ("r1-0", 7), ("r1-3", 9), ("r1-1", 10)]
    assert [(one["id"], one["seconds"]) for one in act["placed"]] == times


def test_arrows_move_and_backspace_takes_back(open_page: Any, on_screen: Any) -> None:
    stub, page = open_page([ranking()])
    on_screen(page, "r1")
    press(page, "1 2 3")
    press(page, "ArrowUp")
    assert rail(page) == [["r1-0"], ["r1-2"], ["r1-1"]]
    press(page, "ArrowUp ArrowUp")  # it stays at the top
    assert rail(page) == [["r1-2"], ["r1-0"], ["r1-1"]]
    press(page, "Backspace")
    assert rail(page) == [["r1-0"], ["r1-1"]]
    press(page, "= 4")
    assert rail(page) == [["r1-0"], ["r1-1", "r1-3"]]
    press(page, "ArrowLeft")  # out of the tie
    assert rail(page) == [["r1-0"], ["r1-3"], ["r1-1"]]
    page.focus(entry(1))
    press(page, "ArrowLeft ArrowLeft")  # a focused entry moves and keeps the focus
    assert rail(page) == [["r1-1"], ["r1-0"], ["r1-3"]]
    press(page, "Delete")
    assert rail(page) == [["r1-0"], ["r1-3"]]
    press(page, "Shift+Enter")
    stub.wait_until(lambda: len(stub.acts) == 1)
    assert (stub.acts[0]["ranking"], stub.acts[0]["stopped"]) == ([["r1-0"], ["r1-3"]], True)


def test_a_ranking_of_four_by_dragging(open_page: Any, on_screen: Any) -> None:
    stub, page = open_page([ranking()])
    on_screen(page, "r1")
    drag(page, handle(1), FREE)
    drag(page, handle(3), FREE)
    assert rail(page) == [["r1-1"], ["r1-3"]]
    drag(page, handle(0), entry(1), along=0.05)  # before the first
    assert rail(page) == [["r1-0"], ["r1-1"], ["r1-3"]]
    drag(page, handle(2), entry(3))  # onto a card: a tie
    assert rail(page) == [["r1-0"], ["r1-1"], ["r1-3", "r1-2"]]
    drag(page, entry(0), entry(1), along=0.95)  # after the second
    assert rail(page) == [["r1-1"], ["r1-0"], ["r1-3", "r1-2"]]
    drag(page, entry(2), "#question-title")  # out of the rail
    assert rail(page) == [["r1-1"], ["r1-0"], ["r1-3"]]
    drag(page, handle(2), "[data-response=r1-0] .body")  # onto a card above: a tie with it
    seen = rail(page)
    assert seen == [["r1-1"], ["r1-0", "r1-2"], ["r1-3"]]
    press(page, "Enter")
    stub.wait_until(lambda: len(stub.acts) == 1)
    assert stub.acts[0]["ranking"] == seen


def test_dragging_by_touch_on_a_phone(open_page: Any, on_screen: Any) -> None:
    context = {"has_touch": True, "is_mobile": True}
    stub, page = open_page([ranking(count=3)], {"width": 390, "height": 844}, context)
    on_screen(page, "r1")
    touch = page.context.new_cdp_session(page)

    def move(kind: str, *points: tuple[float, float]) -> None:
        where = [{"x": x, "y": y} for x, y in points]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": where})

    for source in (handle(1), handle(0)):
        page.locator(source).scroll_into_view_if_needed()
        start, end = page.locator(source).bounding_box(), page.locator(FREE).bounding_box()
        move("touchStart", (start["x"] + 30, start["y"] + 20))
        for step in (0.3, 0.6, 1.0):
            x = start["x"] + 30 + step * (end["x"] + 20 - start["x"] - 30)
            y = start["y"] + 20 + step * (end["y"] + 20 - start["y"] - 20)
            move("touchMove", (x, y))
        move("touchEnd")
    page.wait_for_selector(entry(0))
    assert rail(page) == [["r1-1"], ["r1-0"]]
    page.tap("[data-response=r1-2] .place")
    page.tap("[data-action=submit]")
    stub.wait_until(lambda: len(stub.acts) == 1)
    assert stub.acts[0]["ranking"] == [["r1-1"], ["r1-0"], ["r1-2"]]


def test_a_click_on_a_card_places_it_and_another_takes_it_out(open_page: Any, on_screen: Any) -> None:
    _, page = open_page([ranking()])
    on_screen(page, "r1")
    for number in (2, 0, 2):
        page.click(f"[data-response=r1-{number}] .place")
    assert rail(page) == [["r1-0"]]


def test_best_and_worst_then_the_best_alone(open_page: Any, on_screen: Any) -> None:
    stub, page = open_page([ranking("bw", asks="best_worst"), ranking("best", 8, asks="best_of_k")])
    on_screen(page, "bw")
    press(page, "4 2 3 Enter")  # the third key finds no place left
    on_screen(page, "best")
    press(page, "8 Enter")
    stub.wait_until(lambda: len(stub.acts) == 2)
    both, alone = stub.acts
    assert (both["outcome"], both["best"], both["worst"], both["ranking"]) == ("ranked", "bw-3", "bw-1", None)
    assert (alone["outcome"], alone["best"], alone["worst"], alone["ranking"]) == ("ranked", "best-7", None, None)


def test_all_bad_and_all_good_and_skip(open_page: Any, on_screen: Any) -> None:
    stub, page = open_page([ranking("a"), ranking("b"), ranking("c")])
    for question, key in (("a", "b"), ("b", "g"), ("c", "s")):
        on_screen(page, question)
        press(page, key)
    stub.wait_until(lambda: len(stub.acts) == 3)
    assert [act["outcome"] for act in stub.acts] == ["all_bad", "all_good", "skip"]


def test_undo_brings_the_order_back(open_page: Any, on_screen: Any) -> None:
    stub, page = open_page([ranking(), *pairs(2)])
    on_screen(page, "r1")
    press(page, "2 = 1 4 3 Enter")
    on_screen(page, "q0")
    press(page, "u")
    on_screen(page, "r1")
    assert rail(page) == [["r1-1", "r1-0"], ["r1-3"], ["r1-2"]]
    press(page, "ArrowUp Enter")
    on_screen(page, "q0")
    stub.wait_until(lambda: len(stub.acts) == 1)
    assert stub.acts[0]["ranking"] == [["r1-1", "r1-0"], ["r1-2"], ["r1-3"]]
