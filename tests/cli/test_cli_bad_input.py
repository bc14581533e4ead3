"""What the command says of bad input: exit code 2, one message, nothing half-written, and the study goes on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from cli_results import Command, Result, WriteRecipe, lines, without_times

from duelist import Study, parse_recipe
from tiers import first_rows

# Found before anything is made


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
        ["`budget <= candidate questions`", "budget=73", "the pool has 72 at most", "lower the budget"],
    ),
    "budgets over fixed pool": (
        {"pool": "fixed", "budget": 37},
        ["budget=37 for 2 round(s) needs 74 questions", "the pool has 72 at most"],
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
    "no annotator": ({"annotator": None}, ["`annotator` must be set to run a study by itself", "use ask() and tell()"]),
    "unknown group": ({"evaluation__group_by": "knid"}, ["evaluation.group_by", "`knid`", "Did you mean 'kind'?"]),
    "missing reward model": (
        {"annotator": {"name": "reward_model", "model": "/nowhere/rm"}},
        ["annotator.model must be a folder that exists", "/nowhere/rm"],
    ),
    "a tracker that is not installed": (
        {"trainer__train__report_to": ["none-such"]},
        ["`trainer.train.report_to` must name trackers that are installed, but 'none-such' is not: install its"],
    ),
    "a tracker of the reward model": (
        {"trainer": {"name": "rlhf", "reward_model": {"train": {"report_to": "none-such"}}}},
        ["`trainer.reward_model.train.report_to` must name trackers that are installed"],
    ),
    "a settings that needs a package": (
        {"trainer__train__deepspeed": "none.json"},
        ["`trainer.train` must be arguments of trl.DPOConfig, but it refused them"],
    ),
    "a reward that is no function": (
        {"annotator__function": "math:pi"},
        ["`function` must name a function", "a float"],
    ),
    "a reward function of something else": (
        {"annotator__function": "os:system"},
        ["must take `prompts`, `completions`", "os:system does not: got an unexpected keyword argument 'prompts'"],
    ),
    "a reward function that does not take the columns": (
        {"annotator__function": "NARROW:score"},
        ["NARROW:score does not: got an unexpected keyword argument 'kind'", "`**columns`"],
    ),
    "an arm's reward function": (
        {"compare": {"other": {"annotator": {"name": "reward_function", "function": "os:system"}}}},
        ["os:system does not"],
    ),
    "a preparation's settings": (
        {"prepare": {"function": "duelist.world:prepare", "settings": {"kindz": 3}}},
        ["kindz"],
    ),
    "a preparation's value": (
        {"prepare": {"function": "duelist.world:prepare", "settings": {"kinds": "many"}}},
        ["kinds"],
    ),
    "a preparation that raises": (
        {"prepare": {"function": "NARROW:make"}},
        ["make must return without an error, but it raised KeyError: 'reason' (NARROW, line 5)"],
    ),
    "a budget over what is prepared": (
        {
            "prepare": {"function": "NARROW:rows"},
            "prompts": {"path": "{prepared}/p.jsonl"},
            "budget": 7,
            "evaluation": {},
        },
        ["`budget <= candidate questions`", "the pool has 6 at most"],
    ),
    "a rule that cannot be made": ({"acquisition": "NARROW:Rule"}, ["Rule must return without an error", "TypeError"]),
    "a rule whose annotations cannot be read": (
        {"acquisition": "NARROW:Odd"},
        ["annotations of NARROW:Odd's constructor"],
    ),
    "two outputs": (
        {"reward": {"name": "model", "model": "TINY"}},
        ["A reward model must have one output", "has 2", "num_labels=1"],
    ),
}


NARROW = """def score(prompts, completions):
    return [1.0] * len(prompts)

def make(folder):
    raise KeyError("reason")

def rows(folder):
    (folder / "p.jsonl").write_text('{"prompt": "w1"}\\n{"prompt": "w2"}\\n')

from duelist import Acquisition

class Rule(Acquisition):
    needs = frozenset()

    def __init__(self):
        len(3)

    def select(self, features, budget, rng):
        pass

class Odd(Rule):
    def __init__(self, config: "Missing"):
        pass
