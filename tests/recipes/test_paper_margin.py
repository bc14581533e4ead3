"""recipes/paper/margin: it is the paper's protocol, its data is split as it says, and its method runs in small."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from duelist import Study, load_recipe, parse_recipe
from duelist.errors import DataError
from duelist.models.decoding.local import Decoding
from duelist.recipe.reading import preparation_settings
from duelist.recipe.recipe import recipe_content
from duelist.recipe.round_plan import budgets
from duelist.settings.importing import import_object
from duelist.store import codecs
from duelist.store.artifacts import read_jsonl

FOLDER = Path(__file__).parents[2] / "recipes" / "paper" / "margin"
split = import_object(f"{FOLDER / 'ultrafeedback.py'}:split")
prepare = import_object(f"{FOLDER / 'small.py'}:prepare")


def test_the_papers_protocol_is_the_recipes() -> None:
    """Sections 3.2 and 4.1 and Appendix A of the paper, read off its text."""
    recipe = load_recipe("paper/margin")
    train, policy = recipe.trainer.setting("train"), recipe.policy
    assert policy is not None and policy.model.endswith("Llama-3-8B") and policy.dtype == "float32" and train["bf16"]
    assert (recipe.beta, train["learning_rate"], train["num_train_epochs"]) == (0.1, 5e-7, 1)
    assert train["per_device_train_batch_size"] * train["gradient_accumulation_steps"] == 128
    assert (recipe.trainer.setting("accumulate"), recipe.trainer.setting("restart")) == ("round", "continue")
    assert recipe.trainer.setting("reference") == "initial"
    assert recipe.prompts.per_round == (15_000, 10_000, 5_000)
    assert [2 * b for b in budgets(recipe)] == [15_000, 10_000, 5_000]  # half of each part is labelled
    assert recipe.sampler.setting("responses_per_prompt") == 8 and recipe.pairing.name == "in_prompt"
    decoding = [recipe.sampler.setting(k) for k in ("temperature", "top_k", "top_p", "max_new_tokens")]
    assert decoding == [1.0, 50, 1.0, 512]
    assert recipe.evaluation.decoding == Decoding(512, temperature=0.0)
    rule = {"instance": "smallest", "corpus": "smallest", "length_normalized": False}
    assert recipe.acquisition.content() == {"name": "margin", **rule}
    assert recipe.initial is not None and preparation_settings(recipe)["labelled"] == 10_000


@pytest.mark.parametrize(
    ("schedule", "per_round"),
    [
        ("constant", (10_000, 10_000, 10_000)),
        ("increase", (5_000, 10_000, 15_000)),
        ("decrease", (15_000, 10_000, 5_000)),
    ],
)
def test_every_allocation_is_equally_selective(schedule: str, per_round: tuple[int, ...]) -> None:
    changes = [f"schedule={schedule}", f"prompts.per_round={list(per_round)}"]
    assert tuple(2 * b for b in budgets(load_recipe("paper/margin", changes))) == per_round


@pytest.fixture
def feedback(tmp_path: Path) -> Path:
    """Thirty conversations as UltraFeedback has them, and rows that are of no use."""

    def row(prompt: str, chosen: str, rejected: str) -> dict[str, Any]:
        said = {"chosen": chosen, "rejected": rejected}
        asked = {"role": "user", "content": prompt}
        return {k: [asked, {"role": "assistant", "content": text}] for k, text in said.items()}

    rows = [row(f"w{i} w{7 * i % 40}", f"w{i + 1} w3", "w9 w8") for i in range(30)]
    rows += [row("w1 w2", "w3", "w3"), row("w1 w4", "", "w3"), row(" ".join(["w5"] * 21), "w3", "w4"), rows[0]]
    path = tmp_path / "feedback.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    return path


def test_the_data_is_split_without_overlap(feedback: Path, tiny_model: Path, tmp_path: Path) -> None:
    settings = {"model": str(tiny_model), "data": str(feedback), "labelled": 8, "max_tokens": 20}
    made = [tmp_path / name for name in ("one", "again", "other")]
    for folder, seed in zip(made, (0, 0, 1), strict=True):
        split(folder, **settings, seed=seed)
    one, again, other = ([read_jsonl(f / n) for n in ("labelled.jsonl", "prompts.jsonl")] for f in made)
    assert one == again and one[0] != other[0]
    labelled, left = ({json.dumps(r["prompt"]) for r in rows} for rows in one)
    assert len(labelled) == 8 and len(left) == 22 and not labelled & left
    assert set(one[0][0]) == {"prompt", "chosen", "rejected"} and set(one[1][0]) == {"prompt"}
    tuned = read_jsonl(made[0] / "sft" / "train.jsonl")
    assert [(r["prompt"], r["completion"]) for r in tuned] == [(r["prompt"], r["chosen"]) for r in one[0]]
    with pytest.raises(DataError, match=r"labelled=30 .* has 30 usable rows"):
        split(tmp_path / "two", **{**settings, "labelled": 30})


def test_it_runs_in_small(tiny_recipe: dict[str, Any], feedback: Path, tiny_model: Path, tmp_path: Path) -> None:
    split(tmp_path / "prepared", model=str(tiny_model), data=str(feedback), labelled=8, max_tokens=20)
    paper = recipe_content(load_recipe("paper/margin"))
    method = {k: paper[k] for k in ("rounds", "schedule", "pool", "beta", "pairing", "acquisition", "featurizers")}
    train = {"learning_rate": 1e-3, "num_train_epochs": 1, "per_device_train_batch_size": 2}
    small = {
        **tiny_recipe,
        **method,
        "budget": 3,
        "prompts": {"path": str(tmp_path / "prepared" / "prompts.jsonl"), "held_out": 4, "per_round": [9, 6, 3]},
        "initial": {"labelled": str(tmp_path / "prepared" / "labelled.jsonl")},
        "policy": {"model": str(tiny_model), "adapter": paper["policy"]["adapter"]},
        "sampler": {**paper["sampler"], "responses_per_prompt": 4, "max_new_tokens": 6, "top_k": 20},
        "trainer": {**paper["trainer"], "train": train},
        "evaluation": {"temperature": paper["evaluation"]["temperature"], "max_new_tokens": 6},
    }
    with Study.create(tmp_path / "study", parse_recipe(small)) as study:
        study.run()
        answered = [{r.prompt_id for r in study.folder.read(t, "sample", codecs.DRAWS).responses} for t in (1, 2, 3)]
        asked = [study.store.asked(t) for t in (1, 2, 3)]
        trained = [{s.name: s.info for s in study.store.stages() if s.round == t}["train"] for t in (1, 2, 3)]
    lines = read_jsonl(tmp_path / "study" / "metrics.jsonl")
    assert [len(part) for part in answered] == [9, 6, 3] and len(set.union(*answered)) == 18
    assert [m["asked"] for m in lines] == [0, 5, 8, 9]  # 9 labels as 3:2:1, by largest remainder
    assert [info["preferences"] for info in trained] == [len(some) for some in asked]  # each round its own
    for m in lines[1:]:  # margins choose from the first round on
        assert m["selected_mean_margin"] > 0 and m["selected_kl"] != 0 and 0 <= m["selected_ranking_accuracy"] <= 1
    for some in asked:
        assert len({x.question.a.prompt_id for x in some}) == len(some)  # one pair a prompt
        assert [abs(x.margin) for x in some] == sorted(abs(x.margin) for x in some)


def test_the_small_start_is_labelled_by_the_true_reward_on_prompts_of_its_own(tmp_path: Path) -> None:
    made = [tmp_path / name for name in ("one", "again", "other")]
    for folder, seed in zip(made, (0, 0, 1), strict=True):
        folder.mkdir()
        prepare(folder, seed=seed, labelled=30, prompts=50, sft_steps=0)
    one, again, other = ([read_jsonl(f / n) for n in ("labelled.jsonl", "prompts.jsonl")] for f in made)
    assert one == again and one != other
    labelled, left = ({row["prompt"][0]["content"] for row in rows} for rows in one)
    assert len(labelled) == 30 and len(left) == 50 and not labelled & left
    world = json.loads((made[0] / "world.json").read_text(encoding="utf-8"))
    utility = {k["word"]: dict(zip(world["words"], k["utility"], strict=True)) for k in world["kinds"]}
    for row in one[0]:  # the mean utility of four words, counted here
        kind = row["prompt"][0]["content"].split()[0]
        chosen, rejected = (
            [utility[kind][w] for w in row[key][0]["content"].split()] for key in ("chosen", "rejected")
        )
        assert len(chosen) == len(rejected) == 4 and sum(chosen) > sum(rejected)
