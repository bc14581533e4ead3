"""recipes/hh and recipes/paper/activedpo: they load, the tiny variant runs, the paper's numbers are the paper's."""

from __future__ import annotations

import gzip
import itertools
import json
import random
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from recipe_files import RECIPES, write_rows

from duelist import Study, load_recipe
from duelist.data.rows import row_prompt, row_responses
from duelist.data.sources import RowSource
from duelist.errors import DataError
from duelist.models.policy.tokenization import encode_responses, prompt_token_ids
from duelist.progress import Advance, Progress
from duelist.recipe.preparation import prepare
from duelist.recipe.shipped import shipped_recipes
from duelist.settings.importing import import_object
from duelist.store.artifacts import digest, read_jsonl
from duelist.types import Prompt

REAL_DATA = Path(__file__).parents[3] / "shared" / "data" / "hh"
TINY = f"{RECIPES / 'hh' / 'prepare.py'}:tiny"
tiny = import_object(TINY)

SMALL = {
    "vocabulary": 320,
    "hidden_size": 32,
    "layers": 2,
    "heads": 2,
    "max_length": 72,
    "prompt_length": 24,
    "prompts": 12,
    "held_out": 6,
    "torch_threads": 1,
}
THINGS = ["tea", "rice", "snow", "music", "bread", "ships", "rain", "cats", "glass", "paper"]


