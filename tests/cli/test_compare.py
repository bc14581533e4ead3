"""`duelist compare`: what it prints and leaves, and what it refuses before anything is made."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_results import Command, Result, WriteRecipe, everything_under

from duelist.compare import running
from killing import PROCESSES


@pytest.fixture(autouse=True)
def quick_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers are forked from a server that has the heavy modules loaded, instead of loading them anew each time."""
    monkeypatch.setattr(running, "PROCESSES", PROCESSES)


def test_a_comparison_from_beginning_to_end(duelist: Command, write_recipe: WriteRecipe) -> None:
    recipe = write_recipe()
    words = ["compare", recipe, "-a", "random,activedpo", "--seeds", "0:2", "-o", "c", "--set", "rounds=1"]
    done = duelist(*words)
    assert done.code == 0
    assert "activedpo, seed 1: mean_reward 0." in done.err and "after 6 labels" in done.err
    table = Path("c/table.md").read_text()
    assert table in done.out and "Only 2 seeds are shared" in table and "| activedpo |" in table
    assert "Picture: c/curves.png" in done.out
    assert {p.name for p in Path("c/studies").iterdir()} == {"random", "activedpo"}
    assert Path("c/studies/activedpo/seed-001/preferences.jsonl").is_file()
    assert "rounds closed" in duelist("status", "c/studies/activedpo/seed-001").out

    before = everything_under(Path("c"))
    again = duelist(*words)
    assert again == Result(0, done.out, "") and everything_under(Path("c")) == before
    assert duelist(*words, "--quiet") == Result(0, "", "")
    found = json.loads(duelist(*words, "--json", "--metric", "kl").out)
    assert found["baseline"] == "random" and found["seeds"] == [0, 1] and "decide nothing" in found["warning"]
    assert [m["metric"] for m in found["metrics"]] == [{"name": "kl", "higher_is_better": False}]
    assert json.loads(Path("c/summary.json").read_text()) == found
    assert "Did you mean 'mean_reward'" in duelist(*words, "--metric", "mean_rewards").error


@pytest.mark.full
def test_the_whole_comparison_at_each_value_of_a_key(duelist: Command, write_recipe: WriteRecipe) -> None:
    recipe = write_recipe(rounds=1)
    words = ["compare", recipe, "-a", "random,activedpo", "--seeds", "0", "-o", "c", "--each", "trainer.train.beta=1"]
    assert "DPOConfig" in duelist(*words).error or "beta" in duelist(*words).error  # an unknown key is refused first
    words[-1] = "budget=4,5"
    done = duelist(*words, "--metric", "kl")
    assert done.code == 0 and {p.name for p in Path("c").iterdir()} == {"budget=4", "budget=5", "table.md"}
    for budget in (4, 5):
        own = Path(f"c/budget={budget}/table.md").read_text()
        assert f"# budget={budget}\n\n{own}" in done.out and f"at {budget} labels" in own
        assert own in Path("c/table.md").read_text()
    assert set(json.loads(duelist(*words, "--json", "--metric", "kl").out)) == {"budget=4", "budget=5"}
    for wrong in ("budget", "budget=", "budget=4,4", "prompts.path=a/b"):
        assert "--each" in duelist(*words[:-1], wrong).error


def test_a_study_that_fails(duelist: Command, write_recipe: WriteRecipe, tmp_path: Path) -> None:
    (tmp_path / "rewards.py").write_text("def score(prompts, completions, **columns):\n    return [1.0]\n")
    recipe = write_recipe(rounds=1)
    arms = ["--arm", "good:acquisition=random", "--arm", f"bad:annotator.function={tmp_path}/rewards.py:score"]
    done = duelist("compare", recipe, *arms, "--seeds", "3", "-o", "c")
    assert done.code == 1
    assert "Picture: " in done.out
    assert "Error: c/studies/bad/seed-003 failed: The reward function" in done.err
    assert "c/studies/bad/seed-003.error.txt" in done.err and "1 studies failed" in done.err
    assert "bad, seed 3: failed after" in done.err and "good, seed 3: mean_reward" in done.err
    assert "Not finished, hence not counted: bad, seed 3." in done.out
    assert "bad differs in `annotator`" in done.out


def test_no_picture_is_named_where_nothing_was_measured(
    duelist: Command, write_recipe: WriteRecipe, tmp_path: Path
) -> None:
    (tmp_path / "rewards.py").write_text("def score(prompts, completions, **columns):\n    return [1.0]\n")
    arms = [f"{name}:annotator.function={tmp_path}/rewards.py:score,budget={n}" for name, n in (("a", 2), ("b", 3))]
    done = duelist("compare", write_recipe(rounds=1), "--arm", arms[0], "--arm", arms[1], "--seeds", "3", "-o", "c")
    assert done.code == 1 and "No study has finished that measured anything" in done.out
    assert "Picture" not in done.out and not Path("c/curves.png").exists()


def test_a_dry_run_touches_nothing(duelist: Command, write_recipe: WriteRecipe, tmp_path: Path) -> None:
    recipe = write_recipe()
    before = everything_under(tmp_path)
    arms = ["--arm", "one:acquisition=random", "--arm", "two:budget=3,annotator.choice=bradley_terry"]
    words = ["compare", recipe, *arms, "--seeds", "0:20", "-o", "c", "--dry-run"]
    found = json.loads(duelist(*words, "--json").out)
    assert (found["studies"], found["finished"], found["seeds"]) == (40, 0, list(range(20)))
    assert [found["arms"][name]["plan"]["labels"] for name in ("one", "two")] == [12, 6]
    assert found["unshared"] == {"two": ["annotator"]}
    assert {arm["recipe"]["seed"] for arm in found["arms"].values()} == {0}  # the first seed's: it may be prepared
    text = duelist(*words).out
    assert "40, of which 0 are finished" in text and "Each of two" in text and "360" in text
    assert "two differs in annotator" in text
    assert duelist(*words, "--quiet") == Result(0, "", "")
    assert everything_under(tmp_path) == before and list(Path().iterdir()) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-a", "random"], "two arms or more, but got random"),
        ([], "two arms or more, but got activedpo"),
        (["-a", ""], "`--acquisition` must be a list of names, as in `--acquisition NAME,NAME`, but got ''"),
        (["-a", " ,"], "`--acquisition` must be a list of names"),
        (["-a", "random,activedop"], "Did you mean 'activedpo'?"),
        (["-a", "random,activedpo", "--seeds", "0-5"], "`--seeds` is written"),
        (["-a", "random,activedpo", "--metric", "j:up"], "`:higher` or `:lower`"),
        (["-a", "random,activedpo", "--set", "seed=4"], "`--seeds` says the seeds"),
        (["-a", "random,activedpo", "--arm", "big:budget=99"], "budget=99"),
    ],
)
def test_what_is_refused_before_a_folder_is_made(
    words: list[str], said: str, duelist: Command, write_recipe: WriteRecipe
) -> None:
    assert said in duelist("compare", write_recipe(), "-o", "c", *words).error
    assert list(Path().iterdir()) == []


def test_a_folder_that_cannot_be_written(duelist: Command, write_recipe: WriteRecipe) -> None:
    Path("c").write_text("mine")
    error = duelist("compare", write_recipe(), "-a", "random,activedpo", "--seeds", "0", "-o", "c").error
    assert "A comparison's folder must be writable, but c is not" in error
