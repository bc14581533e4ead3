"""Supervised fine-tuning before round 1: the settings of `initial.sft`, and its demonstrations.

Reference: Ouyang et al., "Training language models to follow instructions with human feedback", NeurIPS 2022;
           Rafailov et al., "Direct Preference Optimization", NeurIPS 2023 (DPO's reference is the fine-tuned model).
Formula:   −Σ log π(y_t | x, y_<t) over the tokens of each response, its end-of-sequence token included.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from duelist.data.rows import response_text, row_pair, row_prompt
from duelist.data.sources import Row
from duelist.errors import DataError
from duelist.models.policy.tokenization import check_length, encode_responses, require_chat_template, require_own_tokens
from duelist.settings.library_arguments import require_arguments
from duelist.trainers.trl_settings import DECIDED_ELSEWHERE, TrlSettings

KEY = "initial.sft.train"
RESPONSES = ("completion", "response", "chosen")  # columns with the demonstrated response, the first one counts
TOKENS = "Duelist makes the token ids itself, as for sampling and for the other training"
# Arguments of SFTConfig that would read texts, where ours are token ids already.
TOKEN_ARGUMENTS = (
    *("assistant_only_loss", "completion_only_loss", "chat_template_path", "dataset_text_field", "dataset_kwargs"),
    *("eos_token", "pad_token", "packing", "dataset_num_proc"),
)


class SFTStageConfig(BaseModel):
    """Settings of the supervised fine-tuning before round 1."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str | None = Field(
        default=None,
        description="Demonstrations: rows with `prompt` and `completion`, `response` or `chosen`; null: the preferred "
        "responses of `initial.labelled`, or of `known`.",
    )
    split: str = Field(default="train", description="Split of a data set on the Hub.")
    config: str | None = Field(default=None, description="Configuration of a data set on the Hub.")
    lora: dict[str, Any] | None = Field(
        default=None,
        description="Arguments of peft.LoraConfig of an adapter that is merged into the weights afterwards; null "
        "trains all weights, in float32.",
    )
    train: dict[str, Any] = Field(
        default_factory=dict, description="Arguments of trl.SFTConfig: learning_rate, num_train_epochs ..."
    )

    @field_validator("lora")
    @classmethod
    def _known_to_peft(cls, lora: dict[str, Any] | None) -> dict[str, Any] | None:
        require_arguments(lora or {}, "LoraConfig", {"task_type": "it is CAUSAL_LM always"})
        return lora

    @field_validator("train")
    @classmethod
    def _known_to_trl(cls, train: dict[str, Any]) -> dict[str, Any]:
        require_arguments(train, "SFTConfig", {**DECIDED_ELSEWHERE, **dict.fromkeys(TOKEN_ARGUMENTS, TOKENS)})
        return train

    @property
    def trl_settings(self) -> TrlSettings:
        """The settings that are passed to TRL."""
        return TrlSettings("SFTConfig", self.train, KEY)


@dataclass(frozen=True)
class Demonstrations:
    """Token ids of demonstrated responses, one sequence for each row, and how many of them are the prompt's."""

    sequences: Sequence[tuple[int, ...]]
    prompt_lengths: Sequence[int]


def demonstrations(
    rows: Iterable[tuple[str, Row]], tokenizer: Any, context_length: int | None, model: str
) -> Demonstrations:
    """Return the demonstrations of some rows, in their order, as sampling and DPO would tokenize them.

    Args:
        rows: rows with a prompt and a response, with their places.
        tokenizer: the policy's tokenizer.
        context_length: the longest sequence the policy's model accepts, in tokens; None for no limit.
        model: name of that model in messages.

    Raises:
        DataError: if the rows cannot be read, there is none, or one has no response or does not fit the context.
        ModelError: if a prompt is conversational and the tokenizer has no chat template.
    """
    sequences, lengths = [], []
    for where, row in rows:
        prompt, text = row_prompt(row, where), _demonstrated(row, where)
        require_chat_template(tokenizer, [prompt], model)
        prompt_ids, (token_ids,) = encode_responses(tokenizer, prompt, [text])
        require_own_tokens(prompt, prompt_ids)
        check_length(prompt, len(prompt_ids) + len(token_ids), context_length, f"{where}: a demonstration")
        sequences.append((*prompt_ids, *token_ids))
        lengths.append(len(prompt_ids))
    if not sequences:
        raise DataError("`initial.sft` needs at least one demonstration, but there is no row: fill the file.")
    return Demonstrations(sequences, lengths)


def _demonstrated(row: Row, where: str) -> str:
    column = next((name for name in RESPONSES if row.get(name) is not None), None)
    if column is None:
        raise DataError(
            f"Every demonstration must have one of {', '.join(RESPONSES)}, but {where} has only {', '.join(row)}: name "
            "the column with the response so, or drop the row."
        )
    if column == "chosen" and row.get("rejected") is not None:
        return row_pair(row, where)[0]  # without the prompt that both may begin with
    return response_text(row[column], where)
