"""The `duelist` command: what it prints, what it leaves, and what it says of bad input."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer.testing import CliRunner

from duelist import Study, __version__, parse_recipe
from duelist.cli import app, main

DOCS = Path(__file__).parents[1] / "docs" / "cli.md"
MARK = "what follows. -->\n"
COMMANDS: Any = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def reference() -> str:
    """Every command with its arguments and options, in Markdown, from the commands' own help."""
    group: Any = typer.main.get_command(app)
    parts = ["\n".join(["### `duelist [OPTIONS] COMMAND`", "", group.help, "", *map(described, group.params)])]
    for name, command in sorted(COMMANDS.items()):
        arguments = [p for p in command.params if p.param_type_name == "argument"]
        options = [p for p in command.params if p.param_type_name == "option"]
        usage = " ".join([name, *(p.metavar for p in arguments), "[OPTIONS]"])
        lines = [f"### `duelist {usage}`", "", command.help, ""]
        lines += [f"- `{p.metavar}`: {p.help}" for p in arguments]
        parts.append("\n".join([*lines, *map(described, options)]))
    return "\n" + "\n\n".join(parts) + "\n"


def described(option: Any) -> str:
    """An option's line: its names, what it is for, whether it must be given, and its default."""
    value = "" if option.is_flag else f" {option.metavar or option.name.upper()}"
    names = ", ".join(f"`{o}{value}`" for o in option.opts)
    default = "" if option.default in (None, False) else f" Default: `{option.default}`."
    return f"- {names}: {option.help}{' Required.' if option.required else ''}{default}"


@dataclass(frozen=True)
class Result:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one message on standard error."""
        assert self.code == 2, (self.code, self.out, self.err)
        assert self.out == ""
        assert self.err.startswith("Error: ") and "Traceback" not in self.err
        return self.err


Command = Callable[..., Result]


@pytest.fixture
def duelist(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Command]:
    """Runs the command in this process, in an empty folder."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)

    def run(*words: str | Path) -> Result:
        monkeypatch.setattr(sys, "argv", ["duelist", *map(str, words)])
        capsys.readouterr()
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        printed = capsys.readouterr()
        return Result(code, printed.out, printed.err)

    import transformers

    verbosity = transformers.logging.get_verbosity()
    yield run
    transformers.logging.set_verbosity(verbosity)


@pytest.fixture
def write_recipe(tmp_path: Path, tiny_recipe: dict[str, Any]) -> Callable[..., Path]:
    """Writes the tiny recipe with some keys changed (a dotted key reaches inside), and returns its file."""

    def write(**changes: Any) -> Path:
        content = json.loads(json.dumps(tiny_recipe))
        for key, value in changes.items():
            *parents, last = key.split("__")
            target = content
            for parent in parents:
                target = target.setdefault(parent, {})
            target[last] = value
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump(content))
        return path

    return write


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def without_times(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


def everything_under(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


# Help, version and documentation


@pytest.mark.parametrize("words", [[], *([name] for name in COMMANDS)], ids=lambda words: "-".join(words) or "duelist")
def test_help_on_everything(words: list[str]) -> None:
    done = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "200", "NO_COLOR": "1"})
    assert done.exit_code == 0
    assert "Usage: " in done.output
    for name in COMMANDS if not words else [o for p in COMMANDS[words[0]].params for o in p.opts if o[0] == "-"]:
        assert name in done.output


def test_every_command_and_option_has_help() -> None:
    for name, command in COMMANDS.items():
        assert command.help, name
        for p in command.params:
            assert p.help, (name, p.name)


def test_the_documentation_says_what_the_help_says() -> None:
    _, _, written = DOCS.read_text(encoding="utf-8").partition(MARK)
    assert written == reference(), "Write it anew with `python tests/test_cli.py`."


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
    from duelist.components import COMPONENTS

    found = json.loads(duelist("methods", "--json").out)
    kinds = ("sampler", "pairing", "featurizer", "acquisition", "annotator", "trainer")
    assert {(m["kind"], m["name"]) for m in found} == {(kind, name) for kind in kinds for name in COMPONENTS[kind]}
    for m in found:
        assert m["summary"] and m["reference"] and m["formula"], m["name"]
    text = duelist("methods").out
    assert "acquisition: activedpo" in text and "2505.19241" in text


