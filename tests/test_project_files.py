"""The project's files beside the code: they parse, and say the same as the package."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import yaml

from duelist._version import __version__

ROOT = Path(__file__).parents[1]
PAPERS = {"2505.19241", "2502.04270", "2502.04354", "2406.17312"}  # of recipes/paper/
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def test_the_citation_has_the_version_and_the_papers_of_the_recipes() -> None:
    cited = read(ROOT / "CITATION.cff")
    assert cited["version"] == __version__ and cited["authors"] == [{"name": "The Duelist authors"}]
    assert {r["identifiers"][0]["value"].removeprefix("arXiv:") for r in cited["references"]} == PAPERS
    for paper in PAPERS:
        pages = (ROOT / "recipes" / "paper").glob("*/README.md")
        assert any(paper in page.read_text(encoding="utf-8") for page in pages), paper


def test_every_question_of_an_issue_form_has_its_own_name() -> None:
    forms = [form for form in FORMS if form.stem != "config"]
    assert [form.stem for form in forms] == ["bug", "question", "wrong_method"]
    for form in map(read, forms):
        assert form.keys() >= {"name", "description", "body"}
        asked = [x for x in form["body"] if x["type"] != "markdown"]
        assert len({x["id"] for x in asked}) == len(asked) and all(x["attributes"]["label"] for x in asked)
        assert any(x.get("validations", {}).get("required") for x in asked)


def test_a_release_is_checked_before_it_is_published_without_a_token() -> None:
    jobs = read(ROOT / ".github" / "workflows" / "release.yml")["jobs"]
    commands = "\n".join(step.get("run", "") for step in jobs["build"]["steps"])
    assert "twine check --strict" in commands and "duelist run quickstart" in commands
    assert jobs["publish"]["needs"] == "build" and jobs["publish"]["permissions"] == {"id-token": "write"}
    assert "secrets." not in (ROOT / ".github" / "workflows" / "release.yml").read_text(encoding="utf-8")


def test_the_source_distribution_has_the_files_that_the_tests_read() -> None:
    build = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]
    included = {path.name for pattern in build["targets"]["sdist"]["include"] for path in ROOT.glob(pattern)}
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("*.py")]
    read = {name for text in sources for name in re.findall(r'ROOT / "([\w.]+)"', text)} - {"pyproject.toml"}
    assert read >= {"CITATION.cff", "SECURITY.md", ".github", "docs"} and read <= included


def test_the_links_of_the_security_policy_lead_to_files() -> None:
    for link in re.findall(r"\]\(([^)#:]+)\)", (ROOT / "SECURITY.md").read_text(encoding="utf-8")):
        assert (ROOT / link).is_file(), link
