"""Real comparisons of tiny studies, in processes of their own: paired, repeatable, resumable, and whatever fails."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from duelist.compare import running
from duelist.compare.arms import ArmSettings, PlannedStudy, parse_arm, plan_studies
from duelist.compare.comparison import ERROR_FILE, cores, finished_rows, run_comparison
from duelist.compare.results import write_results
from duelist.compare.running import Outcome, in_order
from duelist.errors import RecipeError, StudyLockedError
from duelist.progress import Silent
from duelist.store.store import Store
from duelist.study.study import Study
from killing import PROCESSES
from outcomes import require_equal, smaller

ARMS = [parse_arm("random:acquisition=random"), parse_arm("own")]
FILES = ["curves.csv", "curves.png", "curves.svg", "summary.json", "table.csv", "table.md"]


@pytest.fixture(autouse=True)
def quick_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers are forked from a server that has the heavy modules loaded, instead of loading them anew each time."""
    monkeypatch.setattr(running, "PROCESSES", PROCESSES)


@pytest.fixture
def source(tiny_recipe: dict[str, Any], tmp_path: Path) -> Path:
    """A tiny recipe with a noisy annotator and a world that its seed decides."""
    (tmp_path / "worlds.py").write_text(
        "import json\n\n\n"
        "def prompts(folder, seed):\n"
        "    rows = [{'prompt': f'w{i} w{(7 * i + seed) % 40}', 'kind': i % 3} for i in range(30)]\n"
        "    (folder / 'prompts.jsonl').write_text(''.join(json.dumps(row) + '\\n' for row in rows))\n"
    )
    recipe = smaller(tiny_recipe)
    recipe["prepare"] = {"function": f"{tmp_path}/worlds.py:prompts", "settings": {"seed": "{seed}"}}
    recipe["prompts"] = {**recipe["prompts"], "path": "{prepared}/prompts.jsonl"}
    recipe["annotator"] = {**recipe["annotator"], "choice": "bradley_terry", "temperature": 0.2}
    recipe |= {"pool": "fixed", "initial_random": 4}
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DUELIST_CACHE", str(tmp_path / "cache"))


def plan(source: Path, folder: Path, arms: list[ArmSettings] = ARMS, seeds: tuple[int, ...] = (0, 1)) -> Any:
    return plan_studies(folder, str(source), [], arms, list(seeds))


def alone(study: PlannedStudy, folder: Path) -> Path:
    """The same study, run by itself in this process."""
    with Study.create(folder, study.recipe) as own:
        own.run()
    return folder


