"""Real suites of tiny studies: run, resumed, repeated and reported."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from duelist.compare import running as worker_pool
from duelist.compare.running import Outcome
from duelist.errors import DataError, DuelistError, RecipeError, StudyLockedError
from duelist.files.locks import held
from duelist.progress import Silent
from duelist.suite.plan import BEST, RULE_UNDER_TEST, SuiteSettings
from duelist.suite.record import CURVES, read_curves, read_record
from duelist.suite.report import report
from duelist.suite.running import LOCK, SUBSETS, repeat_sample, run_suite
from duelist.suite.worlds import World, worlds
from killing import PROCESSES
from outcomes import smaller


@pytest.fixture(autouse=True)
def quick_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers are forked from a server that has the heavy modules loaded, instead of loading them anew each time."""
    monkeypatch.setattr(worker_pool, "PROCESSES", PROCESSES)


class Notes(Silent):
    """Progress that keeps its notes."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def note(self, text: str) -> None:
        self.texts.append(text)


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

    # While another process works on it, nothing of it is touched; nor by settings that it was not begun with.
    written = (folder / "suite.json").read_bytes()
    with held(folder / LOCK, "", DuelistError("")), pytest.raises(StudyLockedError):
        run_suite(folder, settings, 1, Silent(), "another command")
    with pytest.raises(RecipeError, match="was begun with other values of rounds"):
        run_suite(folder, replace(settings, changes=("rounds=2",)), 1, Silent(), "another command")
    assert (folder / "suite.json").read_bytes() == written

    # A second run of a sample of rows is equal, and the record says so.
    found = repeat_sample(folder, 1, tmp_path / "again", 1, Silent())
    assert found == "A second run of 1 studies drawn at random gave 2 of 2 rows equal."
    assert found in report(folder)
    with pytest.raises(DataError, match=r"must hold suite\.json"):
        repeat_sample(tmp_path, 1, tmp_path / "again", 1, Silent())
    for place in (folder, tmp_path / "again"):  # nothing would run there
        with pytest.raises(RecipeError, match="has finished studies already"):
            repeat_sample(folder, 1, place, 1, Silent())

    # The same again runs nothing and writes the same.
    before = (folder / "tiny" / "summary.json").read_bytes()
    monkeypatch.setattr(worker_pool, "_start", lambda threads: pytest.fail("a process was started"))
    notes = Notes()
    assert run_suite(folder, settings, 1, notes, "duelist suite").failures == []
    assert (folder / "tiny" / "summary.json").read_bytes() == before and notes.texts == []
    assert read_record(folder).repeated == found

    # What the next command does not name is said to be left out.
    run_suite(folder, replace(settings, worlds=(absent,)), 1, notes, "duelist suite")
    assert notes.texts == ["Not named now, so no part of the report any more: world tiny. Their studies stay."]


def test_a_suite_that_ends_in_the_middle_has_a_report(tiny: World, tmp_path: Path) -> None:
    """It is killed when its first study ends: curves.csv has that study already."""
    folder = tmp_path / "suite"

    def stop(outcome: Outcome) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_suite(folder, SuiteSettings((tiny,), (0,), quick=True, changes=("rounds=1",)), 1, Silent(), "suite", stop)
    assert {arm: set(of) for arm, of in read_curves(folder / "tiny" / CURVES).items()} == {"random": {0}}
    assert "**Not finished.** Of 1 seeds, the rule and random have: tiny 0." in report(folder)


def test_a_best_subset_is_not_chosen_anew_of_another_number(tiny: World, tmp_path: Path) -> None:
    folder = tmp_path / "suite"
    (folder / "tiny").mkdir(parents=True)
    (folder / "tiny" / SUBSETS).write_text(json.dumps({"0": {"stream": 2, "ends": [0.0, 1.0, 0.5]}}))
    with pytest.raises(RecipeError, match=r"of seed 0 was chosen of 3 \(in .*\), not of 2"):
        run_suite(folder, SuiteSettings((tiny,), (0,), subsets=2), 1, Silent(), "duelist suite")
    assert not (folder / "suite.json").exists()


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
