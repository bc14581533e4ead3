"""Every shipped method has its section: picture, reference, formula, when to use it, what we measured."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from duelist.cli.methods import Method, list_methods
from duelist.recipe.components import COMPONENTS

METHODS = Path(__file__).parents[2] / "docs" / "methods"
LISTED = list_methods()
PARTS = ("Formula", "When to use it", "Measured")
KINDS = ("acquisition", "acquisition setting", "sampler", "pairing", "featurizer", "annotator", "trainer")


def links() -> dict[tuple[str, str], str]:
    """Where the page of all methods says that each is described, by kind and name. It has a table for each kind."""
    _, *tables = (METHODS / "index.md").read_text(encoding="utf-8").split("\n|---")
    rows = [re.findall(r"^\| \[`(\w+)`\]\(([^)]+)\) \|", table, re.M) for table in tables]
    return {(kind, name): target for kind, found in zip(KINDS, rows, strict=True) for name, target in found}


def page_and_section(method: Method) -> tuple[str, str]:
    """The text of the page that describes a method, and what is under the method's heading there."""
    file, _, anchor = links()[method.kind, method.name].partition("#")
    text = (METHODS / (file or "index.md")).read_text(encoding="utf-8")
    if not anchor:
        return text, text
    _, found, rest = text.partition(f"\n## `{method.name}`\n")
    assert found, f"{file} has no heading for {method.name}"
    return text, rest.partition("\n## ")[0]


def part(text: str, name: str) -> str:
    """What a section says under a heading, or after a bold word."""
    begin = re.search(rf"^(\*\*{name}[.:]?\*\*|## {name}\n)", text, re.M)
    assert begin, f"no {name}"
    ends = "|".join(rf"\*\*{other}|## " for other in PARTS)
    return re.split(rf"^(?:{ends})", text[begin.end() :], maxsplit=1, flags=re.M)[0].strip()


def test_the_page_of_methods_lists_exactly_those_that_ship() -> None:
    shipped = {(kind, name) for kind, table in COMPONENTS.items() if kind != "reward" for name in table}
    assert set(links()) == {(m.kind, m.name) for m in LISTED} == shipped | {("acquisition setting", "lure")}


@pytest.mark.parametrize("kind", KINDS)
def test_every_method_has_its_section(kind: str) -> None:
    for method in LISTED:
        if method.kind == kind:
            _, text = page_and_section(method)
            assert all(len(part(text, name)) > 4 for name in PARTS), method.name
            measured = part(text, "Measured")
            assert re.search(r"\]\(\S+\.md|[Nn]ot (been )?measured", measured), method.name


@pytest.mark.parametrize("kind", KINDS)
def test_every_method_has_a_reference_that_its_page_names(kind: str) -> None:
    for method in LISTED:
        if method.kind == kind:
            assert method.reference and method.summary and method.formula, method.name
            papers = re.findall(r"arXiv (\d{4}\.\d{4,5})", method.reference)
            page, _ = page_and_section(method)
            assert [paper for paper in papers if f"arXiv {paper}" not in " ".join(page.split())] == [], method.name


def test_every_rule_shows_what_it_picks() -> None:
    gallery = (METHODS.parent / "gallery.md").read_text(encoding="utf-8")
    for method in LISTED:
        if method.kind == "acquisition":
            picture = f"gallery/{method.name}.png"
            assert f"]({picture})" in page_and_section(method)[1] and f"](methods/{picture})" in gallery, method.name
            assert (METHODS / picture).is_file()
