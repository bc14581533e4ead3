"""Safe HTML of prompts and responses, which are hostile until shown otherwise.

Markdown (CommonMark, tables, strikethrough) without raw HTML, links as text with their address, images as text, code
highlighted, LaTeX left as it is, and hidden characters shown by their code. The HTML then passes an allow-list of tags
and classes, and it is compared with the source: a text that markdown would hide in part (cells beyond a table's
columns, say) is shown plain, as are very long texts.
"""

from __future__ import annotations

import re
import string
from collections.abc import MutableMapping, Sequence
from functools import lru_cache
from html import escape, unescape
from typing import Any

import nh3
from markdown_it import MarkdownIt
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.token import STANDARD_TYPES

from duelist.web.characters import code_of, map_text, name_of, visible

LONGEST_RICH = 20_000  # characters; longer texts are shown plain
LONGEST_CODE = 6_000  # characters of highlighted code in one text: some lexers take quadratic time
LONGEST_MATH = 4_000
LANGUAGES = {
    *("bash", "c", "c++", "console", "cpp", "cs", "csharp", "css", "diff", "go", "haskell", "html", "ini", "java"),
    *("javascript", "js", "json", "jsx", "julia", "kotlin", "latex", "lua", "make", "objective-c", "perl", "php"),
    *("powershell", "py", "python", "r", "rb", "ruby", "rust", "scala", "sh", "shell", "sql", "swift", "tex", "toml"),
    *("ts", "tsx", "typescript", "xml", "yaml", "yml"),
}
_TAGS = {
    *("p", "br", "em", "strong", "s", "code", "pre", "blockquote", "ul", "ol", "li", "hr", "span", "div"),
    *("table", "thead", "tbody", "tr", "th", "td"),
}
_ALIGNED = {"align-left", "align-center", "align-right"}
_CLASSES = {
    "span": {c for c in STANDARD_TYPES.values() if c} | {"url"},
    "p": {f"heading-{n}" for n in range(1, 7)} | {"language"},
    "th": _ALIGNED,
    "td": _ALIGNED,
}
_FORMATTER: HtmlFormatter[str] = HtmlFormatter(nowrap=True)
_MATH = {"$$": "$$", "$": "$", r"\(": r"\)", r"\[": r"\]"}
_ENVIRONMENT = re.compile(r"\\begin\{([a-zA-Z]{1,20}\*?)\}")
_IGNORED = str.maketrans("", "", string.punctuation + string.whitespace)
_TAG = re.compile(r"(<[^<>]*>)")
# markdown-it would drop NUL, and half a surrogate pair cannot be sent: both wait in a private plane.
_PLANE = 0xF0000
_ASIDE = {code: _PLANE + code for code in (0, *range(0xD800, 0xE000))}
_BACK = {chr(place): chr(code) for code, place in _ASIDE.items()}


def render(text: str) -> str:
    """Return the HTML of a text. It holds no script, link, image, style or attribute that the text could choose."""
    if len(text) > LONGEST_RICH:
        note = f"Shown as plain text, because it has {len(text):,} characters."
        return f'<p class="note">{note}</p>{plain(text)}'
    return _rich(text)


@lru_cache(maxsize=512)
def _rich(text: str) -> str:
    kept = text.translate(_ASIDE)
    parser = _parser()
    tokens = parser.parse(kept)
    if "".join(_said(tokens)).translate(_IGNORED) != _normalised(kept).translate(_IGNORED):
        return f'<p class="note">Shown as plain text, because markdown would hide a part of it.</p>{plain(text)}'
    html = parser.renderer.render(tokens, parser.options, {})
    clean = nh3.clean(html, tags=_TAGS, attributes={"ol": {"start"}}, allowed_classes=_CLASSES, link_rel=None)
    return "".join(part if part.startswith("<") else _marked(part) for part in _TAG.split(clean))


def plain(text: str) -> str:
    """Return the HTML of a text as it stands, with hidden characters shown."""
    return f'<div class="plain">{escape(visible(text), quote=False)}</div>'