# Running a study


def test_a_study_from_beginning_to_end(
    duelist: Command, write_recipe: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = write_recipe(name="team/first")
    done = duelist("run", recipe)
    assert (done.code, done.err) == (0, "")
    folder = Path("studies/team-first")
    assert {p.name for p in folder.iterdir()} >= {
        *("recipe.yaml", "study.db", "rounds", "metrics.jsonl", "preferences.jsonl", "adapter", "report.html")
    }
    assert "activedpo, round 2" in done.out and f"Adapter: {folder}/adapter" in done.out
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


def test_json_is_pure_and_says_what_metrics_jsonl_says(duelist: Command, write_recipe: Callable[..., Path]) -> None:
    recipe = write_recipe(rounds=1, compare={"random": {"acquisition": "random"}})
    done = duelist("run", recipe, "--study", "s", "--json")
    assert done.code == 0 and done.err == ""
    main_row, random_row = (json.loads(line) for line in done.out.splitlines())
    assert (main_row.pop("arm"), random_row.pop("arm")) == ("activedpo", "random")
    assert main_row == lines(Path("s/metrics.jsonl"))[-1]
    assert random_row == lines(Path("s/compare/random/metrics.jsonl"))[-1]


def test_json_is_pure_in_a_process_of_its_own(write_recipe: Callable[..., Path], tmp_path: Path) -> None:
    """Libraries that print at import or while they work would show here."""
    recipe = write_recipe(rounds=1, acquisition="random")
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "duelist", "run", str(recipe), "--study", "s", "--json"]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert [json.loads(line)["round"] for line in done.stdout.splitlines()] == [1]


def test_a_dry_run_touches_nothing(duelist: Command, write_recipe: Callable[..., Path], tmp_path: Path) -> None:
    recipe = write_recipe()
    before = everything_under(tmp_path)
    done = duelist("run", recipe, "--dry-run", "--json")
    found = json.loads(done.out)
    assert found["plan"]["labels"] == 12
    assert found["plan"]["prompts_per_round"] == 24
    assert found["plan"]["generations"] == 24 * 3 * 2 + 6 * 3
    assert found["plan"]["candidate_pairs"] == 24 * 3
    assert parse_recipe(found["recipe"]) == parse_recipe(yaml.safe_load(recipe.read_text()))
    text = duelist("run", recipe, "--dry-run").out
    assert "2 rounds of 6 labels" in text
    # The recipe that it prints is YAML, long paths and all.
    assert yaml.safe_load(text[: text.index("tiny: 2 rounds")]) == found["recipe"]
    assert duelist("run", recipe, "--dry-run", "--quiet") == Result(0, "", "")
    assert everything_under(tmp_path) == before
    assert not any(p.is_dir() for p in Path().rglob("*"))


def test_a_dry_run_tells_what_is_out_of_reach(duelist: Command, write_recipe: Callable[..., Path]) -> None:
    recipe = write_recipe(policy__model="someone/some-model", prompts={"path": "someone/some-data", "per_round": 9})
    plan = json.loads(duelist("run", recipe, "--dry-run", "--json").out)["plan"]
    assert plan["base_parameters"] is None and plan["prompts_per_round"] == 9 and plan["labels"] == 12
    assert len(plan["notes"]) == 2 and all("out of reach here" in note for note in plan["notes"])
    # A study, unlike a plan, cannot do without.
    assert "'someone/some-data' (split 'train') must exist" in duelist("run", recipe).error


# Bad input: found before anything is made


def test_help_is_shown_without_a_command(duelist: Command) -> None:
    done = duelist()
    assert done.code == 2 and "Usage: " in done.out + done.err


