"""Studies reported to real trackers, TensorBoard's files and trackio's database, and read back."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from trackio.sqlite_storage import SQLiteStorage

import small_study
from duelist.errors import RecipeError
from duelist.recipe.reading import parse_recipe
from duelist.store.opening import open_folder
from duelist.store.store import Store
from duelist.study.study import Study
from duelist.tracking import trackers
from duelist.tracking.points import points_of
from duelist.tracking.reporting import RUN, Reporting
from duelist.tracking.trackers import PROJECT, TENSORBOARD, OpenRun, TrackerName

Read = Callable[[Path, str], list[tuple[int, float]]]


def run_of(folder: Path) -> str:
    return str(json.loads((folder / RUN).read_text())["run"])


def in_tensorboard(folder: Path, name: str) -> list[tuple[int, float]]:
    """The points of a number as TensorBoard reads them."""
    events = EventAccumulator(str(folder / TENSORBOARD / run_of(folder)), size_guidance={"scalars": 0})
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars(name)]


def in_trackio(folder: Path, name: str) -> list[tuple[int, float]]:
    """The points of a number as trackio's dashboard reads them."""
    return [(line["step"], line[name]) for line in SQLiteStorage.get_logs(PROJECT, run_of(folder)) if name in line]


READERS: dict[TrackerName, Read] = {"tensorboard": in_tensorboard, "trackio": in_trackio}


class Killed(BaseException):
    """The end of a process, which no handler of errors sees."""


def reporting(folder: Path, store: Store, *names: TrackerName) -> Reporting:
    from duelist.progress import Silent

    return Reporting(list(names), small_study.RECIPE, folder, store, Silent())


@pytest.mark.parametrize("name", READERS)
def test_a_killed_study_goes_on_in_its_run_and_no_point_comes_twice(
    name: TrackerName, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_study.finished(tmp_path, rounds=1)
    opened = trackers.OPENERS[name]

    def dying(run: str, folder: Path) -> OpenRun:
        """A tracker whose process is killed after round 1 was logged, before the run is finished."""
        found = opened(run, folder)
        monkeypatch.setattr(found.tracker, "finish", lambda: (_ for _ in ()).throw(Killed))
        return found

    store = Store(tmp_path)
    with monkeypatch.context() as patch:
        patch.setitem(trackers.OPENERS, name, dying)
        with pytest.raises(Killed):
            reporting(tmp_path, store, name).report()
    reporting(tmp_path, store, name).report()
    reporting(tmp_path, store, name).report()  # nothing is new
    store.close()

    folder = open_folder(tmp_path)  # the study goes on
    ongoing = reporting(tmp_path, folder.store, name)
    small_study.ask(folder, 2)
    small_study.tell(folder, 2)
    small_study.close(folder, 2)
    ongoing.report()
    ongoing.report()
    expected = points_of(folder.store)
    folder.close()
    for number in ("round", "eval/mean_reward", "seconds/train"):
        read = READERS[name](tmp_path, number)
        assert read == [(p.step, pytest.approx(p.values[number], rel=1e-6)) for p in expected]
    assert [p.step for p in expected] == [0, 3, 6]


@pytest.mark.full
def test_a_study_reports_every_round_and_its_choice(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    with Study.create(tmp_path, parse_recipe(tiny_recipe | {"report_to": list(READERS)})) as study:
        study.run()
        store_points = points_of(study.store)
        chosen = study.folder.stage(2, "select")
    metrics = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    for read in READERS.values():
        rewards = read(tmp_path, "eval/mean_reward")
        assert rewards == [(m["labels"], pytest.approx(m["mean_reward"], rel=1e-6)) for m in metrics]
        assert [step for step, _ in rewards] == [0, 6, 12]
        assert chosen is not None
        assert chosen.info
        for key, value in chosen.info.items():
            named = f"selection/{key}"
            assert read(tmp_path, named)[-1] == (12, pytest.approx(value, rel=1e-6))
        assert any(key.startswith("train/") for key in store_points[1].values)
        assert len(read(tmp_path, "train/preferences")) == 2
    config = SQLiteStorage.get_run_config(PROJECT, run_of(tmp_path))
    assert config is not None
    assert config["acquisition.name"] == "activedpo"


def test_a_failing_tracker_is_said_and_what_it_missed_comes_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_study.finished(tmp_path, rounds=1)
    store = Store(tmp_path)
    to_trackers = reporting(tmp_path, store, "tensorboard")
    with monkeypatch.context() as patch:
        patch.setitem(trackers.OPENERS, "tensorboard", lambda run, folder: 1 / 0)
        with pytest.warns(RuntimeWarning, match=r"tracker tensorboard .* failed \(ZeroDivisionError.*Nothing is lost"):
            to_trackers.report()
    to_trackers.report()
    store.close()
    assert [step for step, _ in in_tensorboard(tmp_path, "round")] == [0, 3]


def test_trackers_are_checked_before_anything_is_asked(
    tiny_recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RecipeError, match=r"report_to"):
        parse_recipe(tiny_recipe | {"report_to": ["no-tracker"]})
    assert parse_recipe(tiny_recipe | {"report_to": "none"}).report_to == []
    recipe = parse_recipe(tiny_recipe | {"report_to": "wandb"})
    found = trackers.find_spec
    monkeypatch.setattr(trackers, "find_spec", lambda name: None if name == "wandb" else found(name))
    with Study.create(tmp_path, recipe) as study:
        with pytest.raises(RecipeError, match=r"but wandb is not: `pip install wandb`.*Installed: trackio"):
            study.ask()
        assert study.store.asked() == []


def test_trackers_may_change_while_a_study_runs(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    Study.create(tmp_path, parse_recipe(tiny_recipe)).close()
    with Study.create(tmp_path, parse_recipe(tiny_recipe | {"report_to": "tensorboard"})) as study:
        assert study.recipe.report_to == ["tensorboard"]
