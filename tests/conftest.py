"""Shared fixtures: a tiny model and prompts that every test may use, made once per session."""

from __future__ import annotations

import gc
import json
import os
from collections.abc import Generator
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from sqlalchemy import Engine

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

# Property tests try the same examples every time, so that they pass or fail for everyone alike, whatever the machine.
# `--hypothesis-profile=full` looks for new ones at random: see CONTRIBUTING.md.
UNTIMED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("same", UNTIMED, derandomize=True, max_examples=50)
settings.register_profile("full", UNTIMED, derandomize=False, max_examples=1000)
settings.load_profile("same")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Keep the garbage collector from the million objects of the libraries, now and later: every training collects."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


CHAT_TEMPLATE = (
    "{% for m in messages %}{% if m['role'] == 'user' %}<user> {{ m['content'] }} "
    "{% else %}<assistant> {{ m['content'] }} <eos>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<assistant> {% endif %}"
)
WORDS = 40


@pytest.fixture(scope="session", autouse=True)
def _schema_of_new_studies(tmp_path_factory: pytest.TempPathFactory) -> Generator[None]:
    """Run the migrations of an empty database once, and give every new study in this process what they made."""
    from duelist.store import database
    from duelist.store.layout import DATABASE

    folder = tmp_path_factory.mktemp("schema")
    database.open_engine(database.url_of(folder), migrate=True).dispose()
    content, upgrade = (folder / DATABASE).read_bytes(), database._upgrade

    def upgraded(engine: Engine) -> None:
        file = Path(engine.url.database or "")
        if not file.exists():
            with suppress(OSError):  # the migrations tell why
                file.write_bytes(content)
        upgrade(engine)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(database, "_upgrade", upgraded)
        yield


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random Llama of 20,000 parameters and a word-level tokenizer (words w0 ... w39)."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("tiny-model")
    words = ["<pad>", "<bos>", "<eos>", "<unk>", "<user>", "<assistant>", *(f"w{i}" for i in range(WORDS))]
    words_model = models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>")
    tokenizer = Tokenizer(words_model)
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = {"pad_token": "<pad>", "bos_token": "<bos>", "eos_token": "<eos>", "unk_token": "<unk>"}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)
    fast.chat_template = CHAT_TEMPLATE
    fast.save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_reward_model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reward model on the tokenizer of `tiny_model`, with random weights."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForSequenceClassification

    folder = tmp_path_factory.mktemp("tiny-reward-model")
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.save_pretrained(folder)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = LlamaConfig(vocab_size=len(tokenizer), num_labels=1, pad_token_id=0, initializer_range=0.5, **sizes)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        LlamaForSequenceClassification(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_prompts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A JSONL file of 30 conversational prompts with a column `kind`."""
    path = tmp_path_factory.mktemp("tiny-prompts") / "prompts.jsonl"
    rows = [{"prompt": [{"role": "user", "content": f"w{i} w{7 * i % WORDS}"}], "kind": i % 3} for i in range(30)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def tiny_reward(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The dotted path of a reward function: the mean word number of the response."""
    path = tmp_path_factory.mktemp("tiny-reward") / "rewards.py"
    path.write_text(
        "def score(prompts, completions, **columns):\n"
        "    values = []\n"
        "    for c in completions:\n"
        "        text = c if isinstance(c, str) else c[0]['content']\n"
        "        numbers = [int(w[1:]) for w in text.split() if w[1:].isdigit()]\n"
        "        values.append(sum(numbers) / (40 * len(numbers)) if numbers else 0.0)\n"
        "    return values\n",
        encoding="utf-8",
    )
    return f"{path}:score"


@pytest.fixture
def tiny_recipe(tiny_content: dict[str, Any]) -> dict[str, Any]:
    """A recipe of two rounds of six labels that runs in about a second; change keys as a test needs."""
    return deepcopy(tiny_content)


@pytest.fixture(scope="session")
def tiny_content(tiny_model: Path, tiny_prompts: Path, tiny_reward: str) -> dict[str, Any]:
    """The content of `tiny_recipe`, for fixtures that several tests share; not to be changed."""
    return {
        "name": "tiny",
        "rounds": 2,
        "budget": 6,
        "beta": 0.5,
        "prompts": {"path": str(tiny_prompts), "held_out": 6},
        "policy": {"model": str(tiny_model), "lora": {"r": 4, "lora_alpha": 8, "target_modules": "all-linear"}},
        "sampler": {"name": "vanilla", "responses_per_prompt": 3, "max_new_tokens": 6},
        "featurizers": {"margin": {}, "gradient": {"dimension": 512}},
        "acquisition": {"name": "activedpo"},
        "annotator": {"name": "reward_function", "function": tiny_reward},
        "trainer": {
            "name": "dpo",
            "train": {"num_train_epochs": 2, "learning_rate": 1.0e-3, "per_device_train_batch_size": 4},
        },
        "evaluation": {"max_new_tokens": 6, "group_by": "kind"},
    }
