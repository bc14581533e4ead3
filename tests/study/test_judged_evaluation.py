"""Studies that let a judge compare with the initial model or with fixed outputs: recorded, resumed, and checked."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from duelist import Study, load_recipe, parse_recipe
from duelist.cli.console import round_table
from duelist.errors import DataError, RecipeError
from duelist.judgement import Judgement
from duelist.preflight.examination import examine
from duelist.recipe.recipe import recipe_content
from duelist.report.page import write_report
from duelist.store import codecs
from killing import in_process, run_study
from outcomes import lines, require_equal, smaller

JUDGE = """
from pathlib import Path

def score(text):
    return sum(int(w[1:]) for w in text.split() if w[1:].isdigit()) / 400

def judge(prompts, first, second, **columns):
    # Likes high words and the response displayed first; where both begin alike, it says nothing usable.
    with Path(__file__).with_suffix(".asked").open("a") as file:
        file.write(f"{len(prompts)}\\n")
    found = []
    for a, b in zip(first, second):
        p = min(max(0.6 + score(a) - score(b), 0), 1)
        found.append(None if a.split()[:1] == b.split()[:1] else (p, 1 - p, 0.0))
    return found
"""


@pytest.fixture
def judged_recipe(tiny_recipe: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "judges.py").write_text(JUDGE, encoding="utf-8")
    recipe = smaller(tiny_recipe)
    recipe["prompts"] = {**recipe["prompts"], "held_out": 8}
    train = {**recipe["trainer"]["train"], "learning_rate": 0.1}  # so that the responses change
    recipe |= {"rounds": 1, "trainer": {"name": "dpo", "train": train}}
    return {**recipe, "evaluation": {"max_new_tokens": 6, "judge": {"function": f"{tmp_path / 'judges.py'}:judge"}}}


def test_a_study_judged_against_its_initial_model(judged_recipe: dict[str, Any], tmp_path: Path) -> None:
    with Study.create(tmp_path / "study", parse_recipe(judged_recipe)) as study:
        study.run()
        metrics = study.store.metrics()
        before, after = (study.folder.read(t, "evaluate", codecs.EVALUATION).samples for t in (0, 1))
    for name in ("judge_win_rate", "judge_discrete_win_rate", "judge_lc_win_rate"):
        assert metrics[0][name] == 0.5 and metrics[0][f"{name}_interval"] == {"low": 0.5, "high": 0.5}
    assert all(sample["judgement"] is None for sample in before)
    assert [s["reference"] for s in after] == [s["response"] for s in before]
    # Every sample has its judgement in the terms of a, the policy's response.
    scope: dict[str, Any] = {"__file__": str(tmp_path / "oracle.py")}
    exec(JUDGE, scope)
    probabilities, unparsed = [], 0
    for sample in after:
        a, b = sample["response"], sample["reference"]
        if a == b:
            assert sample["judgement"] is None
            probabilities.append(0.5)
            continue
        judgement = Judgement.from_json(sample["judgement"])
        (first,), (second,) = scope["judge"]([0], [a], [b]), scope["judge"]([0], [b], [a])
        if first is None:
            unparsed += 1
            assert judgement.outcome == "unparsed"
        else:
            assert judgement.a_first == first and judgement.b_first == (second[1], second[0], 0)
            probabilities.append((first[0] + second[1]) / 2)
    assert any(p != 0.5 for p in probabilities)
    assert metrics[1]["judge_win_rate"] == pytest.approx(np.mean(probabilities))
    assert metrics[1]["judge_unparsed"] == unparsed
    ends = metrics[1]["judge_win_rate_interval"]
    assert ends["low"] <= metrics[1]["judge_win_rate"] <= ends["high"]


def test_win_rates_are_shown_with_their_intervals(
    judged_recipe: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Study.create(tmp_path / "study", parse_recipe(judged_recipe)) as study:
        study.run()
        metrics = study.store.metrics()
    low, high = (metrics[1]["judge_win_rate_interval"][end] for end in ("low", "high"))
    Console(width=300).print(round_table(metrics, "rounds"))
    told = " ".join(capsys.readouterr().out.split())
    assert f"{metrics[1]['judge_win_rate']:.4f} ({low:.4f} – {high:.4f})" in told
    page = write_report(tmp_path / "study").read_text("utf-8")
    assert f'<td>{metrics[1]["judge_win_rate"]:.3f} <span class="soft">({low:.3f} – {high:.3f})</span></td>' in page


@pytest.mark.parametrize("kind", ["inside", pytest.param("written", marks=pytest.mark.full)])
def test_a_judged_study_killed_in_its_evaluation_ends_as_an_undisturbed_one(
    kind: str, judged_recipe: dict[str, Any], tmp_path: Path
) -> None:
    undisturbed, folder = tmp_path / "undisturbed", tmp_path / "study"
    assert in_process(run_study, undisturbed, judged_recipe, None) == 0
    # The last moment inside the evaluation is when the judge has judged.
    moment = [x for x in lines(undisturbed.with_suffix(".trace")) if x.startswith(f"1-evaluate/{kind}/")][-1]
    asked = len(lines(tmp_path / "judges.asked"))
    assert in_process(run_study, folder, judged_recipe, moment) == -signal.SIGKILL
    assert in_process(run_study, folder, judged_recipe, None) == 0
    require_equal(folder, undisturbed)
    assert len(lines(tmp_path / "judges.asked")) == 3 * asked  # a function is asked again; its answers are not kept
    assert "judge_win_rate" in json.loads(lines(folder / "metrics.jsonl")[-1])


def test_fixed_outputs_are_compared_with_from_round_0(judged_recipe: dict[str, Any], tmp_path: Path) -> None:
    rows = [json.loads(line) for line in lines(Path(judged_recipe["prompts"]["path"]))]
    file = tmp_path / "outputs.jsonl"
    file.write_text("".join(json.dumps({"prompt": r["prompt"], "output": "w39 w39 w39"}) + "\n" for r in rows))
    judge = {**judged_recipe["evaluation"]["judge"], "against": str(file), "difficulty": "kind"}
    recipe = {**judged_recipe, "evaluation": {"max_new_tokens": 6, "judge": judge}}
    examine(parse_recipe(recipe))
    with Study.create(tmp_path / "study", parse_recipe(recipe)) as study:
        study.stages.measure_initial_model()
        (metrics,) = study.store.metrics()
        samples = study.folder.read(0, "evaluate", codecs.EVALUATION).samples
    assert all(s["reference"] == "w39 w39 w39" and s["judgement"] for s in samples)
    assert metrics["judge_win_rate"] < 0.5

    file.write_text("".join(lines(file)[0] + "\n"))
    with pytest.raises(DataError, match=r"must have an output for every held-out prompt, but .* none for \d of 8"):
        examine(parse_recipe(recipe))


def test_what_a_judged_evaluation_cannot_do_is_refused(judged_recipe: dict[str, Any], tmp_path: Path) -> None:
    judge = judged_recipe["evaluation"]["judge"]

    def changed(**settings: Any) -> dict[str, Any]:
        return {**judged_recipe, "evaluation": {"judge": {**judge, **settings}}}

    with pytest.raises(DataError, match=r"evaluation.judge.difficulty must name a number .* Did you mean 'kind'"):
        examine(parse_recipe(changed(difficulty="kinds")))
    with pytest.raises(RecipeError, match="judge"):
        parse_recipe(changed(model="x"))
    (tmp_path / "one_sided.py").write_text("def judge(prompts, first): ...\n")
    with pytest.raises(RecipeError, match="must take `prompts`, `first`, `second`"):
        examine(parse_recipe(changed(function=f"{tmp_path / 'one_sided.py'}:judge")))
    rewards = {k: v for k, v in judged_recipe.items() if k not in ("acquisition", "featurizers", "trainer")}
    with pytest.raises(RecipeError, match=r"`evaluation.judge` compares a policy's responses"):
        parse_recipe({**rewards, "trainer": {"name": "bradley_terry"}, "acquisition": {"name": "random"}})


def test_a_saved_recipe_keeps_the_judge_and_finds_its_file_again(
    judged_recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "initial").mkdir()  # a folder of that name is not meant
    (tmp_path / "outputs.json").write_text("[]")
    judge = {"function": "judges.py:judge", "against": "outputs.json"}
    (tmp_path / "recipe.yaml").write_text(json.dumps({**judged_recipe, "evaluation": {"judge": judge}}))
    recipe = load_recipe("recipe.yaml")
    assert recipe.evaluation.judge is not None
    assert recipe.evaluation.judge.against == str(tmp_path / "outputs.json")
    assert parse_recipe(recipe_content(recipe)).evaluation == recipe.evaluation
    plain = load_recipe("recipe.yaml", ["evaluation.judge.against=initial"])
    assert plain.evaluation.judge is not None and plain.evaluation.judge.against == "initial"
