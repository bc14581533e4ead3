"""The package as a whole: what it exports, and how light importing it is."""

from __future__ import annotations

import ast
import importlib
import json
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import settings

import duelist
import duelist.types

ROOT = Path(__file__).parents[1]
SOURCES = Path(duelist.__file__).parent
MODULES = ("duelist.errors", "duelist.progress", "duelist.seeding", "duelist.testing", "duelist.types")
PROBE = "import json, sys, duelist; print(json.dumps(sorted(m for m in sys.modules if '.' not in m)))"


def test_import_is_light() -> None:
    loaded = set(json.loads(subprocess.check_output([sys.executable, "-c", PROBE])))
    assert not loaded & {"torch", "transformers", "trl", "peft", "datasets", "numpy", "sqlalchemy", "typer"}


def documented() -> dict[str, list[str]]:
    """The names that docs/api.md lists under each package."""
    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8").partition("\n## Modules")[0]
    sections = re.split(r"^## ", text, flags=re.M)[1:]
    return {s.partition("\n")[0]: re.findall(r"`(\w+)`", s.partition("\n")[2].split(".\n", 1)[1]) for s in sections}


@pytest.mark.parametrize("package", ["duelist", *(f"duelist.{p.name}" for p in SOURCES.iterdir() if p.is_dir())])
def test_packages_export_what_is_documented_and_nothing_else(package: str) -> None:
    if package in documented():
        module = importlib.import_module(package)
        assert sorted(module.__all__) == sorted(documented()[package])
        assert all(getattr(module, name) is not None for name in module.__all__)
        assert set(dir(module)) >= set(module.__all__) and not hasattr(module, "Stuydy")
    else:
        assert not getattr(importlib.import_module(package), "__all__", []), "what is exported is documented"


def test_the_flat_loop_uses_public_names_only() -> None:
    tree = ast.parse((ROOT / "recipes" / "loop_plain.py").read_text(encoding="utf-8"))
    found = {n.module: [a.name for a in n.names] for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    for module, names in found.items():
        if (module or "").startswith("duelist"):
            assert module in MODULES or set(names) <= set(documented()[module or ""]), module


def test_an_interface_has_at_most_two_abstract_methods() -> None:
    for module in pkgutil.walk_packages(duelist.__path__, "duelist."):
        if module.name.startswith(("duelist.store.migrations", "duelist.__main__")):
            continue
        for name, cls in vars(importlib.import_module(module.name)).items():
            abstract = getattr(cls, "__abstractmethods__", ())
            assert len(abstract) <= 2 or cls.__module__ != module.name, f"{module.name}.{name}: {sorted(abstract)}"


def test_property_tests_try_the_same_examples_every_time(request: pytest.FixtureRequest) -> None:
    """A fresh clone must pass or fail for everyone alike; only the `full` profile searches at random, and more."""
    same, full = (settings.get_profile(name) for name in ("same", "full"))
    assert same.derandomize and same.database is None and same.deadline is None
    assert not full.derandomize and full.max_examples >= 10 * same.max_examples
    chosen = request.config.getoption("--hypothesis-profile")
    assert settings().derandomize == (chosen != "full")
    sources = {path: path.read_text(encoding="utf-8") for path in Path(__file__).parent.rglob("test_*.py")}
    own = [
        str(path)
        for path, text in sources.items()
        if "@given" in text and re.search(r"^@settings\(.*max_examples", text, re.M)
    ]
    assert own == [], "the profile says how many examples there are"


def dimension_suffixes(source: str) -> set[str]:
    """The letters at the end of a module's names, its arguments', attributes' and keywords' among them."""
    nodes = list(ast.walk(ast.parse(source)))
    names = {n.id for n in nodes if isinstance(n, ast.Name)} | {n.attr for n in nodes if isinstance(n, ast.Attribute)}
    names |= {n.arg for n in nodes if isinstance(n, ast.arg | ast.keyword) and n.arg} - {"lora_A", "lora_B"}
    ends = (re.search(r"[a-z0-9]_([A-Z0-9]*[A-Z][A-Z0-9]*)$", name) for name in names - {"lora_A", "lora_B"})
    return {letter for end in ends if end for letter in end[1] if letter.isalpha()}


def test_every_dimension_suffix_is_in_the_table_once() -> None:
    root = Path(duelist.__file__).parent
    table = re.findall(r"^\| `([A-Z])` \| ", (root.parents[1] / "CONTRIBUTING.md").read_text(), re.M)
    used = {letter for path in root.rglob("*.py") for letter in dimension_suffixes(path.read_text())}
    assert used == set(table) and len(table) == len(set(table))
    heading = re.findall(r"\b([A-Z])  [a-z]", duelist.types.__doc__ or "")
    assert heading and set(heading) <= set(table)
