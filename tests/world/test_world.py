"""The synthetic environment: its prompts, rules and trained model."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from duelist.errors import RecipeError, StorageError
from duelist.world import WorldSettings, prepare
from duelist.world.language import Language, Rules, draw_demonstrations, draw_prompts
from duelist.world.model import tokenized, undisturbed

SMALL: dict[str, Any] = {
    "seed": 3,
    "kinds": 3,
    "prompts": 40,
    "held_out": 12,
    "detail_words": 8,
    "response_words": 16,
    "style_words": 3,
    "sft_steps": 20,
    "sft_batch_size": 8,
    "hidden_size": 32,
    "layers": 1,
    "heads": 2,
}


def _made(folder: Path, **settings: Any) -> Path:
    folder.mkdir()
    prepare(folder, **settings)
    return folder


def _rows(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def _world(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "world.json").read_text())
    return content


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _made(tmp_path_factory.mktemp("world") / "small", **SMALL)


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default world, without the training."""
    return _made(tmp_path_factory.mktemp("world") / "untrained", sft_steps=0)


def test_same_settings_same_files_whatever_the_process_did_before(
    small: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    random.seed(11), np.random.seed(12), torch.manual_seed(13)
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        again = _made(tmp_path / "again", **SMALL)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert random.getstate() == before[0]
    assert all(np.array_equal(new, old) for new, old in zip(np.random.get_state(), before[1], strict=True))
    assert torch.equal(torch.get_rng_state(), before[2])
    assert _contents(again) == _contents(small)
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")


def test_another_seed_makes_another_world(small: Path, tmp_path: Path) -> None:
    other = _made(tmp_path / "other", **(SMALL | {"seed": 4, "sft_steps": 0}))
    assert _world(other)["kinds"] != _world(small)["kinds"]
    assert (other / "prompts.jsonl").read_text() != (small / "prompts.jsonl").read_text()


def test_random_state_is_restored_after_an_error_too() -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    before = random.getstate(), torch.get_rng_state()
    with pytest.raises(KeyError), undisturbed():
        assert torch.get_num_threads() == 1
        random.random(), torch.rand(1)
        raise KeyError
    after = torch.get_num_threads()
    torch.set_num_threads(threads)
    assert (random.getstate(), after) == (before[0], 2)
    assert torch.equal(torch.get_rng_state(), before[1])


def test_the_training_changes_the_weights(small: Path, tmp_path: Path) -> None:
    start = _made(tmp_path / "start", **(SMALL | {"sft_steps": 0}))
    before, after = (load_file(folder / "model" / "model.safetensors") for folder in (start, small))
    assert before.keys() == after.keys()
    assert all(not np.array_equal(before[name], after[name]) for name in before)


def test_files_are_in_the_documented_format(small: Path) -> None:
    assert sorted(p.name for p in small.iterdir()) == ["held_out.jsonl", "model", "prompts.jsonl", "world.json"]
    training, held_out, world = _rows(small / "prompts.jsonl"), _rows(small / "held_out.jsonl"), _world(small)
    assert (len(training), len(held_out)) == (40, 12)
    assert all(row.keys() == {"prompt", "kind"} for row in training)
    assert all(row.keys() == {"prompt", "kind", "weight"} for row in held_out)
    for row in training + held_out:
        (message,) = row["prompt"]
        assert message["role"] == "user"
        words = message["content"].split()
        assert len(words) == 4
        assert words[0] == world["kinds"][row["kind"]]["word"]
    assert WorldSettings(**world["settings"]) == WorldSettings(**SMALL)
    assert len(world["words"]) == 16
    for kind in world["kinds"]:
        assert len(set(kind["preferred"]) | set(kind["other"])) == 6
        assert set(kind["preferred"] + kind["other"]) <= set(world["words"])
        utility = dict(zip(world["words"], kind["utility"], strict=True))
        middles = dict.fromkeys(world["words"], 0.2) | dict.fromkeys(kind["preferred"], 0.8)
        middles |= dict.fromkeys(kind["other"], 0.3)
        assert all(abs(utility[word] - middle) <= 0.2 + 1e-4 for word, middle in middles.items())
        assert all(0 <= u <= 1 for u in utility.values())


def test_no_prompt_occurs_twice_and_none_is_both_training_and_held_out(small: Path, untrained: Path) -> None:
    for folder in (small, untrained):
        texts = [r["prompt"][0]["content"] for f in ("prompts", "held_out") for r in _rows(folder / f"{f}.jsonl")]
        assert len(set(texts)) == len(texts) == sum(_world(folder)["settings"][k] for k in ("prompts", "held_out"))


def test_prompts_fill_their_space_without_repeating() -> None:
    # 9 prompts per kind exist, and with one kind all of them are needed.
    settings = WorldSettings(kinds=1, detail_words=3, prompt_tokens=3, prompts=6, held_out=3)
    training, held_out = draw_prompts(settings, Rules.of(settings), Language.of(settings))
    assert set(training.texts) | set(held_out.texts) == {
        f"kind0 detail{i} detail{j}" for i in range(3) for j in range(3)
    }


def test_frequencies_follow_zipfs_law(untrained: Path) -> None:
    frequency = np.array([kind["frequency"] for kind in _world(untrained)["kinds"]])
    assert frequency.sum() == pytest.approx(1)
    assert frequency[0] / frequency == pytest.approx(np.arange(1, 25) ** 1.3)

    settings = WorldSettings(prompts=20_000)
    training, _ = draw_prompts(settings, Rules.of(settings), Language.of(settings))
    count, expected = np.bincount(training.kind_N, minlength=24), 20_000 * frequency
    assert (np.abs(count - expected) < 4 * np.sqrt(expected)).all()


def test_held_out_weights_turn_the_mean_over_kinds_into_the_mean_over_prompts(untrained: Path) -> None:
    held_out, world = _rows(untrained / "held_out.jsonl"), _world(untrained)
    assert set(Counter(row["kind"] for row in held_out).values()) == {96 // 24}
    value_by_kind = np.random.default_rng(0).random(24)
    values = np.array([value_by_kind[row["kind"]] for row in held_out])
    weights = np.array([row["weight"] for row in held_out])
    assert values.mean() == pytest.approx(value_by_kind.mean())
    by_frequency = sum(kind["frequency"] * value for kind, value in zip(world["kinds"], value_by_kind, strict=True))
    assert (weights * values).mean() == pytest.approx(by_frequency)


def test_demonstrations_use_both_styles_of_every_kind_equally_and_no_held_out_prompt() -> None:
    # Half of all prompts are held out, so showing none of them is no accident.
    settings = WorldSettings(
        kinds=2, detail_words=4, prompt_tokens=3, prompts=8, held_out=16, noise=0, sft_steps=40, sft_batch_size=10
    )
    rules, language = Rules.of(settings), Language.of(settings)
    _, held_out = draw_prompts(settings, rules, language)
    demonstrations = draw_demonstrations(settings, rules, language, frozenset(held_out.texts))
    styles: Counter[tuple[int, tuple[bool, ...]]] = Counter()
    for prompt, response in demonstrations:
        kind = language.kinds.index(prompt.split()[0])
        used = {language.words.index(word) for word in response.split()}
        styles[kind, tuple(used <= set(style_S.tolist()) for style_S in rules.styles_X2X[kind])] += 1
        assert len(response.split()) == 4
    assert styles == {(kind, style): 100 for kind in (0, 1) for style in ((True, False), (False, True))}
    assert not set(held_out.texts) & {prompt for prompt, _ in demonstrations}

    noisy = settings.model_copy(update={"noise": 0.25})
    changed = [
        before != after
        for (_, clean), (_, shaken) in zip(
            demonstrations, draw_demonstrations(noisy, rules, language, frozenset(held_out.texts)), strict=True
        )
        for before, after in zip(clean.split(), shaken.split(), strict=True)
    ]
    assert np.mean(changed) == pytest.approx(0.25 * 63 / 64, abs=0.04)  # a replacement may be the same word


def test_useless_kinds_fill_the_pool_and_count_for_nothing(tmp_path: Path) -> None:
    own = {"prompts": 4000, "kinds": 6, "held_out": 12, "useless_kinds": 4, "useless_share": 0.75, "sft_steps": 0}
    folder = _made(tmp_path / "useless", **own)
    rows, held_out = _rows(folder / "prompts.jsonl"), _rows(folder / "held_out.jsonl")
    assert {row["kind"]: row["useful"] for row in rows} == {0: 1, 1: 1, 2: 0, 3: 0, 4: 0, 5: 0}
    share = np.bincount([row["kind"] for row in rows], minlength=6) / 4000
    zipf = np.array([1.0, 2**-1.3]) / (1 + 2**-1.3)
    expected = np.array([*(0.25 * zipf), *[0.75 / 4] * 4])
    assert (np.abs(share - expected) < 4 * np.sqrt(expected / 4000)).all()
    assert _rows(folder / "useful.jsonl") == [row for row in rows if row["useful"]]
    assert {row["kind"]: row["weight"] for row in held_out} == pytest.approx(
        {0: 6 * zipf[0], 1: 6 * zipf[1], 2: 0, 3: 0, 4: 0, 5: 0}
    )


def test_lengths_are_spread_evenly_and_nothing_else_changes_without_a_spread() -> None:
    settings = WorldSettings(kinds=2, held_out=4, length_spread=2, sft_steps=100, sft_batch_size=10)
    rules, language = Rules.of(settings), Language.of(settings)
    lengths = Counter(len(r.split()) for _, r in draw_demonstrations(settings, rules, language, frozenset()))
    assert set(lengths) == {2, 3, 4, 5, 6} and min(lengths.values()) > 140
    plain = settings.model_copy(update={"length_spread": 0})
    demonstrations = draw_demonstrations(plain, rules, language, frozenset())
    assert {len(r.split()) for _, r in demonstrations} == {4}


def test_the_default_model_is_small(untrained: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(untrained / "model")
    assert model.config.architectures == ["LlamaForCausalLM"]
    assert 50_000 < sum(p.numel() for p in model.parameters()) < 2_000_000
    assert model.dtype == torch.float32


def test_generation_prompt_is_a_prefix_of_the_conversation(small: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(small / "model")
    assert tokenizer.pad_token_id != tokenizer.eos_token_id
    for response in ("word1 word15 word3 word3", "word2", "", "never seen"):
        messages = [*_rows(small / "prompts.jsonl")[0]["prompt"], {"role": "assistant", "content": response}]
        start = tokenizer.apply_chat_template(messages[:1], add_generation_prompt=True, tokenize=False)
        whole = tokenizer.apply_chat_template(messages, tokenize=False)
        assert whole.startswith(start)
        start_ids = tokenizer.apply_chat_template(messages[:1], add_generation_prompt=True, return_dict=False)
        ids = tokenizer.apply_chat_template(messages, return_dict=False)
        assert ids == tokenizer(whole, add_special_tokens=False)["input_ids"]
        assert ids[: len(start_ids)] == start_ids
        assert ids[-1] == tokenizer.eos_token_id
        assert tokenizer.unk_token_id not in start_ids
        assert len(ids) - len(start_ids) == len(response.split()) + 1  # one token per word, and EOS
        if response != "never seen":
            assert tokenizer.decode(ids[len(start_ids) :], skip_special_tokens=True) == response
    with pytest.raises(Exception, match="only the roles user and assistant, not system"):
        tokenizer.apply_chat_template([{"role": "system", "content": "word1"}])


def test_only_the_response_and_its_end_are_trained_on(small: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(small / "model")
    row = tokenized(tokenizer, "kind1 detail2", "word3 word4")
    assert tokenizer.convert_ids_to_tokens(row["input_ids"]) == (
        ["<user>", "kind1", "detail2", "<assistant>", "word3", "word4", "<eos>"]
    )
    assert row["labels"] == [-100] * 4 + row["input_ids"][4:]


def test_the_trained_model_answers_in_both_styles_and_stops(tmp_path: Path) -> None:
    trained = {"kinds": 2, "layers": 2, "hidden_size": 64, "sft_steps": 150, "sft_batch_size": 16}
    folder = _made(tmp_path / "world", **(SMALL | trained))
    model, tokenizer = (c.from_pretrained(folder / "model") for c in (AutoModelForCausalLM, AutoTokenizer))
    held_out, world = _rows(folder / "held_out.jsonl"), _world(folder)
    prompts = tokenizer.apply_chat_template(
        [row["prompt"] for row in held_out], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        tokens = model.generate(
            **prompts, do_sample=True, top_k=0, max_new_tokens=10, num_return_sequences=40, use_cache=True
        )[:, prompts["input_ids"].shape[1] :]
    responses = [text.split() for text in tokenizer.batch_decode(tokens, skip_special_tokens=True)]
    assert np.mean([len(words) == 4 for words in responses]) > 0.9
    assert (tokens == tokenizer.eos_token_id).any(dim=1).float().mean() > 0.95
    for kind, rule in enumerate(world["kinds"]):
        words = [w for i, r in enumerate(responses) if held_out[i // 40]["kind"] == kind for w in r]
        share = {style: np.mean([word in rule[style] for word in words]) for style in ("preferred", "other")}
        assert sum(share.values()) > 0.8
        assert min(share.values()) > 0.3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": 3}, "Unknown key `kind` in the world's settings. Did you mean 'kinds'"),
        ({"qqqqqq": 3}, "Unknown key `qqqqqq`.*Valid keys: seed, kinds"),
        ({"kinds": 0}, "`kinds` in the world's settings: Input should be greater than or equal to 1"),
        ({"kinds": 7}, "held_out must be a multiple of kinds.*held_out=91"),
        ({"detail_words": 4, "prompt_tokens": 3}, "must be at least 516.*but it is 16"),
        ({"style_words": 40}, "2 \\* style_words <= response_words"),
        ({"utility_spread": 0.3}, r"preferred_utility ± utility_spread must stay in \[0, 1\], but it is \[0.5, 1.1\]"),
        ({"length_spread": 4}, "length_spread < response_tokens must hold"),
        ({"useless_kinds": 3}, "useless_share must be above 0 exactly if useless_kinds is"),
        ({"hidden_size": 36}, "hidden_size must be a multiple of 2 \\* heads"),
    ],
)
def test_settings_that_make_no_world_are_refused(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        prepare(tmp_path, **settings)
    assert not list(tmp_path.iterdir())


def test_every_setting_is_described() -> None:
    assert all(field.description for field in WorldSettings.model_fields.values())


def test_the_folder_must_exist_and_be_empty(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="is no folder: make it first"):
        prepare(tmp_path / "absent")
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(StorageError, match=r"holds notes\.txt"):
        prepare(tmp_path)
