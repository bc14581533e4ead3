"""DPO with TRL's trainer, on our token ids and with our losses of pairs. `trl_traces` removes its changes to a model.

`trl_ranked_dpo` does the same for questions of more than two responses.

TRL internals we rely on, each checked by a test in tests/trainers for the TRL versions that pyproject.toml admits:

1. `DPOTrainer._prepare_dataset` creates the columns `prompt_ids`, `chosen_ids`, `rejected_ids`, which the collator
   reads. Overridden here to pass existing ids.
2. `_set_signature_columns_if_needed` names the columns that reach the collator in `_signature_columns`. Extended here.
3. `compute_loss` returns the mean loss of a batch whose first half is chosen and second half rejected;
   `compute_ref_log_probs(model, batch)` returns the reference's log-probabilities of the two halves; the model takes
   `labels` and `fused_lm_head=True` and returns `log_probs`, zero outside the labels; `aux_loss_enabled` and
   `router_aux_loss_coef` define what a mixture of experts adds to the loss; `_metrics` collects logged values. Used
   here for losses that TRL does not have.
4. The loss switches adapters with PEFT, which makes the whole adapter trainable. Undone here.
5. With `precompute_ref_logps` the loss takes `ref_chosen_logps` and `ref_rejected_logps` of the batch, instead of a
   forward pass of the reference.
6. `ref_model`, if given, is the reference, unchanged; otherwise see `trl_traces`.
7. In several processes, the loader of the training data reads through accelerate's `BatchSamplerShard`, whose
   `num_processes`, `process_index` and `even_batches` say which batches a process gets. Set here so that each process
   gets all of them (see `own_share`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, TypeVar, final

import torch
from datasets import Dataset
from trl import DPOConfig, DPOTrainer

from duelist.models.policy.policy import Policy
from duelist.models.policy.sharding import is_sharded
from duelist.models.policy.trained_flags import trained_kept
from duelist.trainers.known_reference import KnownReference
from duelist.trainers.losses import Objective, PairColumns
from duelist.trainers.own_share import COUNTED, OwnShare
from duelist.trainers.trl_traces import leaving_no_trace
from duelist.types import Preference, Response

COLUMNS = ("weight", "share", "penalty", "chosen_from_reference", "rejected_from_reference")


class WithColumns:
    """TRL's collator, which also passes some columns on, as float32 tensors with one number per pair."""

    def __init__(
        self, collator: Callable[[list[dict[str, Any]]], dict[str, Any]], names: Sequence[str] = COLUMNS
    ) -> None:
        self._collator = collator
        self._names = names

    def __call__(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        columns = {name: torch.tensor([float(e[name]) for e in examples]) for name in self._names}
        return {**self._collator(examples), **columns}


class TokenizedDPOTrainer(DPOTrainer, ABC):  # type: ignore[misc]
    """TRL's `DPOTrainer` on existing token ids, so training uses the same tokens as sampling and features.

    Attributes:
        columns: columns of the data set, besides TRL's own, that reach the collator.
    """

    columns: ClassVar[tuple[str, ...]]
    _signature_columns: list[str]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._known_reference = KnownReference()
        self.precompute_ref_logps = self._reference_is_known

    def read_with(self, collator: Callable[[list[Any]], dict[str, Any]]) -> None:
        """Make batches with this collator; among several processes, of this one's share of each batch."""
        processes = self.accelerator.num_processes
        self.data_collator = collator
        if processes > 1:
            self.data_collator = OwnShare(collator, self.accelerator.process_index, processes)

    def get_train_dataloader(self) -> Any:
        loader = super().get_train_dataloader()
        if self.accelerator.num_processes > 1:
            batches = loader.batch_sampler
            batches.num_processes, batches.process_index, batches.even_batches = 1, 0, False
        return loader

    def _prepare_dataset(self, dataset: Dataset, *args: Any, **kwargs: Any) -> Dataset:
        return dataset

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        known = self._signature_columns
        self._signature_columns = [*known, *(name for name in self.columns if name not in known)]

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return the mean loss of a batch."""
        with trained_kept(self.model):  # before the backward pass, which may compute layers again
            return self._batch_loss(model, inputs, return_outputs, num_items_in_batch)

    @abstractmethod
    def _batch_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool, num_items_in_batch: Any) -> Any:
        """Return the mean loss of a batch."""

    def _rewards(self, model: Any, batch: dict[str, Any]) -> tuple[Any, torch.Tensor, torch.Tensor]:
        """Return the model's outputs, log π_θ(y|x) and the implicit reward of each sequence, `[R]`.

        Args:
            model: the policy.
            batch: `input_ids`, `attention_mask` and `completion_mask` of R sequences, nothing else.
        """
        labels = batch["input_ids"].masked_fill(batch["completion_mask"] == 0, -100)
        model_inputs = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"], "use_cache": False}
        if self.aux_loss_enabled:
            model_inputs["output_router_logits"] = True
        outputs = model(**model_inputs, labels=labels, fused_lm_head=True)
        log_prob_R = outputs.log_probs.sum(dim=1)
        return outputs, log_prob_R, self.beta * (log_prob_R - self._reference(batch).to(log_prob_R.dtype))

    def _reference(self, batch: dict[str, Any]) -> torch.Tensor:
        """Return log π_ref(y|x) of each sequence of a batch as `_rewards` takes it, `[R]`."""
        if not self._reference_is_known:
            return self._reference_now(batch)
        return self._known_reference.of(batch, self._reference_now)

    @property
    def _reference_is_known(self) -> bool:
        """Whether a sequence's number can be kept: it depends on no other, and no other process waits for a pass."""
        return self.ld_alpha is None and not is_sharded(self.model)

    def _reference_now(self, batch: dict[str, Any]) -> torch.Tensor:
        training = self.model.training
        self.model.eval()  # the reference draws no dropout
        try:
            with trained_kept(self.model):
                return torch.cat(self.compute_ref_log_probs(self.ref_model or self.model, batch))
        finally:
            self.model.train(training)

    def _mean(self, loss_B: torch.Tensor, inputs: dict[str, Any]) -> torch.Tensor:
        """Return the mean loss of a batch, or this process's part of it."""
        return (loss_B * inputs[COUNTED] if COUNTED in inputs else loss_B).mean()

    def _with_experts(self, loss: torch.Tensor, outputs: Any) -> torch.Tensor:
        """Return the loss with what a mixture of experts adds to it."""
        return loss + self.router_aux_loss_coef * outputs.aux_loss if self.aux_loss_enabled else loss

    def _log_rewards(self, reward_B2: torch.Tensor, inputs: dict[str, Any]) -> None:
        """Log rewards of the chosen and the rejected under TRL's own names, so trackers show the same curves."""
        if COUNTED in inputs:
            reward_B2 = self.accelerator.gather(reward_B2)[self.accelerator.gather(inputs[COUNTED]) > 0]
        margin_B = reward_B2[:, 0] - reward_B2[:, 1]
        values = {"chosen": reward_B2[:, 0], "rejected": reward_B2[:, 1], "margins": margin_B}
        for name, value_B in {**values, "accuracies": (margin_B > 0).float()}.items():
            self._metrics["train" if self.model.training else "eval"][f"rewards/{name}"].append(value_B.mean().item())


@final
class PairDPOTrainer(TokenizedDPOTrainer):
    """Training on pairs. Without an `objective` the loss is TRL's own, set by its `loss_type`."""

    columns = COLUMNS
    objective: Objective | None = None

    def _batch_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool, num_items_in_batch: Any) -> Any:
        batch = {name: value for name, value in inputs.items() if name not in (*COLUMNS, COUNTED)}
        if self.objective is None:
            if self._reference_is_known:
                batch["ref_chosen_logps"], batch["ref_rejected_logps"] = self._reference(batch).chunk(2)
            return DPOTrainer.compute_loss(self, model, batch, return_outputs, num_items_in_batch)
        outputs, log_prob_R, reward_R = self._rewards(model, batch)
        log_prob_B2, reward_B2 = (torch.stack(x.chunk(2), dim=1) for x in (log_prob_R, reward_R))
        from_reference_B2 = torch.stack([inputs["chosen_from_reference"], inputs["rejected_from_reference"]], dim=1)
        columns = PairColumns(inputs["weight"], inputs["share"], from_reference_B2, inputs["penalty"])
        loss_B = self.objective(reward_B2[:, 0] - reward_B2[:, 1], log_prob_B2, columns, reward_B2)
        loss = self._with_experts(self._mean(loss_B, inputs), outputs)
        self._log_rewards(reward_B2.detach(), inputs)
        return (loss, outputs) if return_outputs else loss