BAD_RECIPES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "unknown key": ({"budgte": 3}, ["Unknown key `budgte`", "Did you mean 'budget'?"]),
    "unknown component key": ({"sampler__max_new_token": 3}, ["`max_new_token`", "Did you mean 'max_new_tokens'?"]),
    "bad value": ({"rounds": 0}, ["`rounds`", "greater than or equal to 1", "got 0"]),
    "unknown component": ({"acquisition": "activedop"}, ["`acquisition.name`", "Did you mean 'activedpo'?"]),
    "no such class": ({"acquisition": "no_such_package:Rule"}, ["no_such_package", "install its package"]),
    "unknown DPO argument": ({"trainer__train__lerning_rate": 1}, ["Did you mean 'learning_rate'?"]),
    "DPO argument that is ours": ({"trainer__train__max_length": 9}, ["`max_length` must not be set here, but is 9"]),
    "missing reward file": (
        {"annotator__function": "/nowhere/rewards.py:score"},
        ["must exist at /nowhere/rewards.py", "correct the path"],
    ),
    "budget over pool": (
        {"budget": 73},
        ["`budget <= candidate pairs`", "budget=73", "the pool has 72 at most", "lower the budget"],
    ),
    "budgets over fixed pool": (
        {"pool": "fixed", "budget": 37},
        ["budget=37 for 2 round(s) needs 74 pairs", "the pool has 72 at most"],
    ),
    "prompt too long": (
        {"sampler__max_new_tokens": 61},
        ["context of 64 tokens", "max_new_tokens=61 makes 65", "lower max_new_tokens"],
    ),
    "evaluation too long": ({"evaluation__max_new_tokens": 64}, ["max_new_tokens=64 makes 68"]),
    "missing model": ({"policy__model": "/nowhere/model"}, ["policy.model", "/nowhere/model", "correct the path"]),
    "model of the hub": ({"policy__model": "no/such-model"}, ["'no/such-model' could not be loaded", "log in"]),
    "missing template file": (
        {"policy__chat_template": "/nowhere/t.jinja"},
        ["policy.chat_template", "/nowhere/t.jinja", "correct the path"],
    ),
    "LoRA that does not fit": ({"policy__lora": {"rank": 4}}, ["`rank` must be an argument of LoraConfig"]),
    "missing data": ({"prompts__path": "/nowhere/p.jsonl"}, ["no such file at /nowhere/p.jsonl: correct the path"]),
    "too many held out": ({"prompts__held_out": 30}, ["`held_out < prompts`", "held_out=30 and 30 prompts"]),
    "unknown group": ({"evaluation__group_by": "knid"}, ["evaluation.group_by", "`knid`", "Did you mean 'kind'?"]),
    "missing reward model": (
        {"annotator": {"name": "reward_model", "model": "/nowhere/rm"}},
        ["annotator.model must be a folder that exists", "/nowhere/rm"],
    ),
    "two outputs": (
        {"reward": {"name": "model", "model": "TINY"}},
        ["A reward model must have one output", "has 2", "num_labels=1"],
    ),
}


@pytest.mark.parametrize("case", BAD_RECIPES)
def test_a_bad_recipe_is_refused_before_the_folder_is_made(
    case: str, duelist: Command, write_recipe: Callable[..., Path], tiny_model: Path
) -> None:
    changes, said = BAD_RECIPES[case]
    text = json.dumps(changes).replace("TINY", str(tiny_model))
    error = duelist("run", write_recipe(**json.loads(text)), "--study", "s").error
    for part in said:
        assert part in error, error
    assert list(Path().iterdir()) == []


BAD_DATA: dict[str, tuple[str, list[str]]] = {
    "no text": ('{"prompt": "w1"}\n{"prompt": "  "}\n', ["must hold text", "line 2 of", "is empty"]),
    "no prompt": ('{"text": "w1"}\n', ["must have a `prompt`", "line 1 of", "has only text"]),
    "no JSON": ('{"prompt": "w1"}\n\n{"prompt": \n', ["one JSON object", "line 3 of"]),
    "no rows": ("\n", ["at least one prompt"]),
    "too long": (
        "".join(json.dumps({"prompt": " ".join(["w1"] * n)}) + "\n" for n in (*range(2, 40), 70)),
        ["context of 64 tokens", "w1 w1", "max_new_tokens=6 makes 76"],
    ),
}


