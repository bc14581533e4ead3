"""The package as a whole: what it exports, and how light importing it is."""

from __future__ import annotations

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

PROBE = "import json, sys, duelist; print(json.dumps(sorted(m for m in sys.modules if '.' not in m)))"


def test_import_is_light() -> None:
    loaded = set(json.loads(subprocess.check_output([sys.executable, "-c", PROBE])))
    assert not loaded & {"torch", "transformers", "trl", "peft", "datasets", "numpy", "sqlalchemy", "typer"}


def test_all_is_exactly_the_public_names_and_all_resolve() -> None:
    assert sorted(duelist.__all__) == duelist.__all__
    assert set(duelist.__all__) == {*duelist._HOME, "__version__"}
    assert dir(duelist) == duelist.__all__
    for name, home in duelist._HOME.items():
        assert getattr(duelist, name) is getattr(importlib.import_module(home), name)
    assert not hasattr(duelist, "Stuydy")


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


def test_typed_imports_cover_every_public_name() -> None:
    """What type checkers see (the TYPE_CHECKING block) is what there is at run time."""
    import ast
    import inspect

    tree = ast.parse(inspect.getsource(duelist))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    imported = {(a.name, n.module) for n in block.body if isinstance(n, ast.ImportFrom) for a in n.names}
    assert imported == set(duelist._HOME.items())
