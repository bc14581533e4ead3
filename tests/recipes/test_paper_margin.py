"""recipes/paper/margin: it loads, its README's settings are settings, and its method runs in small."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from duelist import Study, load_recipe, parse_recipe
from duelist.recipes.recipe import recipe_content
from duelist.recipes.rounds import budgets
from duelist.store.artifacts import read_jsonl

README = Path(__file__).parents[2] / "recipes" / "paper" / "margin" / "README.md"


def test_the_papers_method_is_the_recipes() -> None:
    recipe = load_recipe("paper/margin")
    assert budgets(recipe) == (1500, 1000, 500)
    assert recipe.sampler["responses_per_prompt"] == 8 and recipe.pairing["name"] == "in_prompt"
    rule = {"instance": "smallest", "corpus": "smallest", "length_normalized": False}
    assert recipe.acquisition == {"name": "margin", **rule}
    assert recipe.initial is not None


def test_every_setting_of_the_readme_is_one() -> None:
    rows = [re.findall(r"--set (\S+)`?", line.rstrip("|` ")) for line in README.read_text("utf-8").splitlines()]
    rows = [[change.rstrip("`") for change in row] for row in rows if row]
    assert len(rows) == 8
    for changes in rows:
        changed = recipe_content(load_recipe("paper/margin", changes))
        assert changed != recipe_content(load_recipe("paper/margin")), changes


def test_it_runs_in_small_from_labelled_data(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    paper = recipe_content(load_recipe("paper/margin"))
    method = {k: paper[k] for k in ("rounds", "schedule", "pool", "pairing", "acquisition", "featurizers")}
    labelled = tmp_path / "labelled.jsonl"
    rows = ({"prompt": f"w{i} ", "chosen": f"w{i + 1} w3", "rejected": "w9 w8"} for i in range(8))
    labelled.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    sampler = {**tiny_recipe["sampler"], "responses_per_prompt": 4}
    trainer = {**tiny_recipe["trainer"], "train": {**tiny_recipe["trainer"]["train"], "learning_rate": 1e-2}}
    small = {**tiny_recipe, **method, "budget": 4, "sampler": sampler, "trainer": trainer}
    with Study.create(tmp_path / "study", parse_recipe({**small, "initial": {"labelled": str(labelled)}})) as study:
        study.run()
        asked = study.store.asked()
    lines = read_jsonl(tmp_path / "study" / "metrics.jsonl")
    assert [m["asked"] for m in lines] == [0, 6, 10, 12]
    for m in lines[1:]:  # margins choose from the first round on
        assert m["selected_mean_margin"] > 0 and m["selected_kl"] != 0 and 0 <= m["selected_ranking_accuracy"] <= 1
    first = [x for x in asked if x.round == 1]
    assert len({x.pair.a.prompt_id for x in first}) == 6  # one pair a prompt
    assert [abs(x.margin) for x in first] == sorted(abs(x.margin) for x in first)
