"""DPO on questions of k responses with TRL's trainer, on our token ids and with the losses of `ranking_losses`.

TRL internals we rely on, besides those of `trl_dpo`, checked by tests/trainers/test_trl_ranked_dpo.py:

1. The collator has `pad_token_id` and `pad_to_multiple_of`; `trl.trainer.utils.pad` pads a list of tensors.
2. `compute_ref_log_probs` splits the sequences of a batch into two parts without changing their order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, final

import torch
from datasets import Dataset
from trl import DPOConfig
from trl.trainer.utils import pad

from duelist.models.policy.policy import Policy
from duelist.trainers.own_share import COUNTED
from duelist.trainers.ranking_losses import Answers, RankedObjective, SetColumns
from duelist.trainers.trl_dpo import TokenizedDPOTrainer, trainer_on
from duelist.types import RankedSet

COLUMNS = ("response_ids", "ranks", "best_worst", "weight", "from_reference")
OF_QUESTIONS = ("ranks", "best_worst", "weight", "from_reference")  # columns of a batch with a row per question


@final
class QuestionCollator:
    """Collator of whole questions: the sequences of all their responses in turn, padded on the right as in TRL."""

    def __init__(self, pad_token_id: int, pad_to_multiple_of: int | None) -> None:
        self._pad_token_id = pad_token_id
        self._multiple = pad_to_multiple_of

    def __call__(self, examples: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Return a batch: R sequences, and B questions with up to Q responses, with ranks of −1 beyond the last."""
        parts = [(e["prompt_ids"], ids) for e in examples for ids in e["response_ids"]]
        return {
            "input_ids": self._padded([[*prompt, *ids] for prompt, ids in parts], self._pad_token_id),
            "attention_mask": self._padded([[1] * (len(prompt) + len(ids)) for prompt, ids in parts], 0),
            "completion_mask": self._padded([[0] * len(prompt) + [1] * len(ids) for prompt, ids in parts], 0),
            "ranks": _places([e["ranks"] for e in examples], -1),
            "best_worst": torch.tensor([e["best_worst"] for e in examples]),
            "weight": torch.tensor([float(e["weight"]) for e in examples]),
            "from_reference": _places([e["from_reference"] for e in examples], 0.0),
        }

    def _padded(self, rows: list[list[int]], value: int) -> torch.Tensor:
        tensors = [torch.tensor(row) for row in rows]
        padded: torch.Tensor = pad(
            tensors, padding_value=value, padding_side="right", pad_to_multiple_of=self._multiple
        )
        return padded


def _places(rows: list[list[Any]], value: float) -> torch.Tensor:
    return torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=value)


@final
class RankedDPOTrainer(TokenizedDPOTrainer):
    """Training on questions; a batch of B questions is one of as many sequences as they have responses."""

    columns = COLUMNS
    objective: RankedObjective

    def _batch_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool, num_items_in_batch: Any) -> Any:
        batch = {name: value for name, value in inputs.items() if name not in (*OF_QUESTIONS, COUNTED)}
        outputs, log_prob_R, reward_R = self._rewards(model, batch)
        asked_BQ = inputs["ranks"] >= 0
        log_prob_BQ, reward_BQ = (_of_questions(x, asked_BQ) for x in (log_prob_R, reward_R))
        answers = Answers.of(inputs["ranks"], inputs["best_worst"], self.objective.scales, reward_BQ.dtype)
        columns = SetColumns(answers, inputs["weight"], inputs["from_reference"])
        loss_B = self.objective(reward_BQ, log_prob_BQ, columns)
        loss = self._with_experts(self._mean(loss_B, inputs), outputs)
        self._log_rewards(_best_and_others(reward_BQ.detach(), inputs["ranks"]), inputs)
        return (loss, outputs) if return_outputs else loss


def _of_questions(value_R: torch.Tensor, asked_BQ: torch.Tensor) -> torch.Tensor:
    """Return values of the responses of all questions in turn at their places, `[B, Q]`; 0 beyond the last ones."""
    return torch.zeros(asked_BQ.shape, dtype=value_R.dtype, device=value_R.device).masked_scatter(asked_BQ, value_R)


def _best_and_others(reward_BQ: torch.Tensor, rank_BQ: torch.Tensor) -> torch.Tensor:
    """Return the reward of the best response, the first of tied ones, and the mean of all others, `[B, 2]`."""
    asked_BQ = rank_BQ >= 0
    place_B1 = rank_BQ.masked_fill(~asked_BQ, rank_BQ.max() + 1).argmin(dim=1, keepdim=True)
    best_B = reward_BQ.gather(1, place_B1)[:, 0]
    others_B = (reward_BQ.sum(dim=1) - best_B) / (asked_BQ.sum(dim=1) - 1)
    return torch.stack([best_B, others_B], dim=1)


def questions_dataset(sets: Sequence[RankedSet]) -> Dataset:
    """Return answers as one row per question.

    If the responses begin at different positions (tokens merged across the boundary), the shortest common prompt is
    used, as for pairs.
    """
    return Dataset.from_list([_row(answered) for answered in sets])


def _row(answered: RankedSet) -> dict[str, Any]:
    start = min(len(r.prompt_token_ids) for r in answered.responses)
    origins = answered.drawn_from or (None,) * len(answered.responses)
    return {
        "prompt_ids": list(answered.responses[0].prompt_token_ids[:start]),
        "response_ids": [[*r.prompt_token_ids[start:], *r.token_ids] for r in answered.responses],
        "ranks": list(answered.ranks),
        "best_worst": answered.asks == "best_worst",
        "weight": answered.weight,
        "from_reference": [float(origin == "reference") for origin in origins],
    }


@contextmanager
def ranked_dpo_trainer(
    policy: Policy, reference: Path | None, dataset: Dataset, config: DPOConfig, objective: RankedObjective
) -> Iterator[RankedDPOTrainer]:
    """Return a trainer on the policy's own model; nothing remains on the model except the trained weights.

    Args:
        policy: the policy to train; only its trainable weights change.
        reference: the folder of the reference's weights; None for the base model.
        dataset: see `questions_dataset`.
        config: TRL's settings; batch sizes count questions.
        objective: the loss.
    """
    with trainer_on(RankedDPOTrainer, policy, reference, dataset, config) as trainer:
        collator: Any = trainer.data_collator
        trainer.read_with(QuestionCollator(collator.pad_token_id, collator.pad_to_multiple_of))
        trainer.objective = objective
        yield trainer