def write_pairs(folder: Path, name: str, topics: Sequence[str]) -> None:
    """Pairs whose chosen answer begins with "Sure", whichever is longer; one prompt has two turns, one is very long."""
    rows: list[dict[str, Any]] = []
    for i, topic in enumerate(topics):
        answers = [f"Sure, {topic} is good.", f"No, I know nothing of {topic} or of anything else."]
        if i % 2:
            answers = [f"Sure, {topic} is good, and I could say a lot more about it.", f"No, not {topic}."]
        rows.append(
            {
                "prompt": [{"role": "user", "content": f"What is {topic}?"}],
                "chosen": [{"role": "assistant", "content": answers[0]}],
                "rejected": [{"role": "assistant", "content": answers[1]}],
                "source": "synthetic",
            }
        )
    turns = [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Hello."}]
    rows.append({**rows[0], "prompt": [*turns, *rows[0]["prompt"]]})
    rows.append({**rows[0], "prompt": [{"role": "user", "content": "why " * 200}]})
    folder.mkdir(exist_ok=True)
    write_rows(folder / name, rows)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hh") / "data"
    write_pairs(folder, "train.jsonl.gz", [f"{a} and {b}" for a in THINGS[:6] for b in THINGS])
    write_pairs(folder, "test.jsonl.gz", [f"{a} and {b}" for a in THINGS[5:7] for b in THINGS])
    return folder


@pytest.fixture(scope="module")
def prepared(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prepared")
    tiny(folder, str(data), sft_epochs=15, reward_epochs=15, **SMALL)
    return folder


@pytest.mark.parametrize("name", sorted(shipped_recipes()))
def test_every_shipped_recipe_loads_under_its_own_name(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.description


def test_the_papers_recipe_has_the_papers_settings() -> None:
    recipe = load_recipe("paper/activedpo")
    assert (recipe.prompts.per_round, recipe.sampler.setting("responses_per_prompt"), recipe.budget) == (1000, 3, 50)
    assert (recipe.policy.lora["r"], recipe.policy.lora["lora_alpha"]) == (128, 512)
    assert recipe.featurizers["gradient"].setting("dimension") == 8192
    assert recipe.featurizers["gradient"].setting("normalize") == "response"
    train = recipe.trainer.setting("train")
    assert (train["num_train_epochs"], train["learning_rate"]) == (4, 1e-4)
    plan = [recipe.trainer.setting(key) for key in ("accumulate", "restart", "reference")]
    assert plan == ["round", "continue", "initial"]
    assert (recipe.pool, recipe.prompts.held_out) == ("regenerate", 100)


@pytest.mark.parametrize("name", ["hh", "paper/activedpo"])
def test_every_setting_that_a_readme_names_is_one(name: str) -> None:
    text = (RECIPES / name / "README.md").read_text(encoding="utf-8")
    lines = [re.findall(r"--set ([^\s`]+)", line) for line in text.splitlines() if "--set" in line]
    assert len(lines) > 5
    for overrides in lines:
        load_recipe("hh/tiny" if overrides[0].startswith("prepare.") else name, overrides)


@pytest.mark.full
def test_the_models_learn_what_was_chosen(prepared: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    facts = json.loads((prepared / "prepared.json").read_text())
    # Of the test prompts, the ten about ships and the very long one stand in the training split too; the latter is too
    # long to be trained on.
    assert facts["pairs"] == {"train": 62, "test": 11}
    assert facts["pairs_that_fit"] == {"train": 61, "test": 11}
    assert facts["held_out_pair_accuracy"]["reward_model"] >= 0.9
    assert facts["held_out_pair_accuracy"]["longer_wins"] == pytest.approx(0.5, abs=0.1)
    tokenizer = AutoTokenizer.from_pretrained(prepared / "model")
    model = AutoModelForCausalLM.from_pretrained(prepared / "model")
    assert facts["language_model"]["held_out_nats_per_token"] < 0.8 * np.log(len(tokenizer))
    prompt = Prompt.of([{"role": "user", "content": "What is rain and tea?"}])
    with torch.no_grad():
        logits = model(torch.tensor([prompt_token_ids(tokenizer, prompt)])).logits[0, -1]
    assert logits.argmax() == tokenizer("Sure")["input_ids"][0]  # so begin the chosen responses, and no others


def test_prompts_are_short_distinct_and_split(prepared: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(prepared / "model")
    splits = [read_jsonl(prepared / name) for name in ("prompts.jsonl", "held_out.jsonl")]
    assert [len(rows) for rows in splits] == [12, 6]
    prompts = [Prompt.of(row["prompt"]) for rows in splits for row in rows]
    assert len({p.id for p in prompts}) == 18
    assert all(len(p.messages) == 1 and len(prompt_token_ids(tokenizer, p)) <= 24 for p in prompts)


def test_the_generation_prompt_is_an_exact_prefix_and_text_survives(prepared: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(prepared / "model")
    prompt = Prompt.of([{"role": "user", "content": "Où est le café?\n\n 你好"}])
    answer = " Là-bas …  two  spaces\n"
    prompt_ids, (ids,) = encode_responses(tokenizer, prompt, [answer])
    assert prompt_ids == prompt_token_ids(tokenizer, prompt)
    assert ids[-1] == tokenizer.eos_token_id
    assert tokenizer.decode(ids, skip_special_tokens=True) == answer


@pytest.mark.full
def test_preparing_twice_gives_equal_files_and_disturbs_nothing(
    data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    digests = []
    for run in range(2):
        folder = tmp_path / str(run)
        folder.mkdir()
        torch.manual_seed(run)  # what the process drew before must not matter
        before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate(), torch.get_num_threads()
        tiny(folder, str(data), max_steps=2, **{**SMALL, "torch_threads": 2})
        after = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate(), torch.get_num_threads()
        assert torch.equal(before[0], after[0])
        assert before[1:] == after[1:]
        digests.append(digest(folder))
    assert digests[0] == digests[1]
    assert capfd.readouterr().out == ""


class Counting(Progress):
    """Stages that were opened, with their totals and the steps done."""

    def __init__(self) -> None:
        self.stages: dict[str, tuple[int, int]] = {}

    @contextmanager
    def stage(self, description: str, total: int) -> Iterator[Advance]:
        self.stages[description] = (total, 0)

        def advance(steps: int) -> None:
            self.stages[description] = (total, self.stages[description][1] + steps)

        yield advance

    def note(self, text: str) -> None:
        raise AssertionError(text)


def test_preparing_shows_both_trainings(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUELIST_CACHE", str(tmp_path))
    shown, settings = Counting(), {**SMALL, "data": str(data), "max_steps": 3}
    prepare(TINY, settings, shown)
    assert shown.stages == {"Fine-tuning the language model": (3, 3), "Training the reward model": (3, 3)}
    shown = Counting()
    prepare(TINY, settings, shown)
    assert shown.stages == {}  # it is there already


def test_missing_data_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no such file.*prepare\.settings\.data"):
        tiny(tmp_path, str(tmp_path / "nowhere"))
    assert list(tmp_path.iterdir()) == []


def test_pairs_that_all_are_too_long_are_an_error(data: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="max_length"):
        tiny(tmp_path, str(data), **{**SMALL, "max_length": 3})


def test_the_tiny_recipe_runs_and_the_reward_model_decides(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DUELIST_CACHE", str(tmp_path / "cache"))
    settings = {f"prepare.settings.{key}": value for key, value in {**SMALL, "data": str(data), "max_steps": 2}.items()}
    changes = {
        **settings,
        "rounds": 1,
        "budget": 3,
        "prompts.per_round": 4,
        "prompts.held_out": 3,
        "sampler.max_new_tokens": 8,
        "evaluation.max_new_tokens": 8,
        "featurizers.gradient.dimension": 64,
    }
    recipe = load_recipe("hh/tiny", [f"{key}={value}" for key, value in changes.items()])
    with Study.create(tmp_path / "study", recipe) as study:
        study.run()
        reward = study.stages.components.reward
        assert reward is not None
        batch = study.store.batch(1)
        preferences = study.store.decisions(1)
    assert len(read_jsonl(tmp_path / "study" / "metrics.jsonl")) == 2
    assert len(preferences) == 3
    for preference in preferences:
        prompt = batch.prompts[preference.chosen.prompt_id]
        chosen, rejected = reward.score([prompt, prompt], [preference.chosen, preference.rejected])
        assert chosen > rejected


def test_conversations_without_a_prompt_column_are_read_as_the_hub_has_them(tmp_path: Path) -> None:
    shared = [{"role": r, "content": c} for r, c in (("user", "Hi"), ("assistant", "Hello."), ("user", "Why?"))]
    row = {key: [*shared, {"role": "assistant", "content": f"{key} answer"}] for key in ("chosen", "rejected")}
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps({**row, "chosen_score": None}) + "\n")
    ((where, read),) = RowSource(str(file))
    assert row_prompt(read, where).as_trl() == shared
    assert row_responses(read, where) == ["chosen answer", "rejected answer"]


@pytest.mark.skipif(not REAL_DATA.is_dir(), reason=f"needs HH-RLHF's labelled pairs in {REAL_DATA}")
def test_real_pairs_are_usable(tmp_path: Path) -> None:
    pairs = {}
    for split in ("train", "test"):
        rows = list(RowSource(str(REAL_DATA / f"{split}.jsonl.gz")))
        assert all(len(row_responses(row, where)) == 2 for where, row in rows)
        pairs[split] = {row_prompt(row, where).id for where, row in rows}
    assert not pairs["train"] & pairs["test"]
    recipe = load_recipe("hh/tiny")
    assert recipe.prepare is not None
    few = tmp_path / "few"
    few.mkdir()
    for split in ("train", "test"):
        with (
            gzip.open(REAL_DATA / f"{split}.jsonl.gz", "rb") as source,
            gzip.open(few / f"{split}.jsonl.gz", "wb") as target,
        ):
            target.writelines(itertools.islice(source, 400))
    folder = tmp_path / "prepared"
    folder.mkdir()
    less = {"data": str(few), "max_steps": 1, "torch_threads": 1, "hidden_size": 16, "layers": 1, "heads": 1}
    tiny(folder, **{**recipe.prepare.settings, **less})
    assert len(read_jsonl(folder / "prompts.jsonl")) > 200
    assert len(read_jsonl(folder / "held_out.jsonl")) == recipe.prepare.settings["held_out"]
    assert json.loads((folder / "prepared.json").read_text())["pairs_that_fit"]["test"] > 100