@pytest.mark.parametrize("case", BAD_DATA)
def test_bad_prompts_are_refused_before_the_folder_is_made(
    case: str, duelist: Command, write_recipe: Callable[..., Path], tmp_path: Path
) -> None:
    content, said = BAD_DATA[case]
    data = tmp_path / "p.jsonl"
    data.write_text(content)
    recipe = write_recipe(prompts={"path": str(data)}, evaluation={"max_new_tokens": 6})
    for words in (["--study", "s"], ["--dry-run"]):
        error = duelist("run", recipe, *words).error
        for part in said:
            assert part in error, error
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--set", "budget"], "written `key.path=value`"),
        (["--set", "acquisition.lamda=1"], "Did you mean 'lambda'?"),
        (["--set", "budgte=1"], "Did you mean 'budget'?"),
        (["--set", "budget=few"], "but got 'few'"),
    ],
)
def test_a_bad_override_is_refused(
    words: list[str], said: str, duelist: Command, write_recipe: Callable[..., Path]
) -> None:
    assert said in duelist("run", write_recipe(), *words).error
    assert list(Path().iterdir()) == []


def test_a_missing_recipe_names_the_nearest(duelist: Command) -> None:
    assert "there is no 'quickstrat'. Did you mean 'quickstart'?" in duelist("run", "quickstrat").error


def test_a_model_and_a_chat_template_that_come_later(
    duelist: Command, write_recipe: Callable[..., Path], tiny_model: Path, tmp_path: Path
) -> None:
    """The same command goes on once the cause is mended."""
    model = tmp_path / "model"
    recipe = write_recipe(policy__model=str(model), rounds=1, acquisition="random")
    assert "there is no folder" in duelist("run", recipe).error
    shutil.copytree(tiny_model, model)
    template = next(model.glob("chat_template*"))
    template.rename(tmp_path / "aside")
    error = duelist("run", recipe).error
    assert "need a tokenizer with a chat template" in error and "set `policy.chat_template`" in error
    (model / "model.safetensors").rename(tmp_path / "weights")
    (tmp_path / "aside").rename(template)
    assert f"'{model}' could not be loaded" in duelist("run", recipe).error
    (tmp_path / "weights").rename(model / "model.safetensors")
    assert duelist("run", recipe, "--quiet") == Result(0, "", "")


