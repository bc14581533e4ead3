"""The one module that touches the inside of TRL and of what `DPOTrainer` does to a model.

Relied on, each held by a test in tests/trainers/test_trl_dpo.py for the TRL versions that pyproject.toml admits:

1. `DPOTrainer._prepare_dataset` makes the columns `prompt_ids`, `chosen_ids`, `rejected_ids`, which the collator
   takes. Overridden here to hand over ids that exist already.
2. Given a PeftModel and no `ref_model`, the constructor copies the adapter `default` into one named `ref`, and the
   loss uses the adapter `ref` if there is one and the bare base model if not, looking anew at each step.
3. The constructor replaces `forward` on the instance of the base model (`add_fused_lm_head`).
4. With gradient checkpointing, the constructor and the training loop each add a hook to the input embeddings, and
   `disable_input_require_grads` takes off the last one only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import PrinterCallback, TrainerCallback
from trl import DPOConfig, DPOTrainer

from duelist.models.policy import Policy
from duelist.progress import Advance
from duelist.types import Preference, Response


class TokenizedDPOTrainer(DPOTrainer):  # type: ignore[misc]
    """TRL's `DPOTrainer` on token ids that exist already: what was sampled and featurised is what is trained on."""

    def _prepare_dataset(self, dataset: Dataset, *args: Any, **kwargs: Any) -> Dataset:
        return dataset


class StepProgress(TrainerCallback):  # type: ignore[misc]
    """Passes each optimizer step on to a progress display."""

    def __init__(self, advance: Advance) -> None:
        self._advance = advance

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        """Called by transformers' Trainer after each optimizer step."""
        self._advance(1)


def tokenized_dataset(preferences: Sequence[Preference]) -> Dataset:
    """Preferences as the columns that TRL's preference collator takes.

    Where the two responses of a pair begin at different places of the prompt (tokens merged across the boundary), the
    shorter common prompt counts, as in TRL.
    """
    return Dataset.from_list([_token_row(p.chosen, p.rejected) for p in preferences])


def _token_row(chosen: Response, rejected: Response) -> dict[str, list[int]]:
    start = min(len(chosen.prompt_token_ids), len(rejected.prompt_token_ids))
    return {
        "prompt_ids": list(chosen.prompt_token_ids[:start]),
        "chosen_ids": [*chosen.prompt_token_ids[start:], *chosen.token_ids],
        "rejected_ids": [*rejected.prompt_token_ids[start:], *rejected.token_ids],
    }


@contextmanager
def dpo_trainer(
    policy: Policy, reference: Path | None, dataset: Dataset, config: DPOConfig
) -> Iterator[TokenizedDPOTrainer]:
    """A `DPOTrainer` on the policy's own model, which leaves nothing behind on it but the trained weights.

    Args:
        policy: its adapter `default` is trained.
        reference: the folder of the reference adapter; None for the bare base model.
        dataset: see `tokenized_dataset`.
        config: TRL's settings.
    """
    model = policy.model
    base = model.get_base_model()
    own_forward = vars(base).get("forward")
    own_hooks = {module: set(module._forward_hooks) for module in model.modules()}
    flags = {name: p.requires_grad for name, p in model.named_parameters()}
    policy.drop_reference()  # the constructor makes its own
    try:
        trainer = TokenizedDPOTrainer(
            model=model, args=config, train_dataset=dataset, processing_class=policy.tokenizer
        )
        trainer.remove_callback(PrinterCallback)  # it prints to standard output, which belongs to the caller
        policy.set_reference(reference)  # in place of the copy of `default` that the constructor took as reference
        yield trainer
    finally:
        policy.set_reference(reference)
        if own_forward is None:
            vars(base).pop("forward", None)
        else:
            base.forward = own_forward
        if config.gradient_checkpointing:
            model.gradient_checkpointing_disable()
            model.disable_input_require_grads()
        for module, hooks in own_hooks.items():
            for hook in set(module._forward_hooks) - hooks:
                del module._forward_hooks[hook]
        for name, p in model.named_parameters():
            p.grad = None
            if name in flags:
                p.requires_grad_(flags[name])
        model.eval()
