"""Rendering of hostile texts: nothing runs, nothing hides, nothing is lost."""

from __future__ import annotations

import re
import string
from collections.abc import Iterator
from html.parser import HTMLParser

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pygments.lexers import get_lexer_by_name

from duelist.web.characters import is_hidden, visible
from duelist.web.rendering import LANGUAGES, LONGEST_RICH, render

# Written here again, so that a change of the allow-list is a change of this test.
ALLOWED = {
    *("p", "br", "em", "strong", "s", "code", "pre", "blockquote", "ul", "ol", "li", "hr", "span", "div"),
    *("table", "thead", "tbody", "tr", "th", "td"),
}


class Page(HTMLParser):
    """What a browser would see: elements, attributes, text."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text: list[str] = []
        self.other: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def handle_comment(self, data: str) -> None:
        self.other.append(data)

    handle_decl = handle_pi = unknown_decl = handle_comment


def require_harmless(html: str) -> None:
    page = Page(html)
    assert set(page.tags) <= ALLOWED and page.other == []
    for _, name, value in page.attributes:
        assert name in ("class", "start", "title"), name
        if name == "title":
            assert value.startswith("U+")
        assert not value.lower().strip().startswith("javascript:") and "<" not in value
    assert not any(is_hidden(c) for c in "".join(page.text) if c not in "\u200c\u200d\ufe0f")


ATTACKS = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg/onload=alert(1)>",
    "[click](javascript:alert(1))",
    "[click](JaVaScRiPt&#58;alert(1))",
    "[click](data:text/html;base64,PHNjcmlwdD4=)",
    "![x](http://evil/track.png)",
    '![x"onerror="alert(1)](http://evil)',
    "<javascript:alert(1)>",
    "```<script>alert(1)</script>\n</code></pre><script>\n```",
    '```python" onload="alert(1)\nx\n```',
    "<iframe src=//evil></iframe>",
    "<style>*{display:none}</style>",
    "<!-- hidden -->",
    "<a href='http://evil' style='position:fixed'>x</a>",
    "| <script> |\n|---|\n| <b onclick=x> |",
    "[a]: javascript:alert(1) 'title'\n\n[a]",
    "`<script>`",
    "\\<script>",
    "$<script>alert(1)</script>$",
    "\u202egnp.exe\u202c",
    "\U000e0041\U000e0042",
    "<scr\0ipt>",
    "<scr\u200bipt>",
    "<math><mtext></p><style><img src=x onerror=alert(1)>",
    "&lt;script&gt;",
]


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("around", ["{}", "> {}", "- {}", "# {}", "**{}**", "```html\n{}\n```", "| a |\n|---|\n| {} |"])
def test_attacks_are_shown_for_what_they_are(attack: str, around: str) -> None:
    require_harmless(render(around.format(attack)))


CODES = re.compile(r'<span class="control" title="U\+[^"<>]*">U\+[0-9A-F]{4,6}</span>|⟦U\+[0-9A-F]{4,6}⟧')


def letters(text: str) -> str:
    """A text without what markdown uses as markup, and without what is shown by its code."""
    return "".join(c for c in text if c not in string.punctuation + string.whitespace and not is_hidden(c))


def shown_letters(html: str) -> str:
    """The text of a page in order, without the codes of hidden characters."""
    return letters("".join(Page(CODES.sub("", html)).text))


PIECES = st.sampled_from(
    [
        *"*_`~#>|-[]()!\\$<&;:\"'\n\n\n  ",
        *("\n\n", "```", "```python\n", "](", "![", "http://a.b", "<script>", "x", "y z", "    ", "\t", "on", "style="),
        *(
            "\u202e",
            "\u200b",
            "\0",
            "\ud800",
            "é",
            "عربي",
            "1. ",
            "- ",
            "| a | b |\n|---|---|\n",
            "&amp;",
            "\\(",
            "\\)",
        ),
        *("javascript:", "\r", "\u2028", "\x0c", "\x85", "👨\u200d👩\u200d👧"),
    ]
)
TEXTS = st.one_of(st.text(max_size=60), st.lists(PIECES, max_size=40).map("".join))


@given(TEXTS)
@example("| a |\n|---|\n| 1 | hidden |")
@example("[//]: # (hidden)")
@example('[x](http://a "hidden")')
@example("```python hidden\n```")
def test_whatever_the_text_nothing_runs_and_nothing_is_lost(text: str) -> None:
    html = render(text)
    require_harmless(html)
    html.encode()
    wanted, found = letters(text), shown_letters(html)
    assert is_subsequence(without_list_numbers(wanted), found), (wanted, found)


def without_list_numbers(text: str) -> str:
    return "".join(c for c in text if not c.isdigit())  # a list's numbers are drawn by the browser


def is_subsequence(wanted: str, found: str) -> bool:
    rest: Iterator[str] = iter(found)
    return all(c in rest for c in wanted)


def test_markdown_is_rendered() -> None:
    html = render(
        "# Title\n\n*a* **b** `c`\n\n1. one\n2. two\n\n| h |\n|--:|\n| x |\n\n> q\n\n```python\ndef f(): pass\n```"
    )
    for part in (
        '<p class="heading-1">Title</p>',
        "<em>a</em> <strong>b</strong> <code>c</code>",
        "<ol>\n<li>one</li>",
        '<td class="align-right">x</td>',
        "<blockquote>",
        '<p class="language">python</p>',
        '<span class="k">def</span>',
    ):
        assert part in html


def test_links_and_images_are_text_with_their_address() -> None:
    assert render("[here](http://a.b/c)") == '<p>here<span class="url"> (http://a.b/c)</span></p>\n'
    assert render("<http://a.b>") == "<p>http://a.b</p>\n"
    assert 'cat<span class="url"> (x.png "t")</span>' in render('![cat](x.png "t")')


@pytest.mark.parametrize(
    "latex",
    [r"\(a_1 \\ b*c*d\)", "$x_1*y*z$", r"$$\frac{a}{b}$$", r"\[ \{x\} \]", r"\begin{align}a &= b\\ c\end{align}"],
)
def test_latex_stays_text(latex: str) -> None:
    assert "".join(Page(render(f"so {latex} it is")).text).strip() == f"so {latex} it is"


def test_prices_are_not_latex() -> None:
    assert "<em>b</em>" in render("costs $5, *b* and $6 more")


def test_hidden_characters_are_shown_by_their_code() -> None:
    assert render("a\u202eb") == '<p>a<span class="control" title="U+202E RIGHT-TO-LEFT OVERRIDE">U+202E</span>b</p>\n'
    assert ">U+0000</span>" in render("a\0b") and ">U+D800</span>" in render("a\ud800b")
    assert ">U+200B</span>" in render("`a\u200bb`")
    assert visible("a\u200bb\nc") == "a⟦U+200B⟧b\nc"


@pytest.mark.parametrize("text", ["👨‍👩‍👧", "❤️", "می‌خواهم", "क्‍ष", "naïve ﬁ", "a\tb"])
def test_ordinary_text_is_left_alone(text: str) -> None:
    assert visible(text) == text
    assert "control" not in render(text)


def test_what_markdown_would_hide_is_shown_plain() -> None:
    html = render("| a |\n|---|\n| 1 | secret |")
    assert "secret" in html and 'class="note"' in html
    assert "secret" in render("[//]: # (secret)")


def test_long_texts_are_plain_and_complete() -> None:
    text = "<b>\u202e word </b>\n" * 70_000
    html = render(text)
    assert len(text) > 1_000_000 and html.count("⟦U+202E⟧") == 70_000 and "1,050,000 characters" in html
    require_harmless(html[: html.index("word")] + "</div>")


HARD = ["[", "![", "*a ", "_*", "](", "[a](", "\\(", "$a ", ">", "- ", "|a", "<", "`", "(("]


@pytest.mark.full
@pytest.mark.parametrize("piece", HARD)
@pytest.mark.parametrize("language", ["", "java", "scala", "cpp"])
def test_no_text_takes_long(piece: str, language: str) -> None:
    """The time limit of a test stands for seconds: what is quadratic here is cut, what is exponential would hang."""
    body = piece * (LONGEST_RICH // len(piece) - 20)
    render(f"```{language}\n{body[:5000]}\n```" if language else body)


def test_every_language_has_a_lexer() -> None:
    assert all(get_lexer_by_name(name) for name in LANGUAGES)
