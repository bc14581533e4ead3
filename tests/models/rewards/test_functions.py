"""Rewards by a function or a classifier: signatures, bad values, batches, and long contexts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    LlamaConfig,
    LlamaForSequenceClassification,
    Phi3ForSequenceClassification,
)

from duelist.errors import DataError, ModelError, RewardError
from duelist.models.rewards.functions import FunctionReward, FunctionRewardConfig, ModelReward, ModelRewardConfig
from duelist.types import Prompt, Response
from tiny_models import tiny_model as random_model


def response(prompt: Prompt, text: str) -> Response:
    return Response.of(prompt, text, [1], [3, 2], 1)


CHAT = [Prompt.of([{"role": "user", "content": f"w{i}"}], {"kind": i, "extra": "x"}) for i in range(4)]
ANSWERS = [response(p, f"w{i} w{i + 1}") for i, p in enumerate(CHAT)]


RewardOf = Callable[..., FunctionReward]


@pytest.fixture
def reward_of(tmp_path: Path) -> RewardOf:
    """Makes the reward of a function with this body."""

    def make(body: str, **arguments: Any) -> FunctionReward:
        file = tmp_path / f"mine{len(list(tmp_path.iterdir()))}.py"
        file.write_text(f"import numpy as np\nimport torch\ndef score(prompts, completions, **columns):\n    {body}\n")
        return FunctionReward(FunctionRewardConfig(function=f"{file}:score", arguments=arguments))

    return make


def test_a_function_gets_what_trl_s_reward_functions_get(reward_of: RewardOf) -> None:
    reward = reward_of("return [float(p[0]['content'][1:]) + len(c) for p, c in zip(prompts, completions)]")
    assert reward.score(CHAT, ANSWERS).tolist() == [1, 2, 3, 4]
    reward = reward_of("return [k + (columns['extra'] == 'mine') for k in columns['kind']]", extra="mine")
    assert reward.score(CHAT, ANSWERS).tolist() == [1, 2, 3, 4]
    texts = reward_of("return [float(p + ' ' + c == 'ask answer') for p, c in zip(prompts, completions)]")
    plain = Prompt.of("ask")
    assert texts.score([plain], [response(plain, "answer")]).tolist() == [1.0]


@pytest.mark.parametrize(
    "values",
    ["(0, 1, 2, 3)", "np.arange(4)", "torch.arange(4.0)", "[torch.tensor(float(i)) for i in range(4)]"],
)
def test_lists_and_arrays_of_numbers_are_rewards(reward_of: RewardOf, values: str) -> None:
    found = reward_of(f"return {values}").score(CHAT, ANSWERS)
    assert found.dtype == np.float64
    assert found.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("raise KeyError('utility')", "it raised KeyError: 'utility'. Fix the function"),
        ("return [1.0, float('nan'), 2.0, 3.0]", r"gave nan \(1 of 4 rewards are not finite numbers\) for 'w1 w2'"),
        ("return [1.0, 2.0, float('-inf'), None]", r"gave -inf \(2 of 4 .* for 'w2 w3'"),
        ("return [None] * 4", r"gave None \(4 of 4"),
        ("return ['good', 1, 1, 1]", "gave 'good'"),
        ("return [[1.0], [2.0], [3.0], [4.0]]", r"gave \[1.0\]"),
        ("return [1.0, 2.0, 3.0]", "must return a list of 4 numbers, one per completion, but returned 3 values"),
        ("return 1.0", "but returned a float"),
        ("return 'good'", "but returned a str"),
        ("return None", "but returned a NoneType"),
        ("return (x for x in range(4))", "but returned a generator"),
    ],
)
def test_what_is_no_reward_is_refused(reward_of: RewardOf, body: str, said: str) -> None:
    with pytest.raises(RewardError, match=said) as caught:
        reward_of(body).score(CHAT, ANSWERS)
    assert "run the same command again; nothing is lost" in str(caught.value)


@pytest.fixture(scope="module")
def save_reward_model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Saves a tiny random classifier with `num_labels` outputs and the tiny model's tokenizer."""

    def save(num_labels: int = 1, *, template: bool = True, context: int = 64) -> Path:
        folder = tmp_path_factory.mktemp("reward-model")
        tokenizer = AutoTokenizer.from_pretrained(tiny_model)
        if not template:
            tokenizer.chat_template = None
        tokenizer.save_pretrained(folder)
        sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
        config = LlamaConfig(
            vocab_size=len(tokenizer),
            num_labels=num_labels,
            pad_token_id=0,
            max_position_embeddings=context,
            initializer_range=1.0,
            **sizes,
        )
        with torch.random.fork_rng():
            torch.manual_seed(1)
            LlamaForSequenceClassification(config).save_pretrained(folder)
        return folder

    return save


@pytest.fixture(scope="module")
def reward_model(save_reward_model: Callable[..., Path]) -> Path:
    return save_reward_model()


