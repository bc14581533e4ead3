"""The one module that touches the inside of TRL and of what `DPOTrainer` does to a model.

Relied on, each held by a test in tests/trainers/test_trl_dpo.py for the TRL versions that pyproject.toml admits:

1. `DPOTrainer._prepare_dataset` makes the columns `prompt_ids`, `chosen_ids`, `rejected_ids`, which the collator
   takes. Overridden here to hand over ids that exist already.
2. Given a PeftModel and no `ref_model`, the constructor copies the adapter `default` into one named `ref`, and the
   loss uses the adapter `ref` if there is one and the bare base model if not, looking anew at each step.
3. The constructor replaces `forward` on the instances of the base model and of a reference that is a model of its own
   (`add_fused_lm_head`); in mixed precision accelerate replaces those of all models it is given, and keeps the old ones
   as `_original_forward`.
4. `_set_signature_columns_if_needed` names the columns that reach the collator in `_signature_columns`. Extended here.
5. `compute_loss` gives the mean loss of a batch whose first half is chosen and second half rejected;
   `compute_ref_log_probs(model, batch)` gives the reference's log-probabilities of the two halves; the model takes
   `labels` and `fused_lm_head=True` and gives `log_probs`, zero outside the labels; `aux_loss_enabled` and
   `router_aux_loss_coef` say what a mixture of experts adds to the loss; `_metrics` collects what is logged. Used here
   for losses that TRL does not have.
6. With gradient checkpointing, the constructor and the training loop each add a hook to the input embeddings, and
   `disable_input_require_grads` takes off the last one only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import PeftModel
from transformers import PrinterCallback, TrainerCallback
from trl import DPOConfig, DPOTrainer

from duelist.models.policy import Policy
from duelist.progress import Advance
from duelist.trainers.losses import Objective, PairColumns
from duelist.types import Preference, Response

PATCHED = ("forward", "_original_forward")
COLUMNS = ("weight", "share", "chosen_from_reference", "rejected_from_reference")


class WithColumns:
    """TRL's collator, which also passes `COLUMNS` on, as float32 tensors with one number per pair."""

    def __init__(self, collator: Callable[[list[dict[str, Any]]], dict[str, Any]]) -> None:
        self._collator = collator

    def __call__(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        columns = {name: torch.tensor([float(e[name]) for e in examples]) for name in COLUMNS}
        return {**self._collator(examples), **columns}


class TokenizedDPOTrainer(DPOTrainer):  # type: ignore[misc]
    """TRL's `DPOTrainer` on token ids that exist already: what was sampled and featurised is what is trained on.

    Without an `objective` the loss is TRL's own, as its `loss_type` says.
    """

    objective: Objective | None = None
    _signature_columns: list[str]

    def _prepare_dataset(self, dataset: Dataset, *args: Any, **kwargs: Any) -> Dataset:
        return dataset

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        known = self._signature_columns
        self._signature_columns = [*known, *(name for name in COLUMNS if name not in known)]

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The mean loss of a batch: `objective`'s, or TRL's own if there is none."""
        batch = {name: value for name, value in inputs.items() if name not in COLUMNS}
        if self.objective is None:
            return super().compute_loss(model, batch, return_outputs, num_items_in_batch)
        labels = batch["input_ids"].masked_fill(batch["completion_mask"] == 0, -100)
        model_inputs = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"], "use_cache": False}
        if self.aux_loss_enabled:
            model_inputs["output_router_logits"] = True
        outputs = model(**model_inputs, labels=labels, fused_lm_head=True)
        log_prob_B2 = torch.stack(outputs.log_probs.sum(dim=1).chunk(2), dim=1)
        reference_B2 = torch.stack(self.compute_ref_log_probs(self.ref_model or self.model, batch), dim=1)
        reward_B2 = self.beta * (log_prob_B2 - reference_B2)
        from_reference_B2 = torch.stack([inputs["chosen_from_reference"], inputs["rejected_from_reference"]], dim=1)
        columns = PairColumns(inputs["weight"], inputs["share"], from_reference_B2)
        loss = self.objective(reward_B2[:, 0] - reward_B2[:, 1], log_prob_B2, columns).mean()
        if self.aux_loss_enabled:
            loss = loss + self.router_aux_loss_coef * outputs.aux_loss
        self._log_rewards(reward_B2.detach())
        return (loss, outputs) if return_outputs else loss

    def _log_rewards(self, reward_B2: torch.Tensor) -> None:
        """Under TRL's own names, so that trackers show the same curves."""
        reward_B2 = self.accelerator.gather(reward_B2)
        margin_B = reward_B2[:, 0] - reward_B2[:, 1]
        values = {"chosen": reward_B2[:, 0], "rejected": reward_B2[:, 1], "margins": margin_B}
        for name, value_B in {**values, "accuracies": (margin_B > 0).float()}.items():
            self._metrics["train" if self.model.training else "eval"][f"rewards/{name}"].append(value_B.mean().item())


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
    return Dataset.from_list([{**_token_row(p.chosen, p.rejected), **_columns(p)} for p in preferences])


def _columns(preference: Preference) -> dict[str, float]:
    sides = {"chosen": preference.chosen, "rejected": preference.rejected}
    drawn = {f"{name}_from_reference": float(r.drawn_from == "reference") for name, r in sides.items()}
    return {"weight": preference.weight, "share": preference.share, **drawn}


def _token_row(chosen: Response, rejected: Response) -> dict[str, list[int]]:
    start = min(len(chosen.prompt_token_ids), len(rejected.prompt_token_ids))
    return {
        "prompt_ids": list(chosen.prompt_token_ids[:start]),
        "chosen_ids": [*chosen.prompt_token_ids[start:], *chosen.token_ids],
        "rejected_ids": [*rejected.prompt_token_ids[start:], *rejected.token_ids],
    }


@contextmanager
def dpo_trainer(
    policy: Policy, reference: Path | None, dataset: Dataset, config: DPOConfig, objective: Objective | None = None
) -> Iterator[TokenizedDPOTrainer]:
    """A `DPOTrainer` on the policy's own model, which leaves nothing behind on it but the trained weights.

    Args:
        policy: what it trains is trained.
        reference: the folder of the reference's weights; None for the base model.
        dataset: see `tokenized_dataset`.
        config: TRL's settings.
        objective: the loss; None for TRL's own.
    """
    model = policy.model
    base = model.get_base_model() if isinstance(model, PeftModel) else model
    if policy.weights.reference_model is None:
        policy.set_reference(None)  # the constructor makes an adapter of that name
    else:
        policy.set_reference(reference)
    patched = [m for m in (model, base, policy.weights.reference_model) if m is not None]
    own_state = [{k: v for k, v in vars(m).items() if k in PATCHED} for m in patched]
    embeddings = model.get_input_embeddings()  # no other module's: a mixture of experts captures its routing by hooks
    own_hooks = set(embeddings._forward_hooks)
    flags = {name: p.requires_grad for name, p in model.named_parameters()}
    try:
        trainer = TokenizedDPOTrainer(
            model=model,
            ref_model=policy.weights.reference_model,
            args=config,
            train_dataset=dataset,
            processing_class=policy.tokenizer,
        )
        trainer.data_collator = WithColumns(trainer.data_collator)
        trainer.objective = objective
        trainer.remove_callback(PrinterCallback)  # it prints to standard output, which belongs to the caller
        policy.set_reference(reference)  # in place of the copy of `default` that the constructor made of an adapter
        yield trainer
    finally:
        policy.set_reference(reference)
        for module, own in zip(patched, own_state, strict=True):
            for name in PATCHED:
                vars(module).pop(name, None)
            vars(module).update(own)
        if config.gradient_checkpointing:
            model.gradient_checkpointing_disable()
            if isinstance(model, PeftModel):
                model.disable_input_require_grads()
        for hook in set(embeddings._forward_hooks) - own_hooks:
            del embeddings._forward_hooks[hook]
        for name, p in model.named_parameters():
            p.grad = None
            if name in flags:
                p.requires_grad_(flags[name])
        model.eval()
