"""A study's questions as people see them."""

from __future__ import annotations

from duelist.types import Prompt, Question, Response
from duelist.web.items import ItemMessage
from duelist.web.study_items import item_of


def test_a_message_in_parts_is_shown_as_its_text() -> None:
    parts = [{"type": "text", "text": "What is this?"}, {"type": "image", "image": "x.png"}]
    messages = ({"role": "system", "content": "Be brief."}, {"role": "user", "content": parts})
    prompt = Prompt("p", messages, False, {})
    a, b = (Response(f"r{i}", "p", text, (1,), (2,), 1) for i, text in enumerate(("a cat", "a dog")))
    item = item_of(Question.pair(a, b, 1), {"p": prompt})
    assert item.prompt == (ItemMessage("system", "Be brief."), ItemMessage("user", "What is this?\n[image]"))
    assert {r.text for r in item.responses} == {"a cat", "a dog"}
