"""Hostile texts: they are shown for what they are, and can neither run nor hide."""

from __future__ import annotations

from typing import Any

import pytest
from page_questions import pairs, question, response, turn

pytestmark = pytest.mark.full

ATTACK = '<img src=x onerror="window.broken=1"><script>window.broken=1</script>\'"&</script>'


def untouched(page: Any) -> None:
    assert page.evaluate("window.broken") is None
    assert page.locator("main img, main script, .bottom img, header img, dialog img").count() == 0


def test_texts_and_names_with_markup_are_never_interpreted(open_page: Any, on_screen: Any) -> None:
    stub, page = open_page(
        [question("q", [f"{ATTACK} one", f"{ATTACK} two"], prompt=ATTACK), *pairs(1)],
        study=ATTACK,
        annotator={"name": ATTACK, "role": "annotator"},
        reasons=[ATTACK],
    )
    on_screen(page, "q")
    assert ATTACK in page.inner_text("header h1")
    assert ATTACK in page.inner_text("header bdi")
    assert ATTACK in page.inner_text("#details")
    page.keyboard.press("d")
    page.wait_for_selector("ins")
    assert page.inner_text(".plain >> nth=0") == f"{ATTACK} one"
    page.check(".chip input")
    page.keyboard.press("c")
    page.keyboard.insert_text(ATTACK)
    page.keyboard.press("Control+Enter")
    page.click("[data-action=tie]")
    on_screen(page, "q0")
    stub.wait_until(lambda: len(stub.acts) == 1)
    assert (stub.acts[0]["comment"], stub.acts[0]["reasons"]) == (ATTACK, [ATTACK])
    page.keyboard.press("u")
    on_screen(page, "q")
    assert page.input_value("#comment") == ATTACK
    untouched(page)


def test_an_identifier_with_markup_and_quotes_is_only_an_identifier(open_page: Any) -> None:
    hostile = question("q", ["one", "two", "three"], asks="ranking")
    hostile["question_id"] = ATTACK
    hostile["prompt"] = [turn("Hello", role=ATTACK), turn("Again")]
    for number, one in enumerate(hostile["responses"]):
        one["id"] = f'{ATTACK}"]{number}'
    stub, page = open_page([hostile])
    page.wait_for_selector("[data-response]")
    for key in ("1", "2", "3"):
        page.keyboard.press(key)
    page.focus("#rail .entry")
    page.keyboard.press("ArrowDown")
    page.click("[data-action=submit]")
    stub.wait_until(lambda: len(stub.acts) == 1)
    assert [group[0][-1] for group in stub.acts[0]["ranking"]] == ["1", "0", "2"]
    untouched(page)


def test_the_policy_stops_what_a_sanitiser_might_let_through(open_page: Any, on_screen: Any) -> None:
    markup = (
        '<p onclick="window.broken=1" style="position:fixed">one</p><img src="https://elsewhere.invalid/pixel.png">'
        '<img src="data:," onerror="window.broken=1"><a href="javascript:window.broken=1">two</a>'
        "<script>window.broken=1</script><style>body{display:none}</style>"
    )
    bad = question("q", ["one", "two"])
    bad["responses"][0] = response("q-0", "one", markup)
    stub, page = open_page([bad, *pairs(1)], quiet=False)
    on_screen(page, "q")
    page.click("#responses p >> text=one")
    page.click("#responses a")
    page.keyboard.press("1")
    on_screen(page, "q0")
    stub.wait_until(lambda: len(stub.acts) == 1)
    assert page.evaluate("window.broken") is None


def test_invisible_and_reordering_characters_are_named_in_the_differences(open_page: Any, on_screen: Any) -> None:
    hidden = ["safe \u202etxt.exe", "safe \u200b\u0007txt.exe and a family \U0001f468\u200d\U0001f469"]
    _, page = open_page([question("q", hidden)])
    on_screen(page, "q")
    page.keyboard.press("d")
    page.wait_for_selector(".plain")
    assert page.inner_text(".plain >> nth=0") == "safe ⟨U+202E⟩txt.exe"
    assert page.inner_text(".plain >> nth=1") == "safe ⟨U+200B⟩⟨U+0007⟩txt.exe and a family \U0001f468\u200d\U0001f469"


def test_a_text_of_a_megabyte_does_not_stop_the_page(open_page: Any, on_screen: Any) -> None:
    long = [" ".join(f"{letter}{i}" for i in range(120_000)) for letter in "ab"]
    stub, page = open_page([question("q", long), *pairs(1)])
    on_screen(page, "q")
    page.keyboard.press("d")
    page.wait_for_selector("#said:has-text('too long and too different')")
    page.keyboard.press("2")
    on_screen(page, "q0")
    stub.wait_until(lambda: len(stub.acts) == 1)


def test_a_better_answer_stays_under_the_limit_of_a_request(open_page: Any, on_screen: Any) -> None:
    stub, page = open_page(pairs(2), write_better=True)
    on_screen(page, "q0")
    page.keyboard.press("b")
    page.fill("#better-text", "水" * 12_000)
    page.keyboard.press("Control+Enter")
    on_screen(page, "q1")
    stub.wait_until(lambda: len(stub.acts) == 1)  # the stub notes a body above 64 KiB as a breach
    assert stub.acts[0]["better"] == "水" * 12_000
