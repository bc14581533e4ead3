"""The recipes that come with the package."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path
from typing import Any

import pytest

from duelist import Study, load_recipe
from duelist.preparation import prepare
from duelist.progress import Silent
from duelist.rows import RowSource, row_prompt, row_responses
from duelist.shipped import recipe_descriptions, shipped_recipes
from duelist.store.artifacts import read_jsonl

HH = Path(__file__).parents[3] / "shared" / "data" / "hh"
NOUNS, VERBS = ["dog", "cat", "tree", "song", "river"], ["likes", "sees", "paints", "hears"]


@pytest.mark.parametrize("name", sorted(shipped_recipes()))
def test_every_shipped_recipe_is_valid_and_says_what_it_is(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe_descriptions()[name]


def test_the_paper_recipe_has_the_paper_s_settings() -> None:
    recipe = load_recipe("paper/activedpo")
    assert (recipe.prompts.per_round, recipe.sampler["responses_per_prompt"], recipe.budget) == (1000, 3, 50)
    assert (recipe.policy.lora["r"], recipe.policy.lora["lora_alpha"]) == (128, 512)
    assert recipe.featurizers["gradient"] | {"max_tokens": 0} == {
        "dimension": 8192, "normalize": "response", "max_tokens": 0
    }  # fmt: skip
    trainer = recipe.trainer
    assert (trainer["train"]["num_train_epochs"], trainer["train"]["learning_rate"]) == (4, 1e-4)
    assert (trainer["accumulate"], trainer["restart"], trainer["reference"]) == ("round", "continue", "initial")
    assert (recipe.pool, recipe.prompts.held_out) == ("regenerate", 100)


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """A small made-up data set in HH's format."""
    rng = random.Random(0)
    folder = tmp_path / "data"
    folder.mkdir()
    for name, n, word in (("train", 60, "What"), ("test", 20, "Why")):
        with gzip.open(folder / f"{name}.jsonl.gz", "wt", encoding="utf-8") as file:
            for i in range(n):
                noun, verb = rng.choice(NOUNS), rng.choice(VERBS)
                prompt = [{"role": "user", "content": f"{word} {noun} {verb} number {i}?"}]
                good = [{"role": "assistant", "content": f"The {noun} {verb} it well."}]
                bad = [{"role": "assistant", "content": f"No {noun}."}]
                file.write(json.dumps({"prompt": prompt, "chosen": good, "rejected": bad}) + "\n")
    return folder


def test_the_tiny_variant_runs_from_labels_to_a_report(
    labelled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from duelist.report import write_report

    monkeypatch.setenv("DUELIST_CACHE", str(tmp_path / "cache"))
    small = [
        "prepare.settings.hidden_size=32", "prepare.settings.layers=1", "prepare.settings.vocabulary=300",
        "prepare.settings.max_steps=4", "prepare.settings.prompts=20", "prepare.settings.held_out=6",
        f"prepare.settings.data={labelled}", "prompts.held_out=6", "prompts.per_round=8", "budget=4",
        "sampler.max_new_tokens=8", "evaluation.max_new_tokens=8", "featurizers.gradient.dimension=128",
    ]  # fmt: skip
    recipe = load_recipe("hh/tiny", small)
    with Study.create(tmp_path / "study", recipe) as study:
        study.run()
        assert study.store.counts()["answered"] == 8
    assert recipe.prepare is not None
    folder = prepare(recipe.prepare.function, recipe.prepare.settings, Silent())  # made already: nothing is done
    facts: dict[str, Any] = json.loads((folder / "prepared.json").read_text(encoding="utf-8"))
    assert facts["held_out_pair_accuracy"]["longer_wins"] == 1.0
    assert 0 <= facts["held_out_pair_accuracy"]["reward_model"] <= 1
    prompts, held_out = (
        {row["prompt"][0]["content"] for row in read_jsonl(folder / name)}
        for name in ("prompts.jsonl", "held_out.jsonl")
    )
    assert len(prompts) == 20 and len(held_out) == 6 and not prompts & held_out
    assert any(prompt.split()[0] == "What" for prompt in prompts)
    page = write_report(tmp_path / "study").read_text(encoding="utf-8")
    assert any(prompt in page for prompt in prompts)


def test_missing_labels_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from duelist.errors import DataError

    monkeypatch.setenv("DUELIST_CACHE", str(tmp_path / "cache"))
    recipe = load_recipe("hh/tiny", [f"prepare.settings.data={tmp_path / 'nowhere'}"])
    assert recipe.prepare is not None
    with pytest.raises(DataError, match=r"nowhere.*prepare\.settings\.data"):
        prepare(recipe.prepare.function, recipe.prepare.settings, Silent())


@pytest.mark.skipif(not HH.is_dir(), reason=f"the labelled pairs of HH-RLHF are not at {HH}")
def test_real_rows_are_read() -> None:
    train = {row_prompt(row, where).id for where, row in RowSource(str(HH / "train.jsonl.gz"))}
    rows = list(RowSource(str(HH / "test.jsonl.gz")))
    assert len(rows) == 1284
    assert all(len(row_responses(row, where)) == 2 for where, row in rows)
    assert not train & {row_prompt(row, where).id for where, row in rows}