def tokenized_dataset(preferences: Sequence[Preference]) -> Dataset:
    """Return preferences as the columns that TRL's preference collator takes.

    If the two responses of a pair begin at different positions (tokens merged across the boundary), the shorter common
    prompt is used, as in TRL.
    """
    return Dataset.from_list([{**_token_row(p.chosen, p.rejected), **_columns(p)} for p in preferences])


def _columns(preference: Preference) -> dict[str, float]:
    chosen, rejected = (float(origin == "reference") for origin in preference.drawn_from or (None, None))
    drawn = {"chosen_from_reference": chosen, "rejected_from_reference": rejected}
    return {"weight": preference.weight, "share": preference.share, "penalty": preference.penalty, **drawn}


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
) -> Iterator[PairDPOTrainer]:
    """Return a trainer on the policy's own model; nothing remains on the model except the trained weights.

    Args:
        policy: the policy to train; only its trainable weights change.
        reference: the folder of the reference's weights; None for the base model.
        dataset: see `tokenized_dataset`.
        config: TRL's settings.
        objective: the loss; None for TRL's own.
    """
    with trainer_on(PairDPOTrainer, policy, reference, dataset, config) as trainer:
        trainer.read_with(WithColumns(trainer.data_collator))
        trainer.objective = objective
        yield trainer


Kind = TypeVar("Kind", bound=TokenizedDPOTrainer)


@contextmanager
def trainer_on(
    kind: type[Kind], policy: Policy, reference: Path | None, dataset: Dataset, config: DPOConfig
) -> Iterator[Kind]:
    """Return a trainer of some kind as `dpo_trainer` does, with TRL's own collator."""
    with leaving_no_trace(policy, reference, config.gradient_checkpointing):
        trainer = kind(
            model=policy.model,
            ref_model=policy.weights.reference_model,
            args=config,
            train_dataset=dataset,
            processing_class=policy.tokenizer,
        )
        policy.set_reference(reference)  # instead of the trainer's copy of `default`
        yield trainer
