"""TRL's SFTTrainer on our token ids: a base model fine-tuned on demonstrations, in transformers' format.

Reference: ActiveDPO, arXiv 2505.19241, Section 4; PILAF, arXiv 2502.04270, Section 6; Yang et al., arXiv 2406.17312,
           Section 2.2 (all three start from a fine-tuned model, and keep it as the reference).

TRL internals we rely on, checked by tests/trainers/test_sft.py: `SFTTrainer` uses the columns `input_ids` and `labels`
unchanged (a label of −100 has no loss), and its loss is the mean over the batch's tokens that have one.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from trl import SFTConfig, SFTTrainer

from duelist.data.sources import RowSource
from duelist.models.policy.config import PolicyConfig
from duelist.models.policy.loading import load_base
from duelist.models.policy.positions import context_length
from duelist.models.policy.process_state import global_generators_kept
from duelist.progress import Progress
from duelist.trainers.sft import KEY, Demonstrations, SFTStageConfig, demonstrations
from duelist.trainers.trl_progress import train_with_progress
from duelist.trainers.trl_settings import trl_config

NO_LOSS = -100


def fine_tune(
    policy: PolicyConfig, config: SFTStageConfig, source: RowSource, seed: int, target: Path, progress: Progress
) -> Mapping[str, float]:
    """Fine-tune the policy's base model, and write model and tokenizer into a folder.

    Args:
        policy: the base model, its tokenizer and its device.
        config: the settings.
        source: the demonstrations.
        seed: the only source of randomness.
        target: an empty folder.
        progress: receives the number of optimizer steps done.

    Returns:
        The mean training loss in nats per token, and the numbers of steps and demonstrations.

    Raises:
        DataError: if a row cannot be trained on.
        RecipeError: if TRL rejects a setting.
    """
    # Small steps of all weights would vanish in the rounding of half precision; an adapter's own weights are float32.
    loaded = policy if config.lora is not None else policy.model_copy(update={"dtype": "float32"})
    with global_generators_kept(), tempfile.TemporaryDirectory(prefix="duelist-sft-") as scratch:
        model, tokenizer = load_base(loaded)
        data = demonstrations(source, tokenizer, context_length(model.config), policy.model)
        on_cpu = next(model.parameters()).device.type == "cpu"
        own = {"seed": seed, "output_dir": scratch, "max_length": None}
        settings = trl_config(SFTConfig, config.train, KEY, on_cpu=on_cpu, **own)
        if config.lora is not None:
            model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **config.lora))
        trainer = SFTTrainer(model=model, args=settings, train_dataset=sft_dataset(data), processing_class=tokenizer)
        outcome = train_with_progress(trainer, "Supervised fine-tuning", progress)
        trained = trainer.accelerator.unwrap_model(trainer.model)
        if config.lora is not None:
            trained = trained.merge_and_unload()
        trained.config.use_cache = True
        trained.to(getattr(torch, policy.dtype)).save_pretrained(target)
        tokenizer.save_pretrained(target)
    done = {"train_loss": float(outcome.training_loss), "optimizer_steps": float(outcome.global_step)}
    return {**done, "demonstrations": float(len(data.sequences))}


def sft_dataset(data: Demonstrations) -> Dataset:
    """Return demonstrations as TRL's columns: token ids, and labels that have no loss on the prompt."""
    rows = zip(data.sequences, data.prompt_lengths, strict=True)
    return Dataset.from_list(
        [{"input_ids": list(ids), "labels": [NO_LOSS] * start + list(ids[start:])} for ids, start in rows]
    )
