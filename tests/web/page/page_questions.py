"""Made-up questions for the labelling page: short ones for the keyboard, rich ones for the pictures."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name

Question = dict[str, Any]


def response(identity: str, text: str, markup: str | None = None) -> dict[str, str]:
    """Return a response; without `markup` its HTML is one paragraph of the escaped text."""
    return {"id": identity, "text": text, "html": markup or f"<p>{html.escape(text)}</p>", "direction": "auto"}


def turn(text: str, role: str = "user", markup: str | None = None) -> dict[str, str]:
    return {"role": role, "text": text, "html": markup or f"<p>{html.escape(text)}</p>"}


def question(
    identity: str, texts: Sequence[str], asks: str = "pair", prompt: str = "Name a colour and say why you like it."
) -> Question:
    """Return a question whose responses have the ids `identity-0`, `identity-1`, ..."""
    responses = [response(f"{identity}-{index}", text) for index, text in enumerate(texts)]
    return {"question_id": identity, "asks": asks, "prompt": [turn(prompt)], "responses": responses}


def pairs(count: int) -> list[Question]:
    return [
        question(f"q{i}", [f"Blue number {i}: like the sea.", f"Green number {i}: like a wood."]) for i in range(count)
    ]


def ranking(identity: str = "r1", count: int = 4, asks: str = "ranking") -> Question:
    texts = [
        "Boil the water, then steep the leaves for three minutes. Taste before you steep longer.",
        "Use any tea. Hot water from the tap is fine.",
        "Warm the pot first. One spoon of leaves a cup and one for the pot; water just off the boil; four minutes.",
        "Tea is a drink that was first made in China. There are many kinds of tea, and each has its own history.",
        "Steep it cold overnight.",
        "Microwave the bag for a minute in cold water.",
        "Ask somebody who likes tea.",
        "Pour boiling water on the leaves and wait.",
    ]
    return question(identity, texts[:count], asks, "How do I make a good cup of black tea?")


def _code(source: str, language: str = "python") -> str:
    inside = highlight(source, get_lexer_by_name(language), HtmlFormatter(nowrap=True))
    return f"<pre><code>{inside}</code></pre>"


def rich_pair() -> Question:
    """A conversation with code, a table and LaTeX, as a real study has them."""
    first = (
        "<p>Use <code>functools.cache</code>: each value is computed once, so the cost falls from "
        '$O(\\varphi^n)$ to $O(n)$.</p><p class="language">python</p>'
        + _code(
            "from functools import cache\n\n\n@cache\ndef fibonacci(n: int) -> int:\n"
            '    """Return the n-th Fibonacci number."""\n    return n if n < 2 else '
            "fibonacci(n - 1) + fibonacci(n - 2)  # each n once\n"
        )
        + "<p>Recursion is still as deep as <em>n</em>. Above about 900 you need the loop:</p>"
        '<table><thead><tr><th>n</th><th class="align-right">plain</th><th>cached</th></tr></thead><tbody>'
        "<tr><td>20</td><td>1.9 ms</td><td>0.01 ms</td></tr><tr><td>30</td><td>230 ms</td><td>0.01 ms</td></tr>"
        "</tbody></table>"
    )
    second = (
        '<p class="heading-2">A loop</p><p>It is faster with a loop, which needs no memory of earlier calls:</p>'
        + _code("def fibonacci(n):\n    a, b = 0, 1\n    for _ in range(n):\n        a, b = b, a + b\n    return a\n")
        + "<ol><li>Start with <code>0</code> and <code>1</code>.</li><li>Replace the two numbers <em>n</em> times by "
        "the next ones.</li><li>Return the first.</li></ol><p>It takes <strong>n steps</strong> and works for any "
        "<em>n</em>. For very large numbers there is a formula by squaring that takes about $2\\log_2 n$ "
        "multiplications.</p>"
    )
    hidden = '<span class="control" title="ZERO WIDTH SPACE">U+200B</span>'
    prompt = [
        turn("How do I compute Fibonacci numbers in Python?"),
        turn(
            "Call the function for the two smaller numbers and add the results.",
            "assistant",
            "<p>Call the function for the two smaller numbers and add the results:</p>"
            + _code("def fibonacci(n):\n    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)\n"),
        ),
        turn(
            "That takes minutes for n = 40.\u200b Faster?",
            markup=f"<p>That takes minutes for n = 40.{hidden} Faster?</p>",
        ),
    ]
    responses = [response("rich-0", "Use functools.cache.", first), response("rich-1", "Use a loop.", second)]
    return {"question_id": "rich", "asks": "pair", "prompt": prompt, "responses": responses}


def nearly_equal_pair() -> Question:
    text = "The Danube is 2,850 km long and flows through {} countries, more than any other river. It rises in {}."
    return question(
        "near",
        [text.format("ten", "the Black Forest"), text.format("eleven", "the Alps")],
        prompt="Tell me about the Danube.",
    )


def right_to_left_pair() -> Question:
    pair = question("rtl", ["القهوة مشروب يُحضَّر من بذور البن المحمصة.", "البن نبات."], prompt="ما هي القهوة؟")
    pair["responses"][0]["html"] += "<p>Coffee comes from Ethiopia.</p>"
    return pair
