"""recipes/paper/pilaf: its three settings load, and their method runs in small."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from recipe_files import RECIPES, commands, option
from safetensors.torch import load_file
from transformers import AutoTokenizer

from duelist import Study, load_recipe, parse_recipe
from duelist.compare.arms import parse_arm, parse_seeds, plan_studies
from duelist.data.rows import row_prompt
from duelist.models.policy.tokenization import prompt_token_ids
from duelist.recipe.reading import with_prepared
from duelist.recipe.recipe import recipe_content
from duelist.settings.importing import import_object
from duelist.store.artifacts import read_jsonl

FOLDER = RECIPES / "paper" / "pilaf"


@pytest.mark.parametrize("name", ["paper/pilaf", "paper/pilaf/online", "paper/pilaf/overfitted"])
def test_the_papers_method_is_the_recipes(name: str) -> None:
    recipe = load_recipe(name)
    train = recipe.trainer.setting("train")
    assert recipe.sampler.name == "pilaf" and recipe.pairing.name == "as_drawn" and recipe.beta == 0.1
    assert (recipe.sampler.setting("top_p"), recipe.sampler.setting("max_new_tokens")) == (0.95, 896)
    assert recipe.sampler.setting("temperature") == (0.7 if name == "paper/pilaf" else 1.0)
    assert recipe.policy is not None and recipe.policy.adapter == "none"
    assert recipe.policy.dtype == "float32" and train["bf16"]  # at 5e-7 half-precision weights do not move
    assert (train["learning_rate"], train["lr_scheduler_type"], train["warmup_steps"]) == (5e-7, "cosine", 0.03)
    if name == "paper/pilaf":
        assert train["num_train_epochs"] == 2
        assert train["per_device_train_batch_size"] * train["gradient_accumulation_steps"] == 256
    else:
        assert recipe.online and recipe.budget == 256 and recipe.checkpoint_every == 50
    assert (recipe.policy.initial_model is not None) == name.endswith("overfitted")


@pytest.mark.parametrize("name", ["paper/pilaf", pytest.param("paper/pilaf/overfitted", marks=pytest.mark.full)])
def test_it_runs_in_small(name: str, tiny_recipe: dict[str, Any], tiny_model: Path, tmp_path: Path) -> None:
    paper = recipe_content(load_recipe(name))
    online = paper["online"]
    method = {k: paper[k] for k in ("pool", "pairing", "acquisition", "featurizers", "online", "beta")}
    train = {k: paper["trainer"]["train"][k] for k in ("lr_scheduler_type", "warmup_steps")}
    policy = {"model": str(tiny_model), "adapter": "none"} | ({"initial_model": str(tiny_model)} if online else {})
    small = {
        **tiny_recipe,
        **method,
        "rounds": 4 if online else 2,
        "budget": 4,
        **({"checkpoint_every": 2} if online else {}),
        "policy": policy,
        "sampler": {**paper["sampler"], "max_new_tokens": 6},
        "trainer": {**paper["trainer"], "train": {**train, "learning_rate": 1e-3, "per_device_train_batch_size": 2}},
    }
    with Study.create(tmp_path / "study", parse_recipe(small)) as study:
        study.run()
        drawn = {origin for x in study.store.asked() for origin in x.question.drawn_from or ()}
        first = {origin for x in study.store.asked(1) for origin in x.question.drawn_from or ()}
    assert first == {"policy"}  # the policy is its reference: vanilla
    assert drawn == {"policy", "plus", "minus"}
    assert read_jsonl(tmp_path / "study" / "metrics.jsonl")[-1]["kl"] != 0


@pytest.mark.full
def test_the_readmes_comparison_starts_every_arm_from_one_first_iteration(
    tiny_recipe: dict[str, Any], tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The README's own commands, with the recipe in small in place of `paper/pilaf`."""
    monkeypatch.chdir(tmp_path)
    paper = recipe_content(load_recipe("paper/pilaf"))
    method = {k: paper[k] for k in ("rounds", "pool", "pairing", "acquisition", "featurizers", "beta")}
    small = {
        **tiny_recipe,
        **method,
        "budget": 6,
        "policy": {"model": str(tiny_model), "adapter": "none"},
        "sampler": {"name": "pilaf", "max_new_tokens": 6},
        "trainer": {**paper["trainer"], "train": {"learning_rate": 1e-3, "per_device_train_batch_size": 2}},
    }
    said = [{"prompt": [{"role": "user", "content": f"w{i}"}], "completion": "w3 w4"} for i in range(4)]
    said = [{**row, "completion": [{"role": "assistant", "content": row["completion"]}]} for row in said]
    Path("said.jsonl").write_text("".join(json.dumps(row) + "\n" for row in said), encoding="utf-8")
    small["initial"] = {"sft": {"path": "said.jsonl", "train": {"learning_rate": 1e-3, "max_steps": 2}}}
    Path("small.yaml").write_text(yaml.safe_dump(small), encoding="utf-8")
    words = commands("paper/pilaf")
    run = next(w for w in words if w[:3] == ["duelist", "run", "paper/pilaf"] and "--study" in w)
    compare = next(w for w in words if w[:3] == ["duelist", "compare", "paper/pilaf"])

    first = Path(option(run, "--study")[0])
    with Study.create(first, load_recipe("small.yaml", option(run, "--set"))) as study:
        study.run()
        assert study.round == 2  # one round
        asked = [x.question for x in study.store.asked()]
    assert {origin for pair in asked for origin in pair.drawn_from or ()} == {"policy"}
    start, base = (load_file(folder / "model.safetensors") for folder in (first / "model", first / "rounds/000/sft"))
    assert any(not torch.equal(start[name], base[name]) for name in start)  # it was trained

    seeds = {load_recipe("small.yaml", option(run, "--set")).seed, *parse_seeds(option(compare, "--seeds")[0])}
    assert len(seeds) == 4  # no arm draws its iteration with the random numbers of the first

    arms = [parse_arm(arm) for arm in option(compare, "--arm")]
    assert [arm.name for arm in arms] == ["vanilla", "best_of_n", "hybrid", "pilaf"]
    drawn: dict[str, set[str]] = {}
    reports = {}
    for planned in plan_studies(tmp_path / "arms", "small.yaml", option(compare, "--set"), arms, [0]):
        with Study.create(planned.folder, planned.recipe) as study:
            study.ask()
            kept = load_file(study.folder.round_folder(0) / "model" / "model.safetensors")
            assert all(torch.equal(kept[name], start[name]) for name in start), planned.arm
            drawn[planned.arm] = {origin for x in study.store.asked(1) for origin in x.question.drawn_from or ()}
            reports[planned.arm] = study.store.metrics()[0]["kl"]
    # Equal weights, and each arm's own sampling from its first round on: the second iteration of all.
    assert len(set(reports.values())) == 1 and reports["pilaf"] != 0
    assert drawn == {
        "vanilla": {"policy"},
        "best_of_n": {"policy"},
        "hybrid": {"policy", "reference"},
        "pilaf": {"policy", "plus", "minus"},
    }


