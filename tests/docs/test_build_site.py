"""The copy of the documentation from which the site is built: lines of symbols, pages of linked files, broken links."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from duelist.acquisition import VOptConfig

ROOT = Path(__file__).parents[2]


@pytest.fixture
def build_site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, writing its copy into a temporary folder."""
    spec = importlib.util.spec_from_file_location("build_site", ROOT / "docs" / "build_site.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "STAGED", tmp_path / "docs")
    return module


def test_the_line_of_a_symbol(build_site: ModuleType) -> None:
    source = "X = 1\nY: int = 2\n\n\n@final\nclass A:\n    z = 3\n\n    def f(self):\n        pass\n"
    found = [build_site.line_of(symbol, source) for symbol in ("X", "Y", "A", "A.z", "A.f")]
    assert found == [1, 2, 6, 7, 9]
    with pytest.raises(LookupError, match=r"A\.g"):
        build_site.line_of("A.g", source)


def test_equations_lead_to_the_lines_that_define_their_symbols(build_site: ModuleType) -> None:
    build_site.Stage().page(ROOT / "docs" / "methods" / "papers.md")
    page = build_site.STAGED / "methods" / "papers.md"
    rows = re.findall(r"\[`[\w.]+:([\w.]+)`, line (\d+)\]\(([^)#]+)#__codelineno-0-(\d+)\)", page.read_text("utf-8"))
    assert len(rows) == (ROOT / "docs" / "methods" / "papers.md").read_text("utf-8").count(".py#") > 50
    for symbol, line, link, anchor in rows:
        _, _, code = (page.parent / link).read_text("utf-8").partition('linenums="1"\n')
        assert line == anchor
        name = symbol.rpartition(".")[2]
        assert re.match(rf" *(async )?(def |class )?{name}\b", code.splitlines()[int(line) - 1]), symbol


def test_linked_files_of_the_repository_become_pages_and_code_blocks_stay(
    build_site: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docs = tmp_path / "repository" / "docs"
    docs.mkdir(parents=True)
    monkeypatch.setattr(build_site, "ROOT", docs.parent)
    monkeypatch.setattr(build_site, "DOCS", docs)
    (docs / "a.md").write_text(
        "[b.md](b.md#c) [log](../out/log.txt) [out](../out) ![p](p.png) [w](https://w)\n```\n[x](y)\n```\n"
    )
    (docs / "b.md").write_text("# Bees\n\n[home](../HOME.md)\n")
    (docs.parent / "HOME.md").write_text("[a](docs/a.md)\n")
    (docs.parent / "out").mkdir()
    (docs.parent / "out" / "log.txt").write_text("one\n")
    build_site.Stage().page(docs / "a.md")
    text = {str(p.relative_to(build_site.STAGED)): p.read_text() for p in build_site.STAGED.rglob("*.md")}
    links, code = text["a.md"].split("\n", 1)
    assert links == (
        "[Bees](b.md#c) [log](repository/out/log.txt.md) [out](repository/out.md) ![p](p.png) [w](https://w)"
    )
    assert code == "```\n[x](y)\n```\n"
    assert text["b.md"] == "# Bees\n\n[home](repository/HOME.md)\n"
    assert text["repository/HOME.md"] == "[a](../a.md)\n"
    assert text["repository/out.md"] == "# out\n\n- [log.txt](out/log.txt.md)\n"
    assert '`text linenums="1"\none\n' in text["repository/out/log.txt.md"]


def test_the_fields_of_settings_classes_are_on_their_pages(build_site: ModuleType) -> None:
    text = build_site.settings_of("duelist.acquisition.VOptConfig")
    assert [line.split("`")[1] for line in text.splitlines()[2:]] == list(VOptConfig.model_fields)
    assert "- `prior_variance` (number, > 0, default `100.0`): σ² of the prior" in text  # inherited
    assert "\n- `lambda_` (number, > 0" in build_site.settings_of("duelist.acquisition.ActiveDPOConfig")
    assert "\n    - `lure.uniform` (" in build_site.settings_of("duelist.acquisition.AcquisitionOptions")
    assert build_site.settings_of("duelist.acquisition.VOpt") == build_site.settings_of("duelist.errors") == ""


def test_links_that_lead_nowhere_are_found(build_site: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b.html").write_text(
        '<h1 id="here">b</h1><img src="../missing.png"><a href="https://w/x">w</a>'
    )
    (tmp_path / "a.html").write_text(
        '<a href="sub/b.html#here">1</a><a href="sub/b.html#gone">2</a><a href="#">3</a><a href="none.html">4</a>'
    )
    assert sorted(build_site.broken_links(tmp_path)) == [
        "a.html: none.html", "a.html: sub/b.html#gone", "sub/b.html: ../missing.png",
    ]  # fmt: skip
