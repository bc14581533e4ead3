"""Model of a synthetic environment: a word-level tokenizer and a tiny Llama, fine-tuned with TRL."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from duelist.seeding import derived_seed
from duelist.world.language import Language
from duelist.world.settings import WorldSettings

PAD, UNKNOWN, EOS, USER, ASSISTANT = "<pad>", "<unk>", "<eos>", "<user>", "<assistant>"

# The generation prompt ends right after <assistant>, so it is an exact prefix of the conversation with the response.
CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    f"{{%- if message['role'] == 'user' -%}}{{{{- '{USER} ' + message['content'] + ' ' -}}}}"
    f"{{%- elif message['role'] == 'assistant' -%}}{{{{- '{ASSISTANT} ' + message['content'] + '{EOS}' -}}}}"
    "{%- else -%}{{- raise_exception('This world has only the roles user and assistant, not ' + message['role']) -}}"
    "{%- endif -%}"
    "{%- endfor -%}"
    f"{{%- if add_generation_prompt -%}}{{{{- '{ASSISTANT}' -}}}}{{%- endif -%}}"
)


def make_tokenizer(language: Language) -> Any:
    """Return a `PreTrainedTokenizerFast` with one token per word; other words become `<unk>`."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    special = [PAD, UNKNOWN, EOS, USER, ASSISTANT]
    words = [*special, *language.kinds, *language.details, *language.words]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        unk_token=UNKNOWN,
        eos_token=EOS,
        additional_special_tokens=[USER, ASSISTANT],
        padding_side="left",
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def make_model(settings: WorldSettings, tokenizer: Any) -> Any:
    """Return a Llama with random weights. It draws from torch's global generator: call it within `undisturbed`."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(derived_seed(settings.seed, "world", "weights"))
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=settings.hidden_size,
        intermediate_size=2 * settings.hidden_size,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        num_key_value_heads=settings.heads,
        # A conversation, two role tokens and EOS; the rest leaves room for overlong responses.
        max_position_embeddings=4 * (settings.prompt_tokens + settings.response_tokens + 3),
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        dtype="float32",
    )
    return LlamaForCausalLM(config)


def fine_tune(settings: WorldSettings, model: Any, tokenizer: Any, demonstrations: Sequence[tuple[str, str]]) -> None:
    """Train the model in place on the demonstrations' responses. Call it within `undisturbed`.

    Training always runs on the CPU, so an environment does not depend on whether the machine has a GPU.
    """
    from datasets import Dataset
    from transformers import PrinterCallback
    from trl import SFTConfig, SFTTrainer

    # Passed as token ids: TRL's own tokenization would take longer than the training.
    rows = Dataset.from_list([tokenized(tokenizer, prompt, response) for prompt, response in demonstrations])
    with tempfile.TemporaryDirectory() as scratch:
        trainer = SFTTrainer(
            model=model,
            args=SFTConfig(
                output_dir=scratch,
                max_steps=settings.sft_steps,
                per_device_train_batch_size=settings.sft_batch_size,
                learning_rate=settings.sft_learning_rate,
                lr_scheduler_type="cosine",
                warmup_steps=settings.sft_steps // 10,
                seed=derived_seed(settings.seed, "world", "sft") % 2**31,
                max_length=None,
                use_cpu=True,
                bf16=False,
                activation_checkpointing=False,  # the name that replaces gradient_checkpointing, which warns
                dataloader_pin_memory=False,
                save_strategy="no",
                logging_strategy="no",
                report_to=[],
                disable_tqdm=True,
            ),
            train_dataset=rows,
            processing_class=tokenizer,
        )
        trainer.remove_callback(PrinterCallback)  # it replaces the progress bar and prints a training summary
        trainer.train()


def tokenized(tokenizer: Any, prompt: str, response: str) -> dict[str, list[int]]:
    """Return a demonstration as a training row: token ids, and labels that are -100 (no loss) on the prompt."""
    conversation = [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}]
    prompt_ids = tokenizer.apply_chat_template(conversation[:1], add_generation_prompt=True, return_dict=False)
    ids = tokenizer.apply_chat_template(conversation, return_dict=False)
    return {"input_ids": ids, "labels": [-100] * len(prompt_ids) + ids[len(prompt_ids) :]}


@contextmanager
def undisturbed() -> Iterator[None]:
    """Restore the process's random generators, number of torch threads and progress bars on exit.

    Inside, torch uses one thread: sums then have a fixed order, and models this small run fastest.
    """
    import datasets
    from transformers.utils import logging

    from duelist.models.policy.process_state import global_generators_kept, torch_threads

    transformers_bars, datasets_bars = logging.is_progress_bar_enabled(), datasets.are_progress_bars_disabled()
    try:
        with global_generators_kept(), torch_threads(1):
            logging.disable_progress_bar()
            datasets.disable_progress_bars()
            yield
    finally:
        if transformers_bars:
            logging.enable_progress_bar()
        if not datasets_bars:
            datasets.enable_progress_bars()