"""


@pytest.mark.parametrize("case", BAD_RECIPES)
def test_a_bad_recipe_is_refused_before_the_folder_is_made(
    case: str,
    duelist: Command,
    write_recipe: WriteRecipe,
    tiny_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DUELIST_CACHE", str(tmp_path / "cache"))
    narrow = tmp_path / "narrow.py"
    narrow.write_text(NARROW)
    changes, said = BAD_RECIPES[case]
    text = json.dumps(changes).replace("TINY", str(tiny_model)).replace("NARROW", str(narrow))
    error = duelist("run", write_recipe(**json.loads(text)), "--study", "s").error
    for part in said:
        assert part.replace("NARROW", str(narrow)) in error, error
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
    case: str, duelist: Command, write_recipe: WriteRecipe, tmp_path: Path
) -> None:
    content, said = BAD_DATA[case]
    data = tmp_path / "p.jsonl"
    data.write_text(content)
    recipe = write_recipe(prompts={"path": str(data)}, evaluation={"max_new_tokens": 6})
    for words in (["--study", "s"], ["--check"]):
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
def test_a_bad_override_is_refused(words: list[str], said: str, duelist: Command, write_recipe: WriteRecipe) -> None:
    assert said in duelist("run", write_recipe(), *words).error
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize("name", [".", "..", "x" * 300, "ä" * 200])
def test_a_name_that_no_folder_can_have(name: str, duelist: Command, write_recipe: WriteRecipe) -> None:
    error = duelist("run", write_recipe(name=name)).error
    assert "--study" in error or "give a shorter one" in error
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize("folder", ["x" * 300, "a/b/" + "x" * 300, "/".join(["x" * 200] * 30), "no text \udcff"])
def test_a_folder_that_cannot_be(folder: str, duelist: Command, write_recipe: WriteRecipe) -> None:
    recipe = write_recipe()
    for words in (
        ["run", recipe, "--study", folder],
        ["status", folder],
        ["report", folder],
        ["export", folder, "-o", "out.jsonl"],
        ["compare", recipe, "-a", "random,activedpo", "-o", folder],
    ):
        error = duelist(*words).error
        assert any(said in error for said in ("give a shorter one", "File name too long", "must be Unicode text"))
    assert list(Path().iterdir()) == []


def test_a_study_that_torchrun_starts_in_several_processes_is_refused(
    duelist: Command, write_recipe: WriteRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv("WORLD_SIZE", "2")
    done = duelist("run", write_recipe())
    assert (done.code, "trainer.processes=2" in done.err, list(Path().iterdir())) == (2, True, [])


def test_a_missing_recipe_names_the_nearest(duelist: Command) -> None:
    assert "there is no 'quickstrat'. Did you mean 'quickstart'?" in duelist("run", "quickstrat").error


def test_a_model_and_a_chat_template_that_come_later(
    duelist: Command, write_recipe: WriteRecipe, tiny_model: Path, tmp_path: Path
) -> None:
    """The same command goes on once the cause is fixed."""
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


def test_an_export_that_cannot_be_written(duelist: Command, write_recipe: WriteRecipe, tmp_path: Path) -> None:
    Study.create("s", parse_recipe(yaml.safe_load(write_recipe().read_text()))).close()
    formats = "trl, jsonl, csv, axolotl, llama_factory, label-studio, argilla, potato"
    error = duelist("export", "s", "-f", "xml", "-o", "x").error
    assert f"`--format` must be one of {formats}, but got 'xml'" in error
    assert "must be a file that can be written" in duelist("export", "s", "-o", tmp_path).error
    assert duelist("export", "s", "-o", "x.jsonl").out == "0 rows written to x.jsonl\n"


def test_a_folder_with_other_things_in_it_is_left_alone(duelist: Command, write_recipe: WriteRecipe) -> None:
    Path("s").mkdir()
    Path("s/thesis.tex").write_text("mine")
    error = duelist("run", write_recipe(), "--study", "s").error
    assert "needs a new or empty folder" in error and "thesis.tex" in error
    assert [p.name for p in Path("s").iterdir()] == ["thesis.tex"]


# Found while a study runs

OWN_RULE = """
import numpy as np

from duelist import Acquisition, Selection


class Rule(Acquisition):
    needs = frozenset()

    def select(self, features, budget, rng):
        indices, scores, unit, diagnostics = np.arange(budget), np.zeros(budget), "none", {}
        STATEMENT
        return Selection(indices, scores, unit, diagnostics)
