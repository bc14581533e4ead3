"""Studies that train all parameters, and studies that start from a given policy or from preferences already there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from duelist.errors import DataError, ModelError, RecipeError
from duelist.models.policy.logprobs import sequence_log_probs
from duelist.models.policy.response_batches import TokenizedResponse, tokenized
from duelist.models.policy.tokenization import prompt_token_ids
from duelist.preflight.examination import examine
from duelist.preflight.plan import plan
from duelist.recipe.reading import parse_recipe
from duelist.store.artifacts import read_jsonl
from duelist.study.study import Study
from duelist.trainers.initial_preferences import InitialConfig, labelled_preferences
from duelist.types import Prompt
from tiers import first


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    path = tmp_path / "labelled.jsonl"
    rows = [
        {
            "prompt": [{"role": "user", "content": f"w{i} w{i + 1}"}],
            "chosen": [{"role": "assistant", "content": f"w{i} w3 w4"}],
            "rejected": [{"role": "assistant", "content": f"w9 w{i + 2}"}],
        }
        for i in range(8)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def whole(tiny_recipe: dict[str, Any]) -> dict[str, Any]:
    policy = {"model": tiny_recipe["policy"]["model"], "adapter": "none"}
    return {**tiny_recipe, "policy": policy, "acquisition": {"name": "random"}}


def run(recipe: dict[str, Any], folder: Path) -> list[dict[str, Any]]:
    with Study.create(folder, parse_recipe(recipe)) as study:
        study.run()
    return read_jsonl(folder / "metrics.jsonl")


def test_a_study_of_all_parameters_leaves_a_model_each_round(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    metrics = run(whole(tiny_recipe), tmp_path / "study")
    assert metrics[0]["kl"] == 0 and metrics[1]["kl"] != 0
    initial, last = (
        AutoModelForCausalLM.from_pretrained(tmp_path / "study" / x) for x in ("rounds/000/model", "model")
    )
    base = AutoModelForCausalLM.from_pretrained(tiny_recipe["policy"]["model"]).state_dict()
    assert all(torch.equal(v, base[k]) for k, v in initial.state_dict().items())
    assert all(not torch.equal(v, base[k]) for k, v in last.state_dict().items())
    AutoTokenizer.from_pretrained(tmp_path / "study" / "model")
    assert not (tmp_path / "study" / "adapter").exists()


def test_the_kl_is_that_from_the_base_model(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    """Whatever the reference of the training: the samples' log-ratios again, from the two models that lie on disk."""
    recipe = whole(tiny_recipe)
    recipe["trainer"] = {**recipe["trainer"], "reference": "previous"}
    metrics = run(recipe, tmp_path / "study")
    model, base = (
        AutoModelForCausalLM.from_pretrained(x)
        for x in (tmp_path / "study/rounds/002/model", tiny_recipe["policy"]["model"])
    )
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "study/model")
    checked = 0
    for sample in read_jsonl(tmp_path / "study/rounds/002/evaluation.jsonl")[1:]:
        words = sample["response"].split()
        ids = tokenizer.convert_tokens_to_ids(words)
        if len(words) != 6 or tokenizer.unk_token_id in ids:
            continue  # tokens that the text does not show were drawn
        prompt_ids = prompt_token_ids(tokenizer, Prompt.of(sample["prompt"]))
        sequence = [TokenizedResponse(prompt_ids, ids)]
        ratio = sequence_log_probs(model, sequence) - sequence_log_probs(base, sequence)
        assert sample["log_ratio"] == pytest.approx(float(ratio[0]), abs=1e-4)
        checked += 1
    assert checked
    with Study.open(tmp_path / "study") as study:
        policy = study.stages._learner.models(2).policy_for("The test")
        assert policy.reference_folder == tmp_path / "study/rounds/001/model"
        assert metrics[2]["kl"] != 0


@pytest.mark.parametrize("adapter", first(1, ["lora", "none"]))
def test_a_study_starts_where_another_ended(tiny_recipe: dict[str, Any], adapter: str, tmp_path: Path) -> None:
    recipe = tiny_recipe if adapter == "lora" else whole(tiny_recipe)
    first = run(recipe, tmp_path / "first")
    name, key = ("adapter", "initial_adapter") if adapter == "lora" else ("model", "initial_model")
    started = {**recipe, "rounds": 1, "policy": {**recipe["policy"], key: str(tmp_path / "first" / name)}}
    undisturbed = run(started, tmp_path / "undisturbed")
    for figure in ("kl", "mean_reward"):
        assert undisturbed[0][figure] == pytest.approx(first[2][figure])
    assert first[2]["kl"] != 0
    # The start is kept: the study goes on when what it came from is gone, and ends the same.
    with Study.create(tmp_path / "second", parse_recipe(started)) as study:
        study.ask()
    shutil.rmtree(tmp_path / "first")
    assert [m["mean_reward"] for m in run(started, tmp_path / "second")] == [m["mean_reward"] for m in undisturbed]


@pytest.mark.parametrize("adapter", first(1, ["lora", "none"]))
def test_a_study_starts_from_offline_dpo(
    tiny_recipe: dict[str, Any], adapter: str, labelled: Path, tmp_path: Path
) -> None:
    recipe = {**(tiny_recipe if adapter == "lora" else whole(tiny_recipe)), "initial": {"labelled": str(labelled)}}
    recipe["trainer"] = {**recipe["trainer"], "train": {**recipe["trainer"]["train"], "learning_rate": 1e-2}}
    with Study.create(tmp_path / "study", parse_recipe(recipe)) as study:
        study.ask()
        info = study.folder.stage(0, "train").info  # type: ignore[union-attr]
        assert info["preferences"] == 8 and info["optimizer_steps"] == 4
        policy = study.stages._learner.models(0).policy_for("The test")
        preferences = labelled_preferences(InitialConfig(labelled=str(labelled)), policy.tokenizer, 64, "m")
        assert policy.reference_folder is None
        ratio = {}
        for side in ("chosen", "rejected"):
            sequences = tokenized([getattr(p, side) for p in preferences])
            now = sequence_log_probs(policy.model, sequences)
            with policy.as_reference():
                ratio[side] = now - sequence_log_probs(policy.model, sequences)
        assert (ratio["chosen"] - ratio["rejected"]).mean() > 0.1
        assert study.store.metrics()[0]["kl"] != 0
        assert all(x.margin != 0 for x in study.store.asked())  # so that margins can choose from the first round on


