"""The `duelist` command: what it prints, and what it leaves."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from cli_results import Command, Result, WriteRecipe, everything_under, lines

from duelist import __version__, load_recipe, parse_recipe


def test_version(duelist: Command) -> None:
    assert duelist("--version") == Result(0, f"{__version__}\n", "")


def test_the_command_as_a_program(tmp_path: Path) -> None:
    """A process of its own: the exit codes, and that nothing heavy is loaded for help."""
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}

    def program(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-X", "importtime", "-m", "duelist", *words]
        return subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)

    done = program("--version")
    assert (done.returncode, done.stdout) == (0, f"{__version__}\n")
    assert "| torch\n" not in done.stderr
    done = program("no-such-command")
    assert (done.returncode, done.stdout) == (2, "")
    assert "No such command" in done.stderr


# Listing what there is


def test_recipes(duelist: Command) -> None:
    found = json.loads(duelist("recipes", "--json").out)
    assert "quickstart" in found and all(found.values())
    assert "quickstart" in duelist("recipes").out


def test_every_method_has_its_reference_and_formula(duelist: Command) -> None:
    from duelist.recipe.components import COMPONENTS

    found = json.loads(duelist("methods", "--json").out)
    kinds = ("sampler", "pairing", "featurizer", "acquisition", "annotator", "trainer")
    paths = {(kind, name): path for kind in kinds for name, path in COMPONENTS[kind].items()}
    paths["acquisition setting", "lure"] = "duelist.acquisition.lure:LureConfig"
    assert {(m["kind"], m["name"]): m["path"] for m in found} == paths
    for m in found:
        assert m["summary"] and m["reference"] and m["formula"] and m["cost"], m["name"]
        if m["kind"] == "acquisition":
            assert m["unit"], m["name"]
    rules = {m["name"]: m for m in found if m["kind"] == "acquisition"}
    assert rules["random"]["needs"] == []
    assert rules["activedpo"]["needs"] == ["gradient_ND", "past"]
    assert rules["aplp"]["needs"] == ["margin_N", "prompt_entropy_N"]
    # Rules that share a file are told apart by their classes.
    shared = [rules[name] for name in ("margin", "entropy", "maxdiff")]
    assert len({m["summary"] for m in shared}) == len({m["formula"] for m in shared}) == 3
    assert rules["margin"]["summary"].startswith("Selection by the reward margin")
    text = duelist("methods").out
    assert "acquisition: activedpo" in text and "2505.19241" in text
    assert "needs: gradient_ND, past" in text


def test_listing_methods_loads_no_model_library() -> None:
    probe = "import sys; from duelist.cli.methods import list_methods; list_methods(); print('torch' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", probe], text=True).strip() == "False"


# Running a study


def test_a_study_from_beginning_to_end(
    duelist: Command, write_recipe: WriteRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = write_recipe(name="team/first")
    done = duelist("run", recipe)
    assert (done.code, done.err) == (0, "")
    folder = Path("studies/team-first")
    assert {p.name for p in folder.iterdir()} >= {
        *(
            "recipe.yaml",
            "study.db",
            "rounds",
            "metrics.jsonl",
            "preferences.jsonl",
            "adapter",
            "report.html",
            "README.md",
        )
    }
    assert re.search(r"^ +2 +12 +\d\.\d{4}", done.out, re.M) and done.out.count("mean reward") == 1
    assert f"What each file is: {folder}/README.md" in done.out and f"Adapter: {folder}/adapter" in done.out
    metrics = lines(folder / "metrics.jsonl")
    assert [(m["round"], m["labels"]) for m in metrics] == [(0, 0), (1, 6), (2, 12)]

    # The same command again has nothing left to do, and says where things are.
    before = everything_under(folder / "rounds")
    again = duelist("run", recipe)
    assert again.code == 0 and "Report: " in again.out
    assert everything_under(folder / "rounds") == before
    assert duelist("run", recipe, "--json") == Result(0, "", "")
    assert lines(folder / "metrics.jsonl") == metrics

    # Another recipe is refused, and changes nothing.
    error = duelist("run", recipe, "--set", "budget=5").error
    assert "budget" in error and "was 6, now 5" in error and "give a new --study folder" in error
    assert lines(folder / "metrics.jsonl") == metrics

    state = json.loads(duelist("status", folder, "--json").out)
    assert (state["rounds"], state["rounds_closed"], state["labels"]) == (2, 2, 12)
    assert "rounds" in duelist("status", folder).out
    assert duelist("report", folder) == Result(0, f"{folder}/report.html\n", "")
    assert duelist("report", folder, "--quiet") == Result(0, "", "")

    deep = tmp_path / "a" / "folder" / ("with-a-long-name-" * 6) / "out.jsonl"
    assert duelist("export", folder, "-o", deep).out == f"12 rows written to {deep}\n"
    assert deep.read_bytes() == (folder / "preferences.jsonl").read_bytes()
    assert duelist("export", folder, "--format", "jsonl", "-o", deep, "-q") == Result(0, "", "")
    assert [len(row["labels"]) for row in lines(deep)] == [1] * 12


def test_json_is_pure_and_says_what_metrics_jsonl_says(duelist: Command, write_recipe: WriteRecipe) -> None:
    recipe = write_recipe(rounds=1, compare={"random": {"acquisition": "random"}})
    done = duelist("run", recipe, "--study", "s", "--json")
    assert done.code == 0 and done.err == ""
    main_row, random_row = (json.loads(line) for line in done.out.splitlines())
    assert (main_row.pop("arm"), random_row.pop("arm")) == ("activedpo", "random")
    assert main_row.pop("seed") == random_row.pop("seed") == 0
    assert main_row == lines(Path("s/metrics.jsonl"))[-1]
    assert random_row == lines(Path("s/compare/random/metrics.jsonl"))[-1]


@pytest.mark.full
def test_json_is_pure_in_a_process_of_its_own(write_recipe: WriteRecipe, tmp_path: Path) -> None:
    """Libraries that print at import or while they work would show here."""
    recipe = write_recipe(rounds=1, acquisition="random")
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "duelist", "run", str(recipe), "--study", "s", "--json"]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert [json.loads(line)["round"] for line in done.stdout.splitlines()] == [1]


def test_a_dry_run_touches_nothing(duelist: Command, write_recipe: WriteRecipe, tmp_path: Path) -> None:
    recipe = write_recipe()
    before = everything_under(tmp_path)
    done = duelist("run", recipe, "--dry-run", "--json")
    found = json.loads(done.out)
    assert found["plan"]["labels"] == 12
    assert found["plan"]["prompts_per_round"] == 24
    assert found["plan"]["generations"] == 24 * 3 * 2 + 6 * 3
    assert found["plan"]["candidate_pairs"] == 24 * 3
    assert parse_recipe(found["recipe"]) == parse_recipe(yaml.safe_load(recipe.read_text()))
    shown = duelist("run", recipe, "--dry-run")
    assert "2 rounds of 6 labels" in shown.err and "disk" in shown.err
    # What it prints on standard output is a recipe, long paths and all.
    assert yaml.safe_load(shown.out) == found["recipe"]
    assert duelist("run", recipe, "--dry-run", "--quiet") == Result(0, "", "")
    assert everything_under(tmp_path) == before
    assert not any(p.is_dir() for p in Path().rglob("*"))


@pytest.mark.full
def test_the_recipe_that_a_dry_run_prints_is_that_study_s(duelist: Command, write_recipe: WriteRecipe) -> None:
    recipe = write_recipe(rounds=1, acquisition="random", description=":smile: 1e5\t[bold]")
    printed = Path("p.yaml")
    printed.write_text(duelist("run", recipe, "--dry-run").out)
    assert load_recipe(printed) == load_recipe(recipe)
    assert duelist("run", printed, "--quiet") == Result(0, "", "")
    # So does the study's own copy.
    assert duelist("run", Path("studies/tiny/recipe.yaml"), "--quiet") == Result(0, "", "")
    assert duelist("run", recipe, "--quiet") == Result(0, "", "")


@pytest.mark.full
def test_where_training_reports_may_change_while_a_study_runs(
    duelist: Command, write_recipe: WriteRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("duelist.study.study.Study.run", lambda study, **_: study.ask())
    trainer = {"name": "dpo", "train": {"learning_rate": 0.1}}
    recipe = write_recipe(acquisition="random", compare={"other": {"trainer": trainer}})
    assert duelist("run", recipe, "--study", "s", "--quiet").code == 0
    pending = everything_under(Path("s/rounds"))
    changes = ["report_to=none", "run_name=second", "logging_steps=2", "logging_first_step=true"]
    words = [word for change in changes for word in ("--set", f"trainer.train.{change}")]
    assert duelist("run", recipe, "--study", "s", "--quiet", *words).code == 0
    assert load_recipe("s/recipe.yaml").trainer.setting("train")["run_name"] == "second"
    error = duelist("run", recipe, "--study", "s", "--set", "trainer.train.report_to=no-tracker").error
    assert "`trainer.train.report_to` must name trackers that are installed, but 'no-tracker' is not" in error
    of_arm = "compare.other.trainer.train.report_to=no-tracker"
    assert "'no-tracker' is not" in duelist("run", recipe, "--study", "s", *words, "--set", of_arm).error
    for change in ("trainer.train.learning_rate=0.5", "trainer.loss=xpo"):
        error = duelist("run", recipe, "--study", "s", *words, "--set", change, "--set", "sampler=hybrid").error
        assert "begun with other values of" in error and "trainer" in error
    assert load_recipe("s/recipe.yaml").trainer.setting("train")["run_name"] == "second"
    assert everything_under(Path("s/rounds")) == pending


def test_a_dry_run_lists_what_it_leaves_to_the_check(duelist: Command, write_recipe: WriteRecipe) -> None:
    recipe = write_recipe(trainer__train={"lr_scheduler_type": "no-such-schedule"})
    plan = json.loads(duelist("run", recipe, "--dry-run", "--json").out)["plan"]
    (note,) = (n for n in plan["notes"] if n.startswith("Not checked"))
    assert "`trainer.train`" in note and "`policy.model`" in note and plan["base_parameters"] is None
    assert "no-such-schedule" in duelist("run", recipe, "--check").error
    recipe = write_recipe(policy__model="./no-such-folder")
    assert "no folder ./no-such-folder" in duelist("run", recipe, "--dry-run").error


def test_a_dry_run_tells_what_is_out_of_reach(duelist: Command, write_recipe: WriteRecipe) -> None:
    recipe = write_recipe(policy__model="someone/some-model", prompts={"path": "someone/some-data", "per_round": 9})
    plan = json.loads(duelist("run", recipe, "--check", "--json").out)["plan"]
    assert plan["base_parameters"] is None and plan["prompts_per_round"] == 9 and plan["labels"] == 12
    assert len(plan["notes"]) == 3 and sum("out of reach here" in note for note in plan["notes"]) == 2
    # A study, unlike a plan, cannot do without.
    assert "'someone/some-data' (split 'train') must exist" in duelist("run", recipe).error
