"""Policies that TRL's trainers train in tests, and what a trainer makes of one batch."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from trl import DPOConfig

from duelist.models.policy.config import PolicyConfig
from duelist.models.policy.policy import Policy
from duelist.models.policy.tokenization import encode_responses
from duelist.types import Prompt, Response

BETA = 0.5


def fresh(tiny_model: Path) -> Policy:
    """A policy with a LoRA adapter, equal to its reference."""
    lora = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear"}
    return Policy.load(PolicyConfig(model=str(tiny_model), lora=lora, device="cpu"), seed=1)


def moved(tiny_model: Path) -> Policy:
    """The same away from its reference, so that no reward is zero."""
    policy = fresh(tiny_model)
    with torch.random.fork_rng():
        torch.manual_seed(2)
        for name, parameter in policy.model.named_parameters():
            if "lora_B" in name:
                parameter.data.normal_(std=0.2)
    return policy


def responses_to(policy: Policy, prompt: Prompt, texts: Sequence[str]) -> tuple[Response, ...]:
    """These answers to a prompt, in the policy's tokens, drawn in round 1."""
    prompt_ids, ids = encode_responses(policy.tokenizer, prompt, texts)
    return tuple(Response.of(prompt, text, prompt_ids, x, 1) for text, x in zip(texts, ids, strict=True))


def adapter_weights(policy: Policy, name: str = "default") -> dict[str, torch.Tensor]:
    """A copy of an adapter's weights by their names."""
    return {n: p.detach().clone() for n, p in policy.model.named_parameters() if f".{name}." in n}


def state(policy: Policy) -> dict[str, Any]:
    """Everything that a trainer could leave on a model, apart from the weights."""
    model = policy.model
    return {
        "adapters": sorted(model.peft_config),
        "active": model.active_adapters,
        "forward": [name for name, m in model.named_modules() if "forward" in vars(m)],
        "hooks": sum(
            len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in model.modules()
        ),
        "requires_grad": {n for n, p in model.named_parameters() if p.requires_grad},
        "training": any(m.training for m in model.modules()),
        "gradients": [n for n, p in model.named_parameters() if p.grad is not None],
        "modules": len(list(model.modules())),
    }


def one_batch(folder: Path, **settings: Any) -> DPOConfig:
    """Settings of TRL under which all decisions of a test are one batch."""
    usual = {"gradient_checkpointing": False, "per_device_train_batch_size": 16}
    return DPOConfig(
        output_dir=str(folder), use_cpu=True, bf16=False, report_to=[], beta=BETA, max_length=None, disable_tqdm=True,
        **{**usual, **settings},
    )  # fmt: skip


def loss_and_logs(opened: AbstractContextManager[Any]) -> tuple[float, dict[str, Any]]:
    """The loss of the first batch that a trainer would descend, and what it logs."""
    with opened as trainer:
        batch = trainer._prepare_inputs(next(iter(trainer.get_train_dataloader())))
        with torch.no_grad():
            loss = float(trainer.compute_loss(trainer.model, batch))
        return loss, {name: values[0] for metrics in trainer._metrics.values() for name, values in metrics.items()}
