"""The model that a selection is for: a folder or hub name, a model in memory, or a trainer, as a policy."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peft import PeftModel
from transformers import Trainer

from duelist.errors import ModelError
from duelist.models.policy.config import PolicyConfig
from duelist.models.policy.lora_adapter import fresh_adapter
from duelist.models.policy.policy import Policy
from duelist.models.policy.trained_flags import trained_kept
from duelist.seeding import derived_seed

BETA = 0.1
IN_MEMORY = "the model in memory"


@dataclass(frozen=True)
class ModelSource:
    """A model as `select` takes it.

    Attributes:
        model: a folder, a hub name, a model in memory, or a trainer.
        tokenizer: tokenizer of a model in memory.
        reference: for a plain model in memory, the model that DPO holds it close to.
        adapter: LoRA adapter of a model that is loaded.
        lora: arguments of peft.LoraConfig for a fresh adapter.
        dtype: type of the weights of a model that is loaded.
        beta: β; None for the trainer's own.
    """

    model: Any
    tokenizer: Any
    reference: Any
    adapter: str | Path | None
    lora: Mapping[str, Any] | None
    dtype: str
    beta: float | None


@contextmanager
def opened(source: ModelSource, needs: Collection[str], seed: int) -> Iterator[tuple[Policy, float]]:
    """Yield the policy and β. A model in memory is as it was after the block.

    A plain model gets a fresh adapter for as long as its gradients are needed. A rule that needs none sees it with its
    reference.

    Args:
        source: the model.
        needs: the fields of `Features` that the rule needs.
        seed: seed of a fresh adapter.

    Raises:
        ModelError: if the model cannot be used, or an argument does not fit it.
    """
    model = source.model
    if isinstance(model, str | Path):
        yield _loaded(source, seed), BETA if source.beta is None else source.beta
        return
    if source.adapter is not None:
        raise ModelError(
            "`adapter` is for a model that is loaded, but the model is in memory: load the adapter with "
            "peft.PeftModel.from_pretrained and give that, or give the model's folder or hub name."
        )
    tokenizer, reference, beta = source.tokenizer, source.reference, source.beta
    if isinstance(model, Trainer):
        if tokenizer is not None or reference is not None:
            raise ModelError(
                "A trainer has its own tokenizer and reference, but `tokenizer` or `reference` is given as well: leave "
                "them out."
            )
        tokenizer, reference = model.processing_class, getattr(model, "ref_model", None)
        beta = getattr(model.args, "beta", None) if beta is None else beta
        model = model.accelerator.unwrap_model(model.model)
    beta = BETA if beta is None else beta
    if isinstance(model, PeftModel):
        if source.lora is not None or source.reference is not None:
            raise ModelError(
                "`lora` and `reference` are for a model without an adapter, but the model in memory has one, and its "
                "own adapter counts: leave them out."
            )
        yield Policy.of(model, tokenizer), beta
    elif reference is not None and not any("gradient" in name or name == "target_MD" for name in needs):
        yield Policy.of(model, tokenizer, reference=reference), beta
    else:
        with _lent_adapter(model, tokenizer, source.lora, seed) as policy:
            yield policy, beta


def _loaded(source: ModelSource, seed: int) -> Policy:
    if source.tokenizer is not None or source.reference is not None:
        raise ModelError(
            f"`tokenizer` and `reference` go with a model in memory, but the model is {str(source.model)!r}, whose "
            "folder has its own tokenizer: leave them out, or load the model and pass it."
        )
    settings: dict[str, Any] = {"model": str(source.model), "dtype": source.dtype}
    if source.lora:
        settings["lora"] = dict(source.lora)
    if source.adapter is not None:
        settings["initial_adapter"] = str(source.adapter)
    return Policy.load(PolicyConfig(**settings), derived_seed(seed, "lora"))


@contextmanager
def _lent_adapter(model: Any, tokenizer: Any, lora: Mapping[str, Any] | None, seed: int) -> Iterator[Policy]:
    """Give a plain model a fresh adapter within the block, and take it away again."""
    if not hasattr(model, "named_parameters"):
        raise ModelError(
            "`model` must be a folder, a hub name, a causal language model of transformers, a PEFT model or a trainer, "
            f"but got a {type(model).__name__}: give one of these."
        )
    modes = [(module, module.training) for module in model.modules()]
    settings = dict(lora) if lora else PolicyConfig(model=IN_MEMORY).lora
    with trained_kept(model):
        adapted = fresh_adapter(model, settings, derived_seed(seed, "lora"), IN_MEMORY).model
        try:
            yield Policy.of(adapted, tokenizer)
        finally:
            adapted.unload()
            vars(model).pop("peft_config", None)  # PEFT leaves it, and would warn of a second adapter
            for module, training in modes:
                module.training = training