@pytest.mark.full
def test_two_arms_on_two_seeds(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "c"
    studies = plan(source, folder)
    begun: list[tuple[str, int]] = []
    assert run_comparison(folder, studies, 1, Silent(), lambda o: begun.append((o.study.arm, o.study.seed))) == []
    assert begun == [("random", 0), ("own", 0), ("random", 1), ("own", 1)]
    # What a process ran before changes nothing: its third and fourth study are what they are alone.
    for study in studies[2:]:
        require_equal(study.folder, alone(study, tmp_path / f"alone-{study.arm}"))

    # Paired: one world, initial model and first batch; and whoever asks the same pair is told the same.
    rows = finished_rows(studies)
    told: dict[str, dict[str, str]] = {}
    first: dict[str, list[str]] = {}
    for study in studies[2:]:
        store = Store(study.folder, migrate=False)
        first[study.arm] = [x.question.id for x in store.asked(1)]
        told[study.arm] = {label.pair_id: label.outcome for label in store.labels()}
        store.close()
    assert first["random"] == first["own"] and set(told["random"]) != set(told["own"])
    shared = set(told["random"]) & set(told["own"])
    assert {i: told["random"][i] for i in shared} == {i: told["own"][i] for i in shared}
    for t in (0, 1):
        values = [{k: v for k, v in rows[arm][1][t].items() if k != "seconds"} for arm in ("random", "own")]
        assert values[0] == values[1]
    assert rows["random"][0][0]["mean_reward"] != rows["random"][1][0]["mean_reward"]  # another seed, another world

    results = write_results(folder, studies, [])
    assert sorted(p.name for p in folder.iterdir() if p.is_file() and not p.name.startswith(".")) == FILES
    assert "Only 2 seeds are shared" in results.table
    assert results.summary["baseline"] == "random" and results.summary["seconds_per_study"]["own"]["total"] > 0
    before = {name: (folder / name).read_bytes() for name in FILES}

    # The same again runs nothing and says the same; one seed more runs that seed alone.
    monkeypatch.setattr(running, "_start", lambda threads: pytest.fail("a process was started"))
    assert run_comparison(folder, plan(source, folder), 1, Silent()) == []
    write_results(folder, plan(source, folder), [])
    assert {name: (folder / name).read_bytes() for name in FILES} == before
    with pytest.raises(RecipeError, match=r"begun with other values of beta.*give another folder with -o"):
        run_comparison(folder, plan(source, folder, [ARMS[0], parse_arm("own:beta=0.1")]), 1, Silent())


BROKEN_RULES = """
import os
from pathlib import Path

from duelist.acquisition.base import Acquisition
from duelist.acquisition.random import Random

BROKEN = Path(__file__).with_name("broken")


class Dies(Acquisition):
    needs = frozenset()

    def select(self, features, budget, rng):
        if BROKEN.exists():
            os.kill(os.getpid(), 9)
        return Random().select(features, budget, rng)


class Raises(Acquisition):
    needs = frozenset()

    def select(self, features, budget, rng):
        if BROKEN.exists():
            raise ZeroDivisionError("the rule is broken")
        return Random().select(features, budget, rng)
"""


@pytest.mark.full  # by default, tests/cli: one that fails (test_compare), one whose process ends (test_cli_endings)
def test_a_study_that_fails_does_not_keep_the_others(source: Path, tmp_path: Path) -> None:
    (tmp_path / "rules.py").write_text(BROKEN_RULES)
    (tmp_path / "broken").touch()
    folder = tmp_path / "c"
    arms = [parse_arm(f"{name}:acquisition={tmp_path}/rules.py:{name}") for name in ("Dies", "Raises")]
    studies = plan(source, folder, [*arms, ARMS[0]], (0,))
    failures = run_comparison(folder, studies, 1, Silent())
    assert [f.study.arm for f in failures] == ["Dies", "Raises"]
    assert "ended with exit code -9" in failures[0].error
    assert "Raises must return without an error, but it raised ZeroDivisionError: the rule" in failures[1].error
    details = studies[1].folder.with_name(studies[1].folder.name + ERROR_FILE)
    assert "Traceback" in details.read_text() and "rules.py" in details.read_text()
    assert {arm: list(of_arm) for arm, of_arm in finished_rows(studies).items()} == {
        **{"Dies": [], "Raises": []},
        "random": [0],
    }
    results = write_results(folder, studies, [], failures)
    assert "Not finished, hence not counted: Dies, seed 0." in results.table
    assert [f["error"] for f in results.summary["failures"]] == [f.error for f in failures]

    # Mended, the same command finishes what had failed, and the notes of the failures are gone.
    (tmp_path / "broken").unlink()
    assert run_comparison(folder, studies, 1, Silent()) == []
    assert [list(of_arm) for of_arm in finished_rows(studies).values()] == [[0], [0], [0]]
    assert not list(folder.rglob(f"*{ERROR_FILE}"))


def test_ctrl_c_ends_every_process_and_costs_nothing(source: Path, tmp_path: Path) -> None:
    folder = tmp_path / "c"
    studies = plan(source, folder)

    def interrupt(outcome: Outcome) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_comparison(folder, studies, 2, Silent(), interrupt)
    assert multiprocessing.active_children() == []
    finished = sum(map(len, finished_rows(studies).values()))
    assert 1 <= finished < 4
    begun: list[str] = []
    assert run_comparison(folder, studies, 2, Silent(), lambda o: begun.append(o.study.arm)) == []
    assert len(begun) == 4 - finished
    require_equal(studies[3].folder, alone(studies[3], tmp_path / "alone"))


@pytest.mark.full
def test_killed_with_9_and_begun_again(source: Path, tmp_path: Path) -> None:
    """The command itself, with processes made from scratch; they end although nobody tells them to."""
    folder = tmp_path / "c"
    studies = plan(source, folder)
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    words = [
        "compare",
        source,
        "--arm",
        "random:acquisition=random",
        "--arm",
        "own",
        "--seeds",
        "0:2",
        "-j",
        "1",
        "-o",
        folder,
    ]
    command = [sys.executable, "-m", "duelist", *map(str, words)]
    with subprocess.Popen(command, cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        deadline = time.monotonic() + 120
        while not any(finished_rows(studies).values()) and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.05)
        assert any(finished_rows(studies).values()), "no study finished in time"
        with pytest.raises(StudyLockedError, match="another one works on"):
            run_comparison(folder, studies, 1, Silent())
        process.send_signal(signal.SIGKILL)
        # Standard output closes when the last process that has it has ended.
        said = process.communicate(timeout=60)[0].decode()
    assert sum(map(len, finished_rows(studies).values())) >= 1, said
    assert run_comparison(folder, studies, 2, Silent()) == []
    for study in studies:
        require_equal(study.folder, alone(study, tmp_path / f"alone-{study.arm}-{study.seed}"))


def test_studies_are_begun_so_that_processes_do_not_wait_for_one_another(source: Path, tmp_path: Path) -> None:
    studies = plan(source, tmp_path, seeds=(3, 0, 1))
    assert [(s.seed, s.arm) for s in in_order(studies, 2)] == [
        *[(3, "random"), (0, "random"), (3, "own"), (0, "own")],
        *[(1, "random"), (1, "own")],
    ]
    assert [s.seed for s in in_order(studies, 1)] == [3, 3, 0, 0, 1, 1]


def test_as_many_processes_as_cores() -> None:
    available = len(os.sched_getaffinity(0))
    assert cores(1) == available and cores(available) == 1 and cores(10**6) == 1
