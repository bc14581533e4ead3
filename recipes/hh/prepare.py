"""From human preferences to all that a study needs, from scratch: tokenizer, language model, reward model, prompts."""

from __future__ import annotations

import copy
import json
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from duelist.data import RowSource, row_prompt, row_responses
from duelist.errors import DataError, full_disk_as_storage_error
from duelist.models.policy.tokenization import encode_responses, prompt_token_ids
from duelist.progress import Progress, Silent
from duelist.seeding import derived_seed, generator, hash_keys
from duelist.types import Prompt, Response
from duelist.world.model import undisturbed

PAD, USER, ASSISTANT, END = "<|pad|>", "<|user|>", "<|assistant|>", "<|end|>"

# The generation prompt ends right after <|assistant|>, so it is an exact prefix of the conversation with the answer.
CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    f"{{%- if message['role'] == 'user' -%}}{{{{- '{USER}' + message['content'] -}}}}"
    f"{{%- elif message['role'] == 'assistant' -%}}{{{{- '{ASSISTANT}' + message['content'] + '{END}' -}}}}"
    "{%- else -%}{{- raise_exception('The roles are user and assistant, but got ' + message['role']) -}}{%- endif -%}"
    "{%- endfor -%}"
    f"{{%- if add_generation_prompt -%}}{{{{- '{ASSISTANT}' -}}}}{{%- endif -%}}"
)
TRAIN, TEST = "train.jsonl.gz", "test.jsonl.gz"
Question = tuple[Prompt, str, str]  # prompt, chosen, rejected
Encoded = tuple[list[int], list[int], list[int]]  # their token ids