"""


@pytest.mark.parametrize(
    ("statement", "said"),
    first_rows(
        6,
        [
            ("raise KeyError('reason')", "Rule must return without an error, but it raised KeyError: 'reason' ("),
            ("diagnostics = {'x': float('nan')}", "Rule's diagnostics must be finite numbers, but 'x' is nan"),
            ("diagnostics = {3: 1.0}", "Rule's diagnostics must map names to numbers, but are {3: 1.0}"),
            ("unit = None", "Rule must say the unit of its scores in words, but said None"),
            ("scores = ['x'] * budget", "Rule must return arrays of positions and scores"),
            ("return None", "Rule.select must return a Selection, but returned a NoneType"),
            ("1 / 0", "Rule must return without an error, but it raised ZeroDivisionError: division by zero ("),
            ("diagnostics = {'x': np.float32('inf')}", "Rule's diagnostics must be finite numbers, but 'x' is"),
            ("diagnostics = {'x': 10**400}", "Rule's diagnostics must be finite numbers, but 'x' is 1000"),
            ("diagnostics = {'x': object()}", "Rule's diagnostics must be finite numbers, but 'x' is <object"),
            ("diagnostics = {'x': 'text'}", "Rule's diagnostics must be finite numbers, but 'x' is 'text'"),
            ("diagnostics = {'x': np.zeros(3)}", "Rule's diagnostics must be finite numbers, but 'x' is array"),
            ("diagnostics = [1.0]", "Rule's diagnostics must map names to numbers, but are [1.0]"),
            ("diagnostics = None", "Rule's diagnostics must map names to numbers, but are None"),
            ("indices = [[1], [2, 3]]", "Rule must return arrays of positions and scores"),
        ],
    ),
)
def test_a_rule_of_one_s_own_that_misbehaves(
    statement: str, said: str, duelist: Command, write_recipe: WriteRecipe, tmp_path: Path
) -> None:
    (tmp_path / "own.py").write_text(OWN_RULE.replace("STATEMENT", statement))
    done = duelist("run", write_recipe(acquisition=f"{tmp_path}/own.py:Rule"), "--study", "s")
    assert done.code == 2 and done.err.startswith("Error: ") and said in done.err and "Traceback" not in done.err
    assert not list(Path("s").rglob(".tmp-*")) and not list(Path("s").rglob("selection.json"))


def test_numbers_of_numpy_are_diagnostics_too(duelist: Command, write_recipe: WriteRecipe, tmp_path: Path) -> None:
    told = "diagnostics = {'a': np.float32(0.5), 'b': np.int64(3), 'c': np.bool_(True), 'd': 2}"
    (tmp_path / "own.py").write_text(OWN_RULE.replace("STATEMENT", told))
    recipe = write_recipe(acquisition=f"{tmp_path}/own.py:Rule", rounds=1)
    assert duelist("run", recipe, "--study", "s", "--quiet") == Result(0, "", "")
    selection = json.loads(Path("s/rounds/001/selection.json").read_text())
    assert {k: selection["diagnostics"][k] for k in "abcd"} == {"a": 0.5, "b": 3, "c": True, "d": 2}


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


@pytest.mark.full
def test_a_reward_function_that_fails_costs_nothing(
    duelist: Command, write_recipe: WriteRecipe, tmp_path: Path
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
    fixed, undisturbed = (without_times(lines(Path(f"{name}/metrics.jsonl"))) for name in ("s", "undisturbed"))
    assert fixed == undisturbed
    assert Path("s/preferences.jsonl").read_bytes() == Path("undisturbed/preferences.jsonl").read_bytes()


def test_prompts_without_responses_stop_the_dataset_sampler_until_they_have_them(
    duelist: Command, write_recipe: WriteRecipe, tmp_path: Path
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
    duelist: Command, write_recipe: WriteRecipe, tmp_path: Path
) -> None:
    """Given responses are the same every round: two rounds of six pairs need twelve, not six."""
    data = tmp_path / "p.jsonl"
    rows = [{"prompt": f"w{i} ", "chosen": "w1", "rejected": "w2"} for i in range(11)]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings: dict[str, Any] = {"prompts": {"path": str(data)}, "sampler": "dataset", "evaluation": {}}
    for pairing in ("as_given", "in_prompt"):
        error = duelist("run", write_recipe(**settings, pairing=pairing)).error
        assert "budget=6 for 2 round(s) needs 12 questions, and the pool has 11 at most" in error