def _normalised(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _marked(escaped: str) -> str:
    return map_text(unescape(escaped), lambda piece: escape(piece, quote=False), _mark)


@lru_cache(maxsize=4096)
def _mark(character: str) -> str:
    character = _BACK.get(character, character)
    return f'<span class="control" title="{escape(name_of(character))}">{code_of(character)}</span>'


# Markdown


@lru_cache(maxsize=1)
def _parser() -> MarkdownIt:
    # Definitions of references would vanish from the text, and entities would be shown as what they stand for.
    parser = MarkdownIt("commonmark", {"html": False, "breaks": True})
    parser.enable(["table", "strikethrough"]).disable(["reference", "entity", "html_block", "html_inline"])
    parser.inline.ruler.before("escape", "math", _math)
    parser.core.ruler.push("harmless", _harmless)
    parser.normalizeLink = lambda url: url  # type: ignore[method-assign]
    parser.normalizeLinkText = lambda link: link  # type: ignore[method-assign]
    parser.validateLink = lambda url: True  # type: ignore[method-assign]
    parser.renderer.rules["fence"] = parser.renderer.rules["code_block"] = _code  # type: ignore[attr-defined]
    return parser


def _math(state: StateInline, silent: bool) -> bool:
    r"""Leave LaTeX as it stands: `$…$`, `$$…$$`, `\(…\)`, `\[…\]` and environments."""
    source, start = state.src, state.pos
    if source[start] not in "$\\":
        return False
    environment = _ENVIRONMENT.match(source, start)
    if environment is not None:
        opening, closing = environment.group(), f"\\end{{{environment.group(1)}}}"
    else:
        opening = source[start : start + 2]
        if opening not in _MATH:
            opening = source[start]
        if opening not in _MATH:
            return False
        closing = _MATH[opening]
    inside = start + len(opening)
    end = source.find(closing, inside, min(state.posMax, inside + LONGEST_MATH))
    content = source[inside:end]
    if end < 0 or not content.strip():
        return False
    after = source[end + 1 : end + 2]
    if opening == "$" and (content[0].isspace() or content[-1].isspace() or after.isdigit() or "\n\n" in content):
        return False  # two prices, say
    if not silent:
        state.push("text", "", 0).content = source[start : end + len(closing)]
    state.pos = end + len(closing)
    return True


def _harmless(state: Any) -> None:
    """Turn headings into paragraphs of a class, links and images into text, and alignment into a class."""
    for token in state.tokens:
        if token.type in ("heading_open", "heading_close"):
            if token.nesting == 1:
                token.attrSet("class", f"heading-{token.tag[1]}")
            token.tag = "p"
        elif token.type in ("th_open", "td_open"):
            style = str(token.attrs.pop("style", ""))
            if style.startswith("text-align:"):
                token.attrSet("class", f"align-{style.removeprefix('text-align:')}")
        elif token.type == "inline":
            token.children = _without_links(token.children or [])


def _without_links(children: Sequence[Token]) -> list[Token]:
    found: list[Token] = []
    targets: list[tuple[str, bool]] = []
    for token in children:
        if token.type == "link_open":
            targets.append((_target(token, "href"), token.markup == "autolink"))
        elif token.type == "link_close":
            target, automatic = targets.pop()
            if not automatic:  # else its text is the address
                found += _url(target)
        elif token.type == "image":
            found += [*_without_links(token.children or []), *_url(_target(token, "src"))]
        else:
            found.append(token)
    return found


def _target(token: Token, attribute: str) -> str:
    title = token.attrGet("title")
    return f"{token.attrGet(attribute)}" + (f' "{title}"' if title else "")


def _url(target: str) -> list[Token]:
    before, text, after = Token("url_open", "span", 1), Token("text", "", 0), Token("url_close", "span", -1)
    before.attrSet("class", "url")
    text.content = f" ({target})"
    return [before, text, after]


def _said(tokens: Sequence[Token]) -> list[str]:
    """Return every text that a reader will see, in order: numbers of lists and names of languages included."""
    found = []
    for token in tokens:
        if token.type == "inline":
            found += _said(token.children or [])
        elif token.type == "fence":
            found += [token.info, token.content]
        elif token.type == "list_item_open":
            found.append(token.info)
        else:
            found.append(token.content)
    return found


# Code


def _code(tokens: Sequence[Token], index: int, options: Any, environment: MutableMapping[str, Any]) -> str:
    token = tokens[index]
    information = token.info.strip()
    caption = f'<p class="language">{escape(information)}</p>' if information else ""
    language = information.split(maxsplit=1)[0] if information else ""
    budget = environment.get("highlighted", LONGEST_CODE) - len(token.content)
    if budget < 0 or language.lower() not in LANGUAGES:
        shown = escape(token.content)
    else:
        environment["highlighted"] = budget
        shown = _highlighted(token.content, language.lower())
    return f"{caption}<pre><code>{shown}</code></pre>\n"


def _highlighted(code: str, language: str) -> str:
    lexer = get_lexer_by_name(language, stripnl=False, ensurenl=False)
    return str(highlight(code, lexer, _FORMATTER))
