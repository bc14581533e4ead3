"""Which studies a comparison has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from duelist.compare.arms import (
    ArmSettings,
    acquisition_arms,
    parse_arm,
    parse_seeds,
    plan_studies,
    study_folder,
    unshared,
    with_arms,
)
from duelist.errors import RecipeError
from duelist.recipe.reading import parse_recipe


@pytest.fixture
def source(tiny_recipe: dict[str, Any], tmp_path: Path) -> str:
    path = tmp_path / "recipe.yaml"
    content = tiny_recipe | {"acquisition": {"name": "activedpo", "lambda": 0.5}, "compare": {"more": {"budget": 9}}}
    path.write_text(yaml.safe_dump(content))
    return str(path)


@pytest.mark.parametrize(
    ("text", "seeds"),
    [("0:3", [0, 1, 2]), ("5", [5]), ("0,3,5", [0, 3, 5]), ("7:9, 2", [7, 8, 2]), ("0:1", [0])],
)
def test_seeds(text: str, seeds: list[int]) -> None:
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is written `0:20`"),
        ("a", "is written"),
        ("-1", "is written"),
        ("0:", "is written"),
        ("3:3", "`first < end`"),
        ("0:4,2", "names 2 twice"),
    ],
)
def test_seeds_that_are_none(text: str, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        parse_seeds(text)


def test_an_arm_s_settings_may_hold_commas() -> None:
    assert parse_arm("plain") == parse_arm("plain:") == ArmSettings("plain", ())
    text = "a:acquisition=margin,acquisition.order=[x, y],trainer.train.learning_rate=1e-3"
    changes = ("acquisition=margin", "acquisition.order=[x, y]", "trainer.train.learning_rate=1e-3")
    assert parse_arm(text) == ArmSettings("a", changes)
    with pytest.raises(RecipeError, match=r"'budget' in 'a:budget' has no `=`"):
        parse_arm("a:budget")


def test_acquisitions_as_arms(tiny_recipe: dict[str, Any]) -> None:
    """The recipe's own keeps the settings it has there; a class of one's own goes by its name."""
    found = acquisition_arms("random, activedpo,my.rules:Shortest", parse_recipe(tiny_recipe))
    assert found == [
        ArmSettings("random", ("acquisition=random",)),
        ArmSettings("activedpo", ()),
        ArmSettings("Shortest", ("acquisition=my.rules:Shortest",)),
    ]


def test_every_arm_on_every_seed(source: str, tmp_path: Path) -> None:
    chosen = [ArmSettings("random", ("acquisition=random",)), ArmSettings("own", ())]
    studies = plan_studies(tmp_path / "c", source, ["rounds=1"], chosen, [4, 2])
    assert [(s.arm, s.seed) for s in studies] == [("random", 4), ("own", 4), ("random", 2), ("own", 2)]
    assert [s.folder for s in studies[:1]] == [tmp_path / "c" / "studies" / "random" / "seed-004"]
    for s in studies:
        assert (s.recipe.seed, s.recipe.rounds, s.recipe.compare) == (s.seed, 1, {})
        assert s.folder == study_folder(tmp_path / "c", s.arm, s.seed)
    assert studies[0].recipe.acquisition.content() == {"name": "random"}
    assert studies[1].recipe.acquisition.setting("lambda_") == 0.5
    assert studies[1].recipe.name == "tiny (own)"


def test_without_arms_they_are_the_recipe_s_own(source: str, tmp_path: Path) -> None:
    studies = plan_studies(tmp_path, source, [], [], [1])
    assert [(s.arm, s.recipe.budget, s.recipe.seed) for s in studies] == [("activedpo", 6, 1), ("more", 9, 1)]


@pytest.mark.parametrize(
    ("chosen", "overrides", "said"),
    [
        (["one"], [], "two arms or more, but got one"),
        (["a", "a"], [], "'a' occurs 2 times"),
        (["a/b", "c"], [], "letters, digits, - and _, but got 'a/b'"),
        (["a:seed=3", "b"], [], "`--seeds` says the seeds of every arm, but `seed=3`"),
        (["a", "b"], ["seed=1"], "`--seeds` says"),
        (["a:budgte=3", "b"], [], "Did you mean 'budget'"),
        ([], ["compare={}"], "two arms or more, but got activedpo"),
        ([], ["compare.activedpo={budget: 9}"], "`compare.activedpo` is this study's own"),
    ],
)
def test_arms_that_are_none(chosen: list[str], overrides: list[str], said: str, source: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=said.replace("(", r"\(")):
        plan_studies(tmp_path / "c", source, overrides, [parse_arm(text) for text in chosen], [0])
    assert not (tmp_path / "c").exists()


def test_a_study_and_its_arms_have_different_names(tiny_recipe: dict[str, Any]) -> None:
    recipe = parse_recipe(tiny_recipe | {"compare": {"random": {"acquisition": "random"}}})
    assert list(with_arms(recipe)) == ["activedpo", "random"] and with_arms(recipe)["activedpo"] is recipe
    with pytest.raises(RecipeError, match="rename that arm"):
        with_arms(parse_recipe(tiny_recipe | {"compare": {"activedpo": {"budget": 3}}}))


def test_what_arms_should_share(source: str, tmp_path: Path) -> None:
    chosen = [parse_arm(x) for x in ("a", "b:budget=3,beta=0.1", "c:annotator.choice=bradley_terry,policy.lora.r=2")]
    assert unshared(plan_studies(tmp_path, source, [], chosen, [0, 1])) == {"c": ["policy", "annotator"]}
