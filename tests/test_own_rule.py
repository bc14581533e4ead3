"""The page on writing a rule: its example is run as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from duelist.acquisition.base import Acquisition, choose
from duelist.errors import RecipeError
from duelist.recipe.component import Component
from duelist.settings.validation import read_yaml
from duelist.testing import check_acquisition, random_features

PAGE = Path(__file__).parents[1] / "docs" / "own_rule.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The page's class, in the file that the page names, in the current folder."""
    code = blocks("python")[0]
    assert f"`{Path('my_rules.py')}`" in PAGE.read_text(encoding="utf-8")
    (tmp_path / "my_rules.py").write_text(code, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return code


def test_it_is_short(example: str) -> None:
    assert len(example.splitlines()) < 30


def test_the_recipe_of_the_page_builds_it_and_it_conforms(example: str) -> None:
    component = Component.of(Acquisition, read_yaml(blocks("yaml")[0])["acquisition"])
    assert component.setting("words") == 50
    rule = component.build()
    assert isinstance(rule, Acquisition)
    check_acquisition(rule)
    features = random_features(20, rule.needs)
    assert features.margin_N is not None
    score = np.exp(-np.abs(features.margin_N)) / (1 + features.length_N2.sum(axis=1) / 50)
    chosen = choose(rule, features, 5, np.random.default_rng(0))
    assert chosen.indices_B.tolist() == np.argsort(-score)[:5].tolist()


def test_a_dotted_path_works_too_and_a_wrong_setting_is_named(example: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    component = Component.of(Acquisition, "my_rules:ShortAndUnsure")
    check_acquisition(component.build())
    with pytest.raises(RecipeError, match="Did you mean 'words'"):
        Component.of(Acquisition, {"name": "my_rules:ShortAndUnsure", "word": 3})
    monkeypatch.delitem(sys.modules, "my_rules")


def test_the_test_of_the_page_passes(example: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    scope: dict[str, object] = {}
    exec(blocks("python")[1], scope)
    test = scope["test_my_rule"]
    assert callable(test)
    test()
    monkeypatch.delitem(sys.modules, "my_rules")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("class Mine(Acquisition):\n    needs = frozenset()", "mine.py:Mine lacks select: add it"),
        ("class Mine:\n    pass", "must name a subclass of duelist.acquisition.base:Acquisition"),
        ("class Mine(Random):\n    def __init__(self, k): pass", "is made from k: move its settings to such a model"),
        ("class Mine(Random):\n    def __init__(self, config): pass", "is made from config: move its settings"),
        ("class Mine(Random):\n    def __init__(self, config: dict): pass", "is made from config: move its settings"),
    ],
    ids=["unfinished", "no-rule", "arguments", "not-annotated", "no-model"],
)
def test_a_class_that_cannot_be_used_is_refused_before_anything_runs(
    code: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = "from duelist.acquisition.base import Acquisition\nfrom duelist.acquisition.random import Random\n"
    (tmp_path / "mine.py").write_text(head + code, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RecipeError, match=said):
        Component.of(Acquisition, "mine.py:Mine")
