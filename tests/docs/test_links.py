"""Every relative link of the documentation leads to a file, and its anchor to a heading or a symbol there."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *(ROOT / "recipes").rglob("*.md")])
MARKDOWN = MarkdownIt("commonmark").enable("table")


@cache
def tokens(page: Path) -> list[Token]:
    return MARKDOWN.parse(page.read_text(encoding="utf-8"))


def targets(page: Path) -> Iterator[str]:
    """What a page links to and shows, other than web addresses."""
    for block in tokens(page):
        for token in block.children or []:
            target = str(token.attrGet("href") or token.attrGet("src") or "")
            if target and "://" not in target and not target.startswith("mailto:"):
                yield target


@cache
def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    found: set[str] = set()
    blocks = tokens(page)
    for heading, inline in pairwise(blocks):
        if heading.type == "heading_open":
            text = "".join(t.content for t in inline.children or [])
            slug = re.sub(r"[^\w\- ]", "", text.lower()).strip().replace(" ", "-")
            found.add(slug if slug not in found else f"{slug}-1")
    return found


@cache
def symbols(module: Path) -> set[str]:
    """The names that a module and its classes define: `f`, `Class`, `Class.method`, `CONSTANT`."""
    return set(defined(ast.parse(module.read_text(encoding="utf-8")).body, ""))


def defined(body: list[ast.stmt], prefix: str) -> Iterator[str]:
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            yield prefix + node.name
        if isinstance(node, ast.ClassDef):
            yield from defined(node.body, f"{node.name}.")
        if isinstance(node, ast.Assign | ast.AnnAssign):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                yield prefix + ast.unparse(target)


def broken(page: Path, target: str) -> bool:
    file, _, fragment = target.partition("#")
    path = (page.parent / file).resolve() if file else page
    if not path.exists():
        return True
    if not fragment:
        return False
    return fragment not in (symbols(path) if path.suffix == ".py" else anchors(path))


@pytest.mark.parametrize("folder", [".", "docs", "recipes"])
def test_every_link_leads_somewhere(folder: str) -> None:
    pages = [page for page in PAGES if str(page.relative_to(ROOT).parent).partition("/")[0] == folder]
    assert pages
    assert [(str(page.relative_to(ROOT)), t) for page in pages for t in targets(page) if broken(page, t)] == []


def test_a_broken_link_is_noticed() -> None:
    page = DOCS / "index.md"
    assert not broken(page, "evidence.md#rankings") and broken(page, "evidence.md#no-such-heading")
    module = "../src/duelist/acquisition/base.py"
    assert not broken(page, f"{module}#choose") and broken(page, f"{module}#chose") and broken(page, "nowhere.md")


def listed(nav: object) -> Iterator[str]:
    """The pages of a navigation."""
    if isinstance(nav, str):
        yield nav
    elif isinstance(nav, list | dict):
        for inner in nav.values() if isinstance(nav, dict) else nav:
            yield from listed(inner)


def test_every_page_is_in_the_navigation_once() -> None:
    """Decisions are listed on a page of their own, tables of evidence on theirs; public names have generated pages."""
    nav = list(listed(tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))["project"]["nav"]))
    assert len(nav) == len(set(nav))
    pages = {str(page.relative_to(DOCS).with_suffix(".md")) for page in [*DOCS.rglob("*.md"), *DOCS.rglob("*.ipynb")]}
    decisions = {page for page in pages if page.startswith("adr/0")}
    tables = {page for page in pages if page.startswith("evidence/")}
    names = (DOCS / "api.md").read_text(encoding="utf-8")
    generated = {f"reference/api/{name}.md" for name in re.findall(r"^(?:## |- `)(duelist[\w.]*)", names, re.M)}
    generated |= {"repository/CHANGELOG.md", "repository/CONTRIBUTING.md"}
    assert set(nav) == pages - decisions - tables | generated, "each page is a line in `nav` of zensical.toml"
    assert decisions == set(targets(DOCS / "decisions.md"))


def test_lists_and_code_are_seen_by_the_site_too() -> None:
    """Python-Markdown, which the site uses, begins no list within a paragraph, and nests by four spaces."""
    wrong = []
    for page in PAGES:
        fenced = continued = False
        for before, line in pairwise(["", *page.read_text(encoding="utf-8").splitlines()]):
            indented = len(line) - len(line.lstrip())
            block = re.match(r" *([-*] |\d+\. |```)", line) or (not before and line)
            begins_list = re.match(r"[-*] |1\. ", line) and before and not before.startswith((" ", "- ", "* ", "#"))
            continued = bool(line) and (continued if before else indented >= 4)  # a paragraph within an item
            ends_none = continued and not indented  # the next item, taken for more of that paragraph
            if not fenced and ((block and indented % 4) or begins_list or ends_none):
                wrong.append((str(page.relative_to(ROOT)), line))
            fenced ^= line.lstrip().startswith("```")
    assert wrong == []