def test_prompts_are_cut_on_the_left(tiny_model: Path, tmp_path: Path) -> None:
    long = [
        {"role": r, "content": f"w{i} w{i + 1} w{i + 2}"} for i, r in enumerate(["user", "assistant"] * 3 + ["user"])
    ]
    data, folder = tmp_path / "data", tmp_path / "prepared"
    data.mkdir()
    folder.mkdir()
    alone = [{"role": "user", "content": " ".join(f"w{i}" for i in range(30))}]
    for split in ("train", "test"):
        rows = [{"prompt": p, "chosen": [], "rejected": []} for p in (long, alone, long[-1:], long[-1:])]
        (data / f"{split}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    spec = importlib.util.spec_from_file_location("pilaf_prompts", FOLDER / "prompts.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.cut_prompts(folder, model=str(tiny_model), data=str(data), max_tokens=16)
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    found = [row["prompt"] for row in read_jsonl(folder / "prompts.jsonl")]
    assert found[0] == long[-3:]  # whole turns go first, and the user's stays first
    assert found[1][0]["content"].split() == alone[0]["content"].split()[-len(found[1][0]["content"].split()) :]
    assert found[2] == long[-1:] and len(found) == 3  # each prompt once
    lengths = [len(prompt_token_ids(tokenizer, row_prompt({"prompt": p}, "here"))) for p in found]
    assert max(lengths) <= 16 and lengths[1] == 16
    assert read_jsonl(folder / "held_out.jsonl") == read_jsonl(folder / "prompts.jsonl")


@pytest.mark.full
def test_the_small_start_is_a_trained_vanilla_policy_for_all_arms(tmp_path: Path) -> None:
    """A first iteration on a small world, and the reference that the comparison keeps."""
    module = import_object(f"{FOLDER / 'small.py'}:prepare")
    folder = tmp_path / "world"
    folder.mkdir()
    recipe = tmp_path / "small.yaml"
    text = (FOLDER / "small.yaml").read_text(encoding="utf-8").replace("budget: 360", "budget: 30")
    recipe.write_text(text.replace("{recipe}", str(FOLDER)), encoding="utf-8")
    module(folder, recipe=str(recipe), seed=0, prompts=60)
    assert not (folder / "study").exists()
    base, first = (load_file(folder / name / "model.safetensors") for name in ("model", "first"))
    assert any(not torch.equal(base[name], first[name]) for name in base)
    content = load_recipe(recipe, ["prepare=null", "sampler.name=vanilla"])
    with Study.create(tmp_path / "arm", with_prepared(content, folder)) as study:
        study.ask()
        kept = load_file(study.folder.round_folder(0) / "model" / "model.safetensors")
        assert all(torch.equal(kept[name], first[name]) for name in first)
        assert study.store.metrics()[0]["kl"] > 0  # the reference is the fine-tuned model, not the start
