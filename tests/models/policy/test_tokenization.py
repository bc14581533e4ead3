"""The ids Duelist samples, featurises and trains on are those that a stock `DPOTrainer` makes of the same texts."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from trl import DPOConfig, DPOTrainer

from duelist.errors import DataError, ModelError
from duelist.models.policy.tokenization import check_length, encode_responses, prompt_token_ids, require_chat_template
from duelist.trainers.trl_dpo import tokenized_dataset
from duelist.types import Preference, Prompt, Response

TEXTS = ["the cat sat on the mat", "the catalogue is long", "on the matter of cats", "a longer catalogue of mats"]
CHAT = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}{% if m['role'] == 'assistant' %}<eos>{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


@pytest.fixture(scope="module")
def byte_level() -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer without pre-splitting, so that tokens merge across words, and prompt and response."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<pad>", "<eos>"]
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=special, initial_alphabet=alphabet)
    tokenizer.train_from_iterator(TEXTS * 3, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>")
    fast.chat_template = CHAT
    return fast


@pytest.fixture(scope="module")
def word_level(tiny_model: Path) -> Any:
    return AutoTokenizer.from_pretrained(tiny_model)


def trl_batch(tokenizer: Any, rows: list[dict[str, Any]], folder: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The tokenised rows of a stock DPOTrainer, and the batch that its collator makes of them."""
    size = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    model, reference = (LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **size)) for _ in range(2))
    options: dict[str, Any] = {"use_cpu": True, "bf16": False, "gradient_checkpointing": False, "report_to": []}
    config = DPOConfig(output_dir=str(folder), max_length=None, disable_tqdm=True, **options)
    rest = {"args": config, "train_dataset": Dataset.from_list(rows), "processing_class": tokenizer}
    trainer = DPOTrainer(model=model, ref_model=reference, **rest)
    columns = ("prompt_ids", "chosen_ids", "rejected_ids")
    found = [{k: row[k] for k in columns} for row in trainer.train_dataset]
    return found, trainer.data_collator(found)


def duelist_rows(tokenizer: Any, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same rows through Duelist: tokenised as responses, then made training rows."""
    preferences = []
    for row in rows:
        prompt = Prompt.of(row["prompt"])
        texts = [v if isinstance(v, str) else v[0]["content"] for v in (row["chosen"], row["rejected"])]
        responses = []
        for text in texts:  # each by itself, as sampling and featurising see them
            prompt_ids, (ids,) = encode_responses(tokenizer, prompt, [text])
            responses.append(Response.of(prompt, text, prompt_ids, ids, 1))
        preferences.append(Preference(prompt, responses[0], responses[1], "pair", "someone"))
    return list(tokenized_dataset(preferences).select_columns(["prompt_ids", "chosen_ids", "rejected_ids"]))


def plain(prompt: str, chosen: str, rejected: str) -> dict[str, Any]:
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected}


def chat(prompt: list[dict[str, str]], chosen: str, rejected: str) -> dict[str, Any]:
    said = ([{"role": "assistant", "content": text}] for text in (chosen, rejected))
    return {"prompt": prompt, **dict(zip(("chosen", "rejected"), said, strict=True))}


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


MERGING = [
    plain("the cat", "alogue is long", " sat on the mat"),
    plain("on the mat", "ter of cats", ""),
    plain("the ", "catalogue", "cat<eos>"),
    plain("a longer", " catalogue", "é"),
]
WORDS = [plain("w1 w2 ", "w3 w4 ", "w5 <eos>"), plain("w7 ", "w8 w9 w10 ", "w8 w9 ")]
CONVERSATIONS = [
    chat([user("w1 w2")], "w3 w4", "w5"),
    chat([user("w1"), {"role": "assistant", "content": "w2"}, user("w3")], "w4 w5 w6", "w4"),
]
BYTE_CONVERSATIONS = [
    chat([user("the cat")], "alogue", " sat"),
    chat([user("the"), {"role": "assistant", "content": "mat"}, user("on")], "the mat", "ter of"),
]


@pytest.mark.parametrize(
    ("which", "rows"),
    [
        ("byte_level", MERGING),
        ("byte_level", BYTE_CONVERSATIONS),
        ("word_level", WORDS),
        ("word_level", CONVERSATIONS),
    ],
    ids=["plain, merging", "chat, byte-level", "plain, words", "chat, words"],
)
def test_ids_equal_those_of_a_stock_dpo_trainer(
    which: str, rows: list[dict[str, Any]], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    tokenizer = request.getfixturevalue(which)
    theirs, batch = trl_batch(tokenizer, rows, tmp_path)
    ours = duelist_rows(tokenizer, rows)
    assert ours == theirs
    # The collated batch lists every chosen sequence, then every rejected one.
    whole = [r["prompt_ids"] + r[k] for k in ("chosen_ids", "rejected_ids") for r in ours]
    for ids, row, mask in zip(whole, batch["input_ids"], batch["attention_mask"], strict=True):
        assert row[mask.bool()].tolist() == ids


def test_the_merging_rows_do_merge(byte_level: PreTrainedTokenizerFast) -> None:
    """Without this the test above could pass with a tokenizer that never merges across the boundary."""
    prompt = Prompt.of("the cat")
    alone = prompt_token_ids(byte_level, prompt)
    start, (ids,) = encode_responses(byte_level, prompt, ["alogue is long"])
    assert len(start) < len(alone)
    assert byte_level.decode([*start, *ids]) == "the catalogue is long<eos>"


def test_a_response_drawn_continues_the_prompt_as_it_is_trained_on(word_level: Any) -> None:
    prompt = Prompt.of([user("w1 w2")])
    start, (ids,) = encode_responses(word_level, prompt, ["w3"])
    assert start == prompt_token_ids(word_level, prompt)
    assert word_level.convert_ids_to_tokens(ids) == ["w3", "<eos>"]


def test_several_responses_share_one_prompt(byte_level: PreTrainedTokenizerFast) -> None:
    prompt = Prompt.of("the cat")
    texts = [" sat", "alogue", "s"]
    start, ids = encode_responses(byte_level, prompt, texts)
    for text, token_ids in zip(texts, ids, strict=True):
        assert byte_level.decode([*start, *token_ids]) == f"the cat{text}<eos>"


def test_a_missing_chat_template_is_named_with_its_remedies(byte_level: PreTrainedTokenizerFast) -> None:
    tokenizer = copy.deepcopy(byte_level)
    tokenizer.chat_template = None
    require_chat_template(tokenizer, [Prompt.of("plain text needs none")], "my-model")
    with pytest.raises(ModelError, match=r"but that of my-model has none: .*set `policy.chat_template`"):
        require_chat_template(tokenizer, [Prompt.of([user("hello")])], "my-model")


def test_what_does_not_fit_is_refused_with_its_length() -> None:
    prompt = Prompt.of("a long question")
    check_length(prompt, 64, 64, "")
    check_length(prompt, 10**6, None, "")
    with pytest.raises(DataError, match=rf"context of 64 tokens, but prompt {prompt.id} \('a long.* makes 65"):
        check_length(prompt, 65, 64, "max_new_tokens=60")
