"""A study has the same picks and weights with every engine, and after workers were killed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from duelist.cli.app import app
from duelist.errors import RecipeError
from duelist.progress import Silent
from duelist.recipe.reading import load_recipe, parse_recipe
from duelist.recipe.recipe import Recipe, recipe_content
from duelist.store.layout import RECIPE
from duelist.study.study import Study
from tiny_judge import save_tiny_judge

# Quickstart, with few prompts and small batches: several for each kind of work.
SMALL = (
    *("rounds=2", "budget=8", "initial_random=0", "compare={}", "compare_seeds=1", "prepare.settings.prompts=48"),
    *("sampler.batch_size=16", "featurizers.gradient.max_tokens=300", "evaluation.responses_per_prompt=2"),
)
RAY: Mapping[str, Any] = {"name": "ray", "workers": 2}
# Each worker imports the libraries anew, which takes tens of seconds of a busy machine.
slow = pytest.mark.timeout(1200)


def files_of(folder: Path) -> dict[str, bytes]:
    """The responses, picks, weights and evaluations of every round, and the metrics except for their seconds."""
    weights = [*folder.glob("rounds/*/adapter/*"), *folder.glob("rounds/*/model/*")]
    kept = sorted([*folder.glob("rounds/*/*.json*"), *weights])
    files = {str(path.relative_to(folder)): path.read_bytes() for path in kept}
    rows = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    untimed = [{name: value for name, value in row.items() if name != "seconds"} for row in rows]
    return {**files, "metrics": json.dumps(untimed).encode()}


def with_engine(recipe: Recipe, engine: Any) -> Recipe:
    return parse_recipe({**recipe_content(recipe), "engine": engine})


def run(folder: Path, recipe: Recipe) -> dict[str, bytes]:
    with Study.create(folder, recipe) as study:
        study.run()
    return files_of(folder)


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recipe]:
    """A small quickstart, with its environment prepared."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DUELIST_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield load_recipe("quickstart", SMALL)


@pytest.fixture(scope="module")
def expected(quickstart: Recipe, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of the study in one process."""
    return run(tmp_path_factory.mktemp("local") / "study", quickstart)


@slow
@pytest.mark.full
@pytest.mark.parametrize("workers", [1, 2])
def test_quickstart_is_the_same_with_workers(
    workers: int, quickstart: Recipe, expected: dict[str, bytes], cluster: None, tmp_path: Path
) -> None:
    assert any("adapter_model" in name for name in expected)
    assert run(tmp_path / "study", with_engine(quickstart, {**RAY, "workers": workers})) == expected


@slow
@pytest.mark.full
def test_quickstart_is_the_same_after_workers_were_killed_in_mid_batch(
    quickstart: Recipe, expected: dict[str, bytes], cluster: None, tmp_path: Path
) -> None:
    dying = {**RAY, "name": "ray_work:DyingRay", "flags": str(tmp_path)}
    assert run(tmp_path / "study", with_engine(quickstart, dying)) == expected
    killed = {path.name for path in tmp_path.iterdir()} - {"study"}
    assert {"DrawTokens", "Gradients"} <= killed  # a worker of each kind of work


@slow
@pytest.mark.full
def test_the_engine_may_change_when_a_study_resumes(
    quickstart: Recipe, expected: dict[str, bytes], cluster: None, tmp_path: Path
) -> None:
    with Study.create(tmp_path / "study", quickstart) as study:
        study.ask()
    assert run(tmp_path / "study", with_engine(quickstart, dict(RAY))) == expected
    assert "name: ray" in (tmp_path / "study" / RECIPE).read_text()


@slow
@pytest.mark.full
@pytest.mark.parametrize(
    "changes",
    [
        {"policy": {"adapter": "none"}, "acquisition": "margin", "featurizers": {"margin": {}}},
        {"sampler": {"name": "pilaf", "max_new_tokens": 6, "batch_size": 5}, "trainer": {"reference": "previous"}},
        {"sampler": {"name": "best_of_n", "n": 3, "max_new_tokens": 6, "max_tokens": 60}},
        {"sampler": {"name": "t_pilaf", "n": 4, "max_new_tokens": 6, "max_tokens": 60}},
    ],
    ids=["all parameters", "pilaf against the previous policy", "best of n", "t-pilaf"],
)
def test_other_policies_and_samplers_are_the_same_with_workers(
    changes: dict[str, Any], tiny_recipe: dict[str, Any], cluster: None, tmp_path: Path
) -> None:
    for key, own in changes.items():
        tiny_recipe[key] = {**tiny_recipe[key], **own} if key in ("policy", "trainer") else own
    if changes.get("policy"):
        del tiny_recipe["policy"]["lora"]
    recipe = parse_recipe(tiny_recipe)
    expected = run(tmp_path / "local", recipe)
    assert run(tmp_path / "ray", with_engine(recipe, dict(RAY))) == expected


@pytest.fixture
def judged(
    tiny_recipe: dict[str, Any], tiny_reward_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """A recipe with models in memory besides the policy: a judge that decides, two rewards and embeddings."""
    judge = tmp_path_factory.mktemp("judge")
    save_tiny_judge(judge)
    return {
        **tiny_recipe,
        "featurizers": {"embedding": {"max_tokens": 60}},
        "acquisition": {"name": "coreset", "features": "embedding"},
        "annotator": {"name": "judge", "model": str(judge), "min_mass": 0, "batch_tokens": 6000},
        "reward": {"name": "model", "model": str(tiny_reward_model), "batch_size": 3},
        "evaluation": {"max_new_tokens": 6, "judge": {"reward_model": str(tiny_reward_model), "batch_size": 5}},
    }


@slow
@pytest.mark.full
def test_judges_rewards_and_embeddings_are_the_same_with_workers_that_are_killed(
    judged: dict[str, Any], cluster: None, tmp_path: Path
) -> None:
    recipe = parse_recipe(judged)
    expected = run(tmp_path / "local", recipe)
    assert any(b'"win_rate' in content for content in expected.values())
    assert run(tmp_path / "one", with_engine(recipe, {**RAY, "workers": 1})) == expected
    flags = tmp_path / "flags"
    flags.mkdir()
    assert (
        run(tmp_path / "two", with_engine(recipe, {**RAY, "name": "ray_work:DyingRay", "flags": str(flags)}))
        == expected
    )
    assert {"TokenLogProbs", "Scores", "OfBase"} <= {path.name for path in flags.iterdir()}


def test_an_online_study_is_refused(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    recipe = parse_recipe({**tiny_recipe, "online": True, "engine": "ray"})
    with (
        Study.create(tmp_path / "study", recipe) as study,
        pytest.raises(RecipeError, match=r"online.*engine to local"),
    ):
        study.ask()


def test_ray_that_is_missing_is_named(tiny_recipe: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    from duelist.engines.ray import RayConfig, RayEngine

    with pytest.raises(RecipeError, match=r"pip install \"duelist\[ray\]\""):
        next(iter(RayEngine(RayConfig()).map(None, None, [1], Silent())))  # type: ignore[arg-type]
    assert "RAY_USAGE_STATS_ENABLED" not in os.environ


def test_the_command_line_names_the_engine() -> None:
    wanted = ["run", "quickstart", "--engine", "ray", "--set", "engine.workers=3", "--dry-run", "--json"]
    done = CliRunner().invoke(app, wanted)
    assert done.exit_code == 0, done.output
    engine = json.loads(done.stdout)["recipe"]["engine"]
    assert engine["name"] == "ray" and engine["workers"] == 3
