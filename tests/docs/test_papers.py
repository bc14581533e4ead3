"""The map from papers to code: each row names a symbol, whose docstrings or comments name that place of the paper."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "methods" / "papers.md"
ROW = re.compile(r"^\| (?P<place>[^|]+) \| (?P<what>[^|]+) \| \[`(?P<label>[^`]+)`\]\((?P<link>[^)]+)\) \|$", re.M)
EQUATIONS = re.compile(r"(?:equations?|eqs?\.)\s((?:\(?\d+[ab]?\)?(?:,\s|\sand\s|\sto\s)?)+)", re.I)


class Row(NamedTuple):
    """A row of the map."""

    paper: str  # its arXiv identifier
    place: str
    label: str
    link: str


def rows() -> Iterator[Row]:
    for section in PAGE.read_text(encoding="utf-8").split("\n## ")[1:]:
        head, _, table = section.partition("\n| in the paper")
        assert table, head
        of_section = re.findall(r"arXiv (\d{4}\.\d{4,5})", " ".join(head.split()))
        assert len(table.strip().splitlines()) - 2 == len(ROW.findall(table)), "every row has this form"
        for row in ROW.finditer(table):
            paper = (re.findall(r"arXiv (\d{4}\.\d{4,5})", row["what"]) or of_section)[0]
            yield Row(paper, row["place"].rpartition(", ")[2], row["label"], row["link"])


ROWS = list(rows())


def texts(link: str) -> tuple[str, str]:
    """The docstring of a linked module, and the source of the linked symbol with that of the class it is in."""
    file, _, symbol = link.partition("#")
    source = (PAGE.parent / file).resolve().read_text(encoding="utf-8")
    tree = ast.parse(source)
    body, found = tree.body, []
    for name in symbol.split("."):
        node = next(n for n in body if name in names(n))
        found.append(ast.get_source_segment(source, node) or "")
        body = getattr(node, "body", [])
    return ast.get_docstring(tree) or "", "\n".join(found)


def names(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.ClassDef | ast.FunctionDef):
        return [node.name]
    return [ast.unparse(target) for target in node.targets] if isinstance(node, ast.Assign) else []


def places(text: str) -> set[str]:
    """The numbers of the equations that a text names, `3` or `6a`, and everything else as it is written."""
    return {number for found in EQUATIONS.findall(text) for number in re.findall(r"\d+[ab]?", found)}


def named(place: str, text: str) -> bool:
    """Whether a text names a place of a paper: each number of "equations (8) to (10)", or the words of any other."""
    if place.startswith("equation"):
        return set(re.findall(r"\d+[ab]?", place)) <= places(text)
    return re.search(rf"\b{re.escape(place)}(?![\d.]*\d)", " ".join(text.split()), re.I) is not None


@pytest.mark.parametrize("paper", sorted({row.paper for row in ROWS}))
def test_the_code_names_the_place_of_the_paper(paper: str) -> None:
    for row in ROWS:
        if row.paper == paper:
            module, symbol = texts(row.link)
            assert f"arXiv {paper}" in " ".join(f"{module} {symbol}".split()), f"{row.label} does not name its paper"
            assert named(row.place, f"{module}\n{symbol}"), f"{row.label} does not name {row.place}"


def test_the_label_of_a_row_is_the_symbol_that_it_links_to() -> None:
    for row in ROWS:
        module, _, symbol = row.label.partition(":")
        assert row.link == f"../../src/duelist/{module.replace('.', '/')}.py#{symbol}"


def test_a_place_that_is_not_named_is_noticed() -> None:
    text = "Lin et al., equations (3) and (4), Section 3.3; see eq. (11)."
    there, absent = (
        ("equation (3)", "equations (3) and (4)", "Section 3.3", "equation (11)"),
        ("equation (1)", "Section 3"),
    )
    assert [place for place in (*there, *absent) if named(place, text)] == list(there)


def test_the_four_papers_are_mapped() -> None:
    of = {paper: {row.place for row in ROWS if row.paper == paper} for paper in {row.paper for row in ROWS}}
    assert {"equation (2)", "equation (3)", "equation (4)", "Algorithm 1"} <= of["2505.19241"]
    assert {f"equation ({n})" for n in (3, 4, 5, 6, 7, 11)} <= of["2502.04354"]
    assert {"equations (6a) and (6b)", "equation (7)", "Algorithm 1", "Lemma 4.4"} <= of["2502.04270"]
    assert {"equation (4)", "equation (6)"} <= of["2406.17312"]
