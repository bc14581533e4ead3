"""Every command and every setting that a paper recipe's README gives is usable, as a dry run would say."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from recipe_files import RECIPES, commands, option

from duelist import Study, load_recipe, parse_recipe
from duelist.compare.arms import parse_arm, parse_seeds, plan_studies
from duelist.preflight.examination import examine
from duelist.preflight.plan import plan
from duelist.recipe.recipe import recipe_content
from duelist.recipe.shipped import shipped_recipes
from duelist.store import codecs

PAPERS = RECIPES / "paper"
FOLDERS = sorted(p.parent.name for p in PAPERS.glob("*/README.md"))


def tables(folder: str) -> list[list[str]]:
    """The `--set` settings of every code span in a README's tables."""
    lines = (PAPERS / folder / "README.md").read_text(encoding="utf-8").splitlines()
    spans = [span for line in lines if line.startswith("|") for span in re.findall(r"`([^`]*)`", line)]
    return [shlex.split(span)[1::2] for span in spans if span.startswith("--set ")]


@pytest.fixture(autouse=True)
def questions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file that the ActiveDPO README has its reader write, and a cache in which nothing is prepared."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DUELIST_CACHE", str(tmp_path / "cache"))
    rows = (json.dumps({"prompt": f"question {i}"}) + "\n" for i in range(1200))
    (tmp_path / "webgpt.jsonl").write_text("".join(rows), encoding="utf-8")


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_command_is_usable(folder: str) -> None:
    found = commands(f"paper/{folder}")
    assert any(words[:3] == ["duelist", "run", f"paper/{folder}"] for words in found)
    for words in found:
        if words[:2] == ["duelist", "run"]:
            examine(load_recipe(words[2], option(words, "--set")), offline_ok=True)
        elif words[:2] == ["duelist", "compare"]:
            arms = [parse_arm(text) for text in option(words, "--arm")]
            seeds = parse_seeds(option(words, "--seeds")[0])
            for study in plan_studies(Path("compared"), words[2], option(words, "--set"), arms, seeds[:1]):
                examine(study.recipe, offline_ok=True)
        elif words[:2] == ["trl", "sft"]:
            require_options_of_trl(words[2:])
        else:
            assert words[0] == "python" and (PAPERS.parents[1] / words[1]).is_file()


def require_options_of_trl(words: list[str]) -> None:
    import trl

    known = {f.name for c in (trl.SFTConfig, trl.ModelConfig, trl.ScriptArguments) for f in dataclasses.fields(c)}
    assert {word.removeprefix("--") for word in words if word.startswith("--")} <= known


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_setting_of_a_table_is_usable_and_changes_the_recipe(folder: str) -> None:
    if folder == "pilaf":
        assert tables(folder) == []
        return
    unchanged = recipe_content(load_recipe(f"paper/{folder}"))
    assert len(tables(folder)) >= 8
    for changes in tables(folder):
        recipe = load_recipe(f"paper/{folder}", changes)
        assert recipe_content(recipe) != unchanged, changes
        examine(recipe, offline_ok=True)


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_readme_says_what_it_does_not_do(folder: str) -> None:
    text = (PAPERS / folder / "README.md").read_text(encoding="utf-8")
    assert "\n## Not done\n\n- " in text


@pytest.mark.parametrize("name", sorted(n for n in shipped_recipes() if n.startswith("paper/")))
def test_every_paper_recipe_can_be_dry_run(name: str) -> None:
    found = plan(load_recipe(name))
    assert found.labels > 0
    if not name.endswith("small"):  # whose model is not prepared yet
        assert found.memory_bytes is not None and found.disk_bytes is not None


@pytest.mark.parametrize(
    "changes",
    [
        ["acquisition=apo", "pool=fixed"],
        *(pytest.param([f"acquisition={x}"], marks=pytest.mark.full) for x in ("random", "aplp", "apo")),
    ],
)
def test_the_baselines_of_activedpo_run_in_small(
    tiny_recipe: dict[str, Any], tmp_path: Path, changes: list[str]
) -> None:
    paper = recipe_content(load_recipe("paper/activedpo", changes))
    method = {k: paper[k] for k in ("pool", "pairing", "acquisition", "featurizers", "beta")}
    method["featurizers"]["gradient"]["dimension"] = 512
    trainer = {**paper["trainer"], "train": {**tiny_recipe["trainer"]["train"], "num_train_epochs": 1}}
    prompts = {**tiny_recipe["prompts"], "per_round": 12}
    recipe = parse_recipe({**tiny_recipe, **method, "prompts": prompts, "trainer": trainer})
    with Study.create(tmp_path / "study", recipe) as study:
        study.run()
        rounds = [{x.question.a.prompt_id for x in study.store.asked(t)} for t in (1, 2)]
        first = {r.id for r in study.folder.read(1, "sample", codecs.DRAWS).responses}
        later = {r.id for x in study.store.asked(2) for r in (x.question.a, x.question.b)}
    assert all(rounds)
    if paper["pool"] == "fixed":  # APO: no response is drawn from a later model
        assert later <= first
