"""How a command ends: finished, stopped by Ctrl-C, or ended by code that is not its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from cli_results import Command, Result, WriteRecipe, lines

from duelist.compare import running
from killing import PROCESSES
from tiers import first

REWARDS = """
import asyncio
import sys
from pathlib import Path

HERE = Path(__file__).parent


class Strange(BaseException):
    pass


def score(prompts, completions, **columns):
    calls = HERE / "calls"
    calls.write_text(f"{int(calls.read_text()) - 1}")
    if int(calls.read_text()) == 0:
        exec((HERE / "statement").read_text())
    return [float(len(set(c[0]["content"].split()))) for c in completions]


def tells_and_waits(prompts, completions, **columns):
    print("scoring", flush=True)
    input()
"""
RULE = """
import sys

from duelist import Acquisition


class Leaves(Acquisition):
    needs = frozenset()

    def select(self, features, budget, rng):
        sys.exit(0)
"""


@pytest.fixture
def rewards(tmp_path: Path) -> Path:
    (tmp_path / "rewards.py").write_text(REWARDS)
    return tmp_path


@pytest.mark.parametrize(
    "statement",
    first(
        2,
        [
            "sys.exit(0)",
            "raise asyncio.CancelledError",
            "raise Strange",
            "sys.exit()",
            "raise SystemExit(None)",
            "exit(0)",
        ],
    ),
)
@pytest.mark.parametrize("calls", [1, 2])  # the first measures the initial model, the second labels
def test_a_reward_function_that_ends_the_process_is_an_error(
    statement: str, calls: int, duelist: Command, write_recipe: WriteRecipe, rewards: Path
) -> None:
    (rewards / "statement").write_text(statement)
    (rewards / "calls").write_text(str(calls))
    recipe = write_recipe(annotator__function=f"{rewards}/rewards.py:score", acquisition="random", rounds=1)
    done = duelist("run", recipe, "--study", "s")
    assert done.code == 2 and done.err.startswith("Error: The reward function") and "Traceback" not in done.err
    assert len(lines(Path("s/metrics.jsonl"))) == calls - 1 if calls > 1 else not Path("s/metrics.jsonl").exists()


def test_ctrl_c_in_a_reward_function_stops_and_the_study_goes_on(
    duelist: Command, write_recipe: WriteRecipe, rewards: Path
) -> None:
    (rewards / "statement").write_text("raise KeyboardInterrupt")
    (rewards / "calls").write_text("2")
    recipe = write_recipe(annotator__function=f"{rewards}/rewards.py:score", acquisition="random", rounds=1)
    done = duelist("run", recipe, "--study", "s", "--quiet")
    assert done == Result(130, "", "Stopped. Nothing recorded is lost: run the same command again to go on.\n")
    assert duelist("run", recipe, "--study", "s", "--quiet") == Result(0, "", "")
    assert len(lines(Path("s/metrics.jsonl"))) == 2


def test_a_rule_a_module_and_a_preparation_that_end_the_process(
    duelist: Command, write_recipe: WriteRecipe, rewards: Path
) -> None:
    (rewards / "rules.py").write_text(RULE)
    done = duelist("run", write_recipe(acquisition={"name": f"{rewards}/rules.py:Leaves"}), "--study", "s")
    assert done.code == 2 and "Leaves must return without an error, but it raised SystemExit: 0" in done.err
    assert f"{rewards}/rules.py, line 11" in done.err and "Traceback" not in done.err
    (rewards / "leaves.py").write_text("import sys\nsys.exit(0)\n")
    assert "SystemExit: 0" in duelist("run", write_recipe(annotator__function=f"{rewards}/leaves.py:f")).error
    (rewards / "made.py").write_text("import sys\n\ndef make(folder):\n    sys.exit(0)\n")
    assert "SystemExit: 0" in duelist("run", write_recipe(prepare={"function": f"{rewards}/made.py:make"})).error


def test_a_comparison_does_not_count_a_study_that_ends_its_process(
    duelist: Command, write_recipe: WriteRecipe, rewards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "PROCESSES", PROCESSES)
    (rewards / "rules.py").write_text(RULE)
    words = ["--arm", f"leaves:acquisition={rewards}/rules.py:Leaves", "--arm", "random:acquisition=random"]
    done = duelist("compare", write_recipe(rounds=1), *words, "--seeds", "0", "-o", "c")
    assert done.code == 1 and "c/studies/leaves/seed-000 failed: Leaves must return" in done.err
    assert "Not finished, hence not counted: leaves, seed 0." in done.out


@pytest.mark.full
def test_ctrl_c_on_the_program(write_recipe: WriteRecipe, rewards: Path, tmp_path: Path) -> None:
    """A process of its own, interrupted while it waits for an annotator."""
    recipe = write_recipe(annotator__function=f"{rewards}/rewards.py:tells_and_waits", acquisition="random")
    command = [sys.executable, "-m", "duelist", "run", str(recipe), "--study", "s"]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=tmp_path, env=env, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "scoring\n"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate()
    assert process.returncode == 130
    # A stage that took seconds has said so before: how many lines depends on the machine.
    assert err.endswith("Stopped. Nothing recorded is lost: run the same command again to go on.\n")
    assert "Traceback" not in err and "Error" not in err and err.count("Stopped.") == 1


def test_a_reader_that_is_gone_ends_a_command_quietly() -> None:
    """As in `duelist recipes | head -1`."""
    read, write = os.pipe()
    os.close(read)
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-m", "duelist", "recipes"], stdout=write, stderr=subprocess.PIPE, env=env)
    os.close(write)
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.parametrize("code", [0, None, 3])
def test_whatever_ends_a_command_from_within_is_an_error(
    code: int | None, duelist: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def leave(study: Path) -> None:
        raise SystemExit(code)

    monkeypatch.setattr("duelist.report.status.status", leave)
    assert f"ended the process (exit code {code})" in duelist("status", "s").error