@pytest.mark.parametrize("reference", ["initial", "previous"])
def test_with_a_start_of_its_own_the_first_reference_is_the_base_model_or_that_start(
    tiny_recipe: dict[str, Any], labelled: Path, reference: str, tmp_path: Path
) -> None:
    recipe = {**tiny_recipe, "initial": {"labelled": str(labelled)}}
    recipe["trainer"] = {**recipe["trainer"], "reference": reference, "restart": "from_reference"}
    with Study.create(tmp_path / "study", parse_recipe(recipe)) as study:
        study.ask()
        policies = study.stages._learner.policies  # type: ignore[attr-defined]
        start = study.folder.trained(0)
        policy = policies.to_train(1)
        assert policy.reference_folder == (None if reference == "initial" else start)
        begun = policy.fingerprint()
        policy.set_reference(None)
        policy.load_weights(start)  # restarting means from the start, not from nothing
        assert (policy.fingerprint() == begun) == (reference == "initial")
        assert policies.after(0).reference_folder is None


def test_labelled_rows_that_cannot_be_trained_on_are_refused(
    tiny_recipe: dict[str, Any], labelled: Path, tmp_path: Path
) -> None:
    recipe = {**tiny_recipe, "initial": {"labelled": str(labelled)}}
    examine(parse_recipe(recipe))
    good = labelled.read_text(encoding="utf-8")
    for row, message in {
        '{"prompt": "w1", "chosen": "w2"}': "`chosen` and `rejected`",
        '{"prompt": "w1", "chosen": "w2", "rejected": "w2"}': "must differ",
        json.dumps({"prompt": "w1 ", "chosen": "w2 w4", "rejected": "w3 " * 70}): "context of 64 tokens",
    }.items():
        labelled.write_text(good + row + "\n", encoding="utf-8")
        with pytest.raises(DataError, match=message):
            examine(parse_recipe(recipe))
    labelled.write_text("", encoding="utf-8")
    with pytest.raises(DataError, match="at least one row"):
        examine(parse_recipe(recipe))
    with pytest.raises(ModelError, match=r"policy\.initial_adapter"):
        examine(parse_recipe({**tiny_recipe, "policy": {**tiny_recipe["policy"], "initial_adapter": "/nowhere"}}))


def test_parts_that_cannot_work_together_are_refused_before_anything_is_asked(tiny_recipe: dict[str, Any]) -> None:
    recipe = whole(tiny_recipe)
    examine(parse_recipe(recipe))
    with pytest.raises(RecipeError, match=r"`policy\.adapter: lora`"):
        examine(parse_recipe({**recipe, "acquisition": {"name": "activedpo"}}))
    examine(parse_recipe({**recipe, "trainer": {"name": "rlhf"}}))
    with pytest.raises(RecipeError, match="'vanilla' draws none"):
        examine(parse_recipe({**recipe, "trainer": {"name": "dpo", "loss": "xpo"}}))
    weighted = {**tiny_recipe, "sampler": {"name": "t_pilaf", "max_new_tokens": 4}}
    with pytest.raises(RecipeError, match=r"loss weights of sampler 't_pilaf' need .*'ipo'"):
        examine(parse_recipe({**weighted, "trainer": {"name": "dpo", "train": {"loss_type": "ipo"}}}))
    examine(parse_recipe({**weighted, "trainer": {"name": "rlhf"}}))
    explicit = {**weighted, "sampler": {**weighted["sampler"], "reward": "explicit"}}
    for trainer in ({"name": "rlhf"}, {"name": "dpo"}):
        with pytest.raises(RecipeError, match=f"trainer '{trainer['name']}' keeps none"):
            examine(parse_recipe({**explicit, "trainer": trainer}))
    examine(parse_recipe({**explicit, "trainer": {"name": "rlhf", "reward_model": {"keep": True}}}))
    server = {"url": "http://127.0.0.1:9/v1", "model": "m", "adapter_folder": "adapters"}
    with pytest.raises(RecipeError, match="'pilaf' mixes the two"):
        examine(parse_recipe({**tiny_recipe, "sampler": {"name": "pilaf", "max_new_tokens": 4}, "decoder": server}))
    with pytest.raises(RecipeError, match="trains all its parameters: set `decoder: null`"):
        parse_recipe({**recipe, "decoder": server})
    assert parse_recipe({**tiny_recipe, "decoder": server}).decoder is not None


def test_the_plan_counts_what_is_trained(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    found = plan(parse_recipe(whole(tiny_recipe)))
    assert found.base_parameters == found.trained_parameters
    assert found.memory_bytes == found.base_parameters * (4 + 16)  # type: ignore[operator]
    run({**tiny_recipe, "rounds": 1}, tmp_path / "study")
    rank_4 = plan(parse_recipe(tiny_recipe)).trained_parameters
    policy = {"model": tiny_recipe["policy"]["model"], "initial_adapter": str(tmp_path / "study" / "adapter")}
    assert plan(parse_recipe({**tiny_recipe, "policy": policy})).trained_parameters == rank_4  # not the default's 16