def tiny(
    folder: Path,
    data: str,
    *,
    vocabulary: int = 4096,
    hidden_size: int = 256,
    layers: int = 4,
    heads: int = 4,
    max_length: int = 160,
    prompt_length: int = 48,
    prompts: int = 1000,
    held_out: int = 100,
    sft_epochs: float = 3.0,
    reward_epochs: float = 1.0,
    max_steps: int = -1,
    torch_threads: int = 2,
    seed: int = 0,
    progress: Progress | None = None,
) -> None:
    """Make a small policy, a small reward model and prompts from pairs that people have labelled.

    It writes `model/` (a Llama fine-tuned on the chosen responses, with its byte-level BPE tokenizer),
    `reward_model/` (the same body with one output, trained on the labels), `prompts.jsonl` from the training pairs,
    `held_out.jsonl` from the test pairs, and `prepared.json`: how many pairs were used, and how well the reward model
    orders the test pairs beside the rule "longer wins". The same settings and data give the same files on the same
    machine. The process's random generators, torch threads and progress bars are left as found.

    Args:
        folder: where; it exists and is empty.
        data: a folder with `train.jsonl.gz` and `test.jsonl.gz`: rows `prompt`, `chosen`, `rejected` in TRL's format.
        vocabulary: tokens of the tokenizer, at most.
        hidden_size: width of the Llama.
        layers: its layers.
        heads: its attention heads.
        max_length: pairs are used if prompt and either response fit in so many tokens; the others are left out whole.
        prompt_length: prompts of the study have at most so many tokens.
        prompts: prompts of the study, at most.
        held_out: held-out prompts, at most.
        sft_epochs: passes over the chosen responses.
        reward_epochs: passes over the labels.
        max_steps: stop both trainings after so many optimizer steps; -1: no limit.
        torch_threads: CPU threads.
        seed: the root of all randomness.
        progress: shows how far both trainings are.

    Raises:
        DataError: if a file is missing, a row is not usable, or too few pairs fit.
        StorageError: if the disk is full.
    """
    progress = progress or Silent()
    train, test = _pairs(Path(data) / TRAIN), _pairs(Path(data) / TEST)
    known = {prompt.id for prompt, _, _ in train}
    test = [pair for pair in test if pair[0].id not in known]
    with undisturbed(), full_disk_as_storage_error(f"the models in {folder}"):
        import torch

        torch.set_num_threads(torch_threads)
        tokenizer = _tokenizer(train, vocabulary)
        fits = {TRAIN: _fitting(tokenizer, train, max_length, data), TEST: _fitting(tokenizer, test, max_length, data)}
        train_ids, test_ids = [ids for _, ids in fits[TRAIN]], [ids for _, ids in fits[TEST]]
        order = derived_seed(seed, "training") % 2**31
        model = _language_model(tokenizer, hidden_size, layers, heads, 4 * max_length, seed)
        limits = {"max_steps": max_steps, "seed": order}
        _fine_tune(model, tokenizer, train_ids, progress, num_train_epochs=sft_epochs, **limits)
        _save(model, tokenizer, folder / "model")
        reward_model = _reward_model(model, seed)
        _train_reward(reward_model, tokenizer, train_ids, progress, num_train_epochs=reward_epochs, **limits)
        _save(reward_model, tokenizer, folder / "reward_model")
        test_pairs = [pair for pair, _ in fits[TEST]]
        facts = {
            "pairs": {"train": len(train), "test": len(test)},
            "pairs_that_fit": {"train": len(train_ids), "test": len(test_ids)},
            "language_model": {
                "parameters": sum(p.numel() for p in model.parameters()),
                "held_out_nats_per_token": _nats_per_token(model, test_ids),
            },
            "held_out_pair_accuracy": {
                "reward_model": _accuracy(*_rewards(folder / "reward_model", tokenizer, test_pairs)),
                "longer_wins": _accuracy([len(p[1]) for p in test_pairs], [len(p[2]) for p in test_pairs]),
                "standard_error_of_guessing": 0.5 / math.sqrt(len(test_pairs)),
            },
        }
        _write_prompts(folder / "prompts.jsonl", tokenizer, train, prompt_length, prompts, seed)
        _write_prompts(folder / "held_out.jsonl", tokenizer, test, prompt_length, held_out, seed)
    (folder / "prepared.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def _pairs(file: Path) -> list[Question]:
    if not file.is_file():
        raise DataError(
            f"Labelled pairs must lie at {file}, but there is no such file: put {TRAIN} and {TEST} (rows `prompt`, "
            "`chosen`, `rejected` in TRL's format) in a folder and name it, `--set prepare.settings.data=FOLDER`."
        )
    found: list[Question] = []
    for where, row in RowSource(str(file)):
        responses = row_responses(row, where)
        if len(responses) != 2:
            raise DataError(f"Every row must have `chosen` and `rejected`, but {where} has not: add them or drop it.")
        found.append((row_prompt(row, where), responses[0], responses[1]))
    return found


def _tokenizer(pairs: Sequence[Question], vocabulary: int) -> Any:
    """A byte-level BPE tokenizer trained on the pairs: any text is made of its tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    special = [PAD, END, USER, ASSISTANT]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = (text for prompt, *both in pairs for text in (*(str(m["content"]) for m in prompt.messages), *both))
    tokenizer.train_from_iterator(texts, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, eos_token=END, additional_special_tokens=[USER, ASSISTANT]
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def _fitting(tokenizer: Any, pairs: Sequence[Question], max_length: int, data: str) -> list[tuple[Question, Encoded]]:
    """The pairs that fit, with the token ids that the study too makes of such texts."""
    found = []
    for prompt, chosen, rejected in pairs:
        prompt_ids, (chosen_ids, rejected_ids) = encode_responses(tokenizer, prompt, [chosen, rejected])
        if len(prompt_ids) + max(len(chosen_ids), len(rejected_ids)) <= max_length:
            found.append(((prompt, chosen, rejected), (prompt_ids, chosen_ids, rejected_ids)))
    if not found:
        raise DataError(
            f"Some of the {len(pairs)} pairs of {data} must fit in max_length={max_length} tokens, but none does: "
            "raise `prepare.settings.max_length`."
        )
    return found


def _language_model(tokenizer: Any, hidden_size: int, layers: int, heads: int, context: int, seed: int) -> Any:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(derived_seed(seed, "weights"))
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=hidden_size,
            intermediate_size=3 * hidden_size,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            num_key_value_heads=heads,
            max_position_embeddings=context,
            tie_word_embeddings=True,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            dtype="float32",
        )
    )


def _reward_model(language_model: Any, seed: int) -> Any:
    """The language model's body under one fresh output."""
    import torch
    from transformers import LlamaForSequenceClassification

    torch.manual_seed(derived_seed(seed, "reward head"))
    config = copy.deepcopy(language_model.config)
    config.num_labels = 1
    reward_model = LlamaForSequenceClassification(config)
    reward_model.model.load_state_dict(language_model.model.state_dict())
    return reward_model


def _fine_tune(model: Any, tokenizer: Any, pairs: Sequence[Encoded], progress: Progress, **settings: Any) -> None:
    """Supervised fine-tuning, in place, on the chosen responses; the prompt's tokens carry no loss."""
    from trl import SFTConfig, SFTTrainer

    rows = [{"input_ids": prompt + chosen, "labels": [-100] * len(prompt) + chosen} for prompt, chosen, _ in pairs]
    shown = ("Fine-tuning the language model", progress)
    _train(SFTTrainer, SFTConfig, model, tokenizer, rows, shown, learning_rate=2e-3, **settings)


def _train_reward(model: Any, tokenizer: Any, pairs: Sequence[Encoded], progress: Progress, **settings: Any) -> None:
    """Bradley–Terry training, in place, on who was preferred."""
    from trl import RewardConfig, RewardTrainer

    rows = [
        {
            "chosen_ids": prompt + chosen,
            "rejected_ids": prompt + rejected,
            "length": len(prompt) + max(len(chosen), len(rejected)),
        }
        for prompt, chosen, rejected in pairs
    ]
    # `length`, by which rows are grouped, is none of the trainer's own columns: it must not be dropped.
    settings["remove_unused_columns"] = False
    shown = ("Training the reward model", progress)
    _train(RewardTrainer, RewardConfig, model, tokenizer, rows, shown, learning_rate=2e-4, **settings)


def _train(
    trainer_type: Any,
    config_type: Any,
    model: Any,
    tokenizer: Any,
    rows: list[dict[str, Any]],
    shown: tuple[str, Progress],
    **settings: Any,
) -> None:
    """Train with TRL on the CPU, GPU or not, so that the models do not depend on that."""
    from datasets import Dataset
    from transformers import PrinterCallback

    from duelist.trainers.trl_progress import train_with_progress

    with tempfile.TemporaryDirectory(prefix="duelist-hh-") as scratch:
        config = config_type(
            output_dir=scratch,
            per_device_train_batch_size=16,
            lr_scheduler_type="cosine",
            warmup_steps=0.05,  # a share of all steps
            train_sampling_strategy="group_by_length",
            max_length=None,
            use_cpu=True,
            bf16=False,
            activation_checkpointing=False,
            dataloader_pin_memory=False,
            save_strategy="no",
            logging_strategy="no",
            report_to=[],
            disable_tqdm=True,
            **settings,
        )
        trainer = trainer_type(
            model=model, args=config, train_dataset=Dataset.from_list(rows), processing_class=tokenizer
        )
        trainer.remove_callback(PrinterCallback)  # it takes the bar's place and prints the training's summary
        train_with_progress(trainer, *shown)
    model.eval()


def _save(model: Any, tokenizer: Any, folder: Path) -> None:
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _nats_per_token(model: Any, pairs: Sequence[Encoded]) -> float:
    """The language model's loss on the chosen responses, per token."""
    from duelist.models.policy.logprobs import TokenizedResponse, sequence_log_probs

    sequences = [TokenizedResponse(prompt, chosen) for prompt, chosen, _ in pairs]
    return -float(sequence_log_probs(model, sequences).sum()) / sum(len(chosen) for _, chosen, _ in pairs)


def _rewards(folder: Path, tokenizer: Any, pairs: Sequence[Question]) -> tuple[list[float], list[float]]:
    """Rewards of the chosen and of the rejected responses, by the very class that the annotator scores with."""
    from duelist.models.rewards.functions import ModelReward, ModelRewardConfig

    reward = ModelReward(ModelRewardConfig(model=str(folder), device="cpu"))
    asked = [prompt for prompt, _, _ in pairs]

    def score(texts: Sequence[str]) -> list[float]:
        responses = []
        for prompt, text in zip(asked, texts, strict=True):
            prompt_ids, (ids,) = encode_responses(tokenizer, prompt, [text])
            responses.append(Response.of(prompt, text, prompt_ids, ids, 0))
        return [float(value) for value in reward.score(asked, responses)]

    return score([chosen for _, chosen, _ in pairs]), score([rejected for _, _, rejected in pairs])


def _accuracy(chosen: Sequence[float], rejected: Sequence[float]) -> float:
    """The share of pairs whose chosen response scores higher; equal scores count half."""
    right = sum(1.0 if c > r else 0.5 if c == r else 0.0 for c, r in zip(chosen, rejected, strict=True))
    return right / len(chosen)


def _write_prompts(file: Path, tokenizer: Any, pairs: Sequence[Question], length: int, number: int, seed: int) -> None:
    """Up to `number` distinct single-turn prompts of up to `length` tokens, drawn by hash of (seed, prompt)."""
    distinct = {prompt.id: prompt for prompt, _, _ in pairs if len(prompt.messages) == 1}.values()
    short = [prompt for prompt in distinct if len(prompt_token_ids(tokenizer, prompt)) <= length]
    keys = hash_keys(generator(seed, "prompts"), [prompt.id for prompt in short])
    rows = [{"prompt": short[i].as_trl(), "source": short[i].columns.get("source")} for i in keys.argsort()[:number]]
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