@pytest.mark.parametrize("command", ["status", "report", "export"])
def test_a_folder_without_a_study_is_named_and_left_alone(command: str, duelist: Command, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    rest = ["-o", "out.jsonl"] if command == "export" else []
    for folder in ("empty", "nowhere"):
        error = duelist(command, tmp_path / folder, *rest).error
        assert f"{tmp_path}/{folder}" in error and "recipe.yaml" in error
    assert list((tmp_path / "empty").iterdir()) == list(Path().iterdir()) == []


def test_an_export_that_cannot_be_written(duelist: Command, write_recipe: Callable[..., Path], tmp_path: Path) -> None:
    Study.create("s", parse_recipe(yaml.safe_load(write_recipe().read_text()))).close()
    assert "`--format` must be one of trl, jsonl, but got 'csv'" in duelist("export", "s", "-f", "csv", "-o", "x").error
    assert "must be a file that can be written" in duelist("export", "s", "-o", tmp_path).error
    assert duelist("export", "s", "-o", "x.jsonl").out == "0 rows written to x.jsonl\n"


def test_a_folder_with_other_things_in_it_is_left_alone(duelist: Command, write_recipe: Callable[..., Path]) -> None:
    Path("s").mkdir()
    Path("s/thesis.tex").write_text("mine")
    error = duelist("run", write_recipe(), "--study", "s").error
    assert "needs a new or empty folder" in error and "thesis.tex" in error
    assert [p.name for p in Path("s").iterdir()] == ["thesis.tex"]


# Bad input that shows while a study runs: nothing half-written, and the same command goes on

FAILING_REWARD = """
from pathlib import Path

HERE = Path(__file__).parent


def score(prompts, completions, **columns):
    values = [float(len(set(c[0]["content"].split()))) for c in completions]
    if (HERE / "fails").exists():
        good_calls, statement = (HERE / "fails").read_text().split(" ", 1)
        if int(good_calls) == 0:
            names = {"values": values}
            exec(statement, names)
            return names["values"]
        (HERE / "fails").write_text(f"{int(good_calls) - 1} {statement}")
    return values
"""


def test_a_reward_function_that_fails_costs_nothing(
    duelist: Command, write_recipe: Callable[..., Path], tmp_path: Path
) -> None:
    """It fails at four places of one study, in four ways, and in the end nobody could tell."""
    (tmp_path / "rewards.py").write_text(FAILING_REWARD)
    recipe = write_recipe(annotator__function=f"{tmp_path}/rewards.py:score", acquisition="random")
    for fails, said, rounds_recorded in (
        ("0 raise RuntimeError('the judge is asleep')", "it raised RuntimeError: the judge is asleep", 0),
        ("1 values[0] = float('nan')", "gave nan (1 of ", 1),  # the initial model is measured; then labels fail
        ("1 values[-1] = None", "gave None (1 of ", 1),  # labels are given; then the evaluation of round 1 fails
        ("1 values.pop()", "one per completion, but returned", 2),  # the evaluation is done; labels of round 2 fail
    ):
        (tmp_path / "fails").write_text(fails)
        done = duelist("run", recipe, "--study", "s")
        assert done.code == 2 and done.err.startswith("Error: ") and "Traceback" not in done.err
        assert said in done.err and "run the same command again; nothing is lost" in done.err
        assert not list(Path("s").rglob(".tmp-*"))
        metrics = Path("s/metrics.jsonl")
        assert len(lines(metrics) if metrics.exists() else []) == rounds_recorded

    (tmp_path / "fails").unlink()
    assert duelist("run", recipe, "--study", "s", "--quiet") == Result(0, "", "")
    assert duelist("run", recipe, "--study", "undisturbed", "--quiet") == Result(0, "", "")
    mended, undisturbed = (without_times(lines(Path(f"{name}/metrics.jsonl"))) for name in ("s", "undisturbed"))
    assert mended == undisturbed
    assert Path("s/preferences.jsonl").read_bytes() == Path("undisturbed/preferences.jsonl").read_bytes()


def test_prompts_without_responses_stop_the_dataset_sampler_until_they_have_them(
    duelist: Command, write_recipe: Callable[..., Path], tmp_path: Path
) -> None:
    data = tmp_path / "p.jsonl"
    rows = [{"prompt": f"w{i} ", "responses": ["w1", "w2 w3", "w4"]} for i in range(8)]

    def write() -> None:
        data.write_text("".join(json.dumps(row) + "\n" for row in rows))

    rows[5]["responses"] = ["w1"]
    write()
    settings: dict[str, Any] = {"prompts": {"path": str(data)}, "sampler": "dataset", "evaluation": {}}
    recipe = write_recipe(**settings, rounds=1, acquisition="random")
    error = duelist("run", recipe, "--study", "s").err
    assert "needs two responses or more for every prompt" in error and "'w5 '" in error and "has 1" in error
    rows[5]["responses"] = ["w1", "w2"]
    write()
    assert duelist("run", recipe, "--study", "s", "--quiet") == Result(0, "", "")
    assert len(lines(Path("s/preferences.jsonl"))) > 0


def test_a_data_set_that_runs_dry_is_found_at_the_beginning(
    duelist: Command, write_recipe: Callable[..., Path], tmp_path: Path
) -> None:
    """Given responses are the same every round: two rounds of six pairs need twelve, not six."""
    data = tmp_path / "p.jsonl"
    rows = [{"prompt": f"w{i} ", "chosen": "w1", "rejected": "w2"} for i in range(11)]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings: dict[str, Any] = {"prompts": {"path": str(data)}, "sampler": "dataset", "evaluation": {}}
    for pairing in ("as_given", "in_prompt"):
        error = duelist("run", write_recipe(**settings, pairing=pairing)).error
        assert "budget=6 for 2 round(s) needs 12 pairs, and the pool has 11 at most" in error


if __name__ == "__main__":
    head, mark, _ = DOCS.read_text(encoding="utf-8").partition(MARK)
    DOCS.write_text(head + mark + reference(), encoding="utf-8")