@pytest.mark.parametrize("batch_size", [1, 3, 32])
def test_a_model_scores_the_whole_conversation(reward_model: Path, batch_size: int) -> None:
    prompts = [CHAT[i % 4] for i in range(7)]
    answers = [response(p, " ".join(["w3", "w9", "w4"][: 1 + i % 3])) for i, p in enumerate(prompts)]
    config = ModelRewardConfig(model=str(reward_model), batch_size=batch_size, device="cpu")
    found = ModelReward(config).score(prompts, answers)

    model = AutoModelForSequenceClassification.from_pretrained(reward_model).eval()
    tokenizer = AutoTokenizer.from_pretrained(reward_model)
    for p, r, value in zip(prompts, answers, found, strict=True):
        conversation = [*p.messages, {"role": "assistant", "content": r.text}]
        ids = tokenizer.apply_chat_template(conversation, tokenize=True, return_dict=True, return_tensors="pt")
        with torch.no_grad():
            assert value == pytest.approx(model(**ids).logits.item(), abs=1e-5)
    assert len(set(found.round(4).tolist())) > 3


def test_a_model_of_two_outputs_is_no_reward_model(save_reward_model: Callable[..., Path]) -> None:
    with pytest.raises(ModelError, match=r"must have one output, but .* has 2: use a model trained as a reward model"):
        ModelReward(ModelRewardConfig(model=str(save_reward_model(2)))).score([], [])


def test_a_missing_model_is_named() -> None:
    with pytest.raises(ModelError, match=r"the reward model must be a folder that exists .*/nowhere/rm: correct"):
        ModelReward(ModelRewardConfig(model="/nowhere/rm")).score([], [])


def test_what_the_model_cannot_read_is_refused(save_reward_model: Callable[..., Path]) -> None:
    with pytest.raises(ModelError, match="a reward model needs one in its own folder"):
        ModelReward(ModelRewardConfig(model=str(save_reward_model(template=False)))).score(CHAT, ANSWERS)
    with pytest.raises(DataError, match=r"context of 5 tokens, but prompt .* that the reward model scores makes 6"):
        ModelReward(ModelRewardConfig(model=str(save_reward_model(context=5)))).score(CHAT, ANSWERS)


def test_an_encoder_scores_question_and_answer_as_two_segments(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import DebertaV2Config, DebertaV2ForSequenceClassification, PreTrainedTokenizerFast

    words = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", *"abcdefgh"]
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    special = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", "unk_token": "[UNK]"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(tmp_path)
    config = DebertaV2Config(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=8,
        relative_attention=True,
        position_biased_input=False,
        pos_att_type=["p2c", "c2p"],
        position_buckets=4,
        type_vocab_size=0,
        num_labels=1,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = DebertaV2ForSequenceClassification(config).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(5)  # far from zero, so that different inputs give clearly different rewards
    network.save_pretrained(tmp_path)

    # Longer than max_position_embeddings: DeBERTa's positions are relative.
    texts, answers = ["a b c", "a b c", "a " * 20], [" d e f g", "h", "b " * 9]
    prompts = [Prompt.of(text) for text in texts]
    encoder = ModelReward(ModelRewardConfig(model=str(tmp_path), input="segments", batch_size=2, device="cpu"))
    rewards = encoder.score(prompts, [response(p, a) for p, a in zip(prompts, answers, strict=True)]).tolist()
    for prompt, answer, reward in zip(texts, answers, rewards, strict=True):
        ids = [1, *(words.index(w) for w in prompt.split()), 2, *(words.index(w) for w in answer.split()), 2]
        with torch.no_grad():
            expected = network(input_ids=torch.tensor([ids])).logits.item()
        assert reward == pytest.approx(expected, abs=1e-5)
    assert len({round(r, 4) for r in rewards}) == 3

    turns = Prompt.of([{"role": r, "content": "a"} for r in ("user", "assistant", "user")])
    with pytest.raises(
        DataError, match=r"reads one question and its answer, but prompt .* has 3 messages: use `input:"
    ):
        encoder.score([turns], [response(turns, "b")])


def test_a_long_rope_reward_model_scores_a_response_alike_alone_and_in_company(
    tiny_model: Path, tmp_path: Path
) -> None:
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(tmp_path)
    config = random_model("phi3", torch.float32).config
    config.num_labels, config.pad_token_id = 1, 0
    torch.manual_seed(0)
    Phi3ForSequenceClassification(config).save_pretrained(tmp_path)
    prompt = Prompt.of("w1 w2 w3")
    answers = [response(prompt, " ".join(["w4"] * n)) for n in (1, 4, 5, 12)]
    reward = ModelReward(ModelRewardConfig(model=str(tmp_path), device="cpu"))
    together = reward.score([prompt] * 4, answers)
    np.testing.assert_allclose(together, [reward.score([prompt], [a])[0] for a in answers], atol=1e-5)
