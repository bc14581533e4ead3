"""Real suites of tiny studies: run, resumed, repeated and reported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from duelist.compare import running as worker_pool
from duelist.compare.running import Outcome
from duelist.errors import DataError
from duelist.progress import Silent
from duelist.suite.plan import BEST, RULE_UNDER_TEST, SuiteSettings
from duelist.suite.record import read_curves, read_record
from duelist.suite.report import report
from duelist.suite.running import SUBSETS, repeat_sample, run_suite
from duelist.suite.worlds import World, worlds
from killing import PROCESSES
from outcomes import smaller


@pytest.fixture(autouse=True)
def quick_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers are forked from a server that has the heavy modules loaded, instead of loading them anew each time."""
    monkeypatch.setattr(worker_pool, "PROCESSES", PROCESSES)


@pytest.fixture
def tiny(tiny_recipe: dict[str, Any], tmp_path: Path) -> World:
    """A world that is a tiny recipe of one round or two."""
    recipe = smaller(tiny_recipe) | {"pool": "fixed", "initial_random": 2}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    own = {"metric": "mean_reward", "beside": (), "references": ("best_subset",)}
    return World(name="tiny", title="Tiny", expects="Nothing.", recipe=str(tmp_path / "recipe.yaml"), **own)  # type: ignore[arg-type]


def test_a_quick_suite_is_run_resumed_repeated_and_reported(
    tiny: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    absent = tiny.model_copy(update={"name": "absent", "recipe": "no-such-recipe"})
    settings = SuiteSettings((tiny, absent), (0,), quick=True, changes=("rounds=1",))
    folder, ended = tmp_path / "suite", list[Outcome]()
    done = run_suite(folder, settings, 1, Silent(), "duelist suite", ended.append)
    assert done.failures == [] and done.skipped == {"absent": "there is no recipe 'no-such-recipe'"}
    assert {o.study.arm for o in ended} == {"random", RULE_UNDER_TEST}
    record = read_record(folder)
    assert record.rule == RULE_UNDER_TEST and record.worlds["tiny"].first_batch == 2 and record.seeds == (0,)
    assert set(read_curves(folder / "tiny" / "curves.csv")) == {"random", RULE_UNDER_TEST}
    text = report(folder)
    assert "- Not run: absent, because there is no recipe 'no-such-recipe'." in text
    assert "Fewer than 8 seeds: this decides nothing" in text and "Training: the recipe" in text

    # A second run of a sample of rows is equal, and the record says so.
    found = repeat_sample(folder, 1, tmp_path / "again", 1, Silent())
    assert found == "A second run of 1 studies drawn at random gave 2 of 2 rows equal."
    assert found in report(folder)
    with pytest.raises(DataError, match=r"must hold suite\.json"):
        repeat_sample(tmp_path, 1, tmp_path / "again", 1, Silent())

    # The same again runs nothing and writes the same.
    before = (folder / "tiny" / "summary.json").read_bytes()
    monkeypatch.setattr(worker_pool, "_start", lambda threads: pytest.fail("a process was started"))
    assert run_suite(folder, settings, 1, Silent(), "duelist suite").failures == []
    assert (folder / "tiny" / "summary.json").read_bytes() == before


@pytest.mark.full
def test_the_best_subset_is_chosen_by_other_noise_and_runs_as_an_arm(tiny: World, tmp_path: Path) -> None:
    settings = SuiteSettings((tiny,), (0,), subsets=3)
    folder = tmp_path / "suite"
    assert run_suite(folder, settings, 2, Silent(), "duelist suite").failures == []
    chosen = json.loads((folder / "tiny" / SUBSETS).read_text())["0"]
    assert chosen["stream"] == 1 + max(range(3), key=lambda i: chosen["ends"][i])
    rows = read_curves(folder / "tiny" / "curves.csv")
    assert set(rows) == {"random", RULE_UNDER_TEST, "random_again", "floor", BEST}


@pytest.mark.full
def test_the_look_ahead_runs_in_the_embedded_world(tmp_path: Path) -> None:
    """The smallest embedded world, with every arm but the subsets."""
    (world,) = worlds(["useless"])
    world = world.model_copy(update={"references": ("look_ahead",)})
    small = ["prompts=60", "kinds=6", "held_out=12", "useless_kinds=3", "sft_steps=60", "hidden_size=32"]
    changes = ("rounds=2", *(f"prepare.settings.{x}" for x in small))
    folder = tmp_path / "suite"
    done = run_suite(folder, SuiteSettings((world,), (0,), changes=changes), 2, Silent(), "duelist suite")
    assert [f.error for f in done.failures] == []
    rows = read_curves(folder / "useless" / "curves.csv")
    assert {"look_ahead", "floor", RULE_UNDER_TEST} <= set(rows)
    assert all("j_weighted" in row for of_arm in rows.values() for row in of_arm[0])
