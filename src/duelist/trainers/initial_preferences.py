"""What the policy is trained on before round 1: demonstrations, and preferences in TRL's format.

Reference: Yang et al., arXiv 2406.17312, Section 2.2, start from a policy after SFT and offline DPO.
"""

from __future__ import annotations

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from duelist.data.known import KnownConfig
from duelist.data.rows import row_pair, row_prompt
from duelist.data.sources import RowSource
from duelist.errors import DataError
from duelist.models.policy.config import PolicyConfig
from duelist.models.policy.tokenization import check_length, encode_responses, require_chat_template, require_own_tokens
from duelist.trainers.sft import SFTStageConfig
from duelist.types import Preference, Question, Response


class InitialConfig(BaseModel):
    """Training before round 1: supervised fine-tuning, then preference training by the recipe's trainer, or either."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sft: SFTStageConfig | None = Field(
        default=None,
        description="Supervised fine-tuning (TRL's SFTTrainer) of the base model: the study starts from its result, "
        "which is the reference; null: none.",
    )
    labelled: str | None = Field(
        default=None,
        description="Rows in TRL's preference format (`chosen`, `rejected` and, or within, `prompt`) to train the "
        "policy on; the reference stays the base model, fine-tuned if `sft` is given. null: none.",
    )
    split: str = Field(default="train", description="Split of a data set on the Hub.")
    config: str | None = Field(default=None, description="Configuration of a data set on the Hub.")

    @model_validator(mode="after")
    def _trains(self) -> Self:
        if self.sft is None and self.labelled is None:
            raise ValueError("it must have `sft` or `labelled`, but has neither: set one, or leave `initial` out.")
        return self

    def demonstrations(self, known: KnownConfig | None) -> RowSource | None:
        """Return the rows of the supervised fine-tuning: its own, else the labelled ones, else the known ones."""
        if self.sft is not None and self.sft.path is not None:
            return RowSource(self.sft.path, self.sft.split, self.sft.config)
        if self.labelled is not None:
            return RowSource(self.labelled, self.split, self.config)
        return None if known is None else RowSource(known.path, known.split, known.config)

    def require_fine_tunable(self, policy: PolicyConfig | None, known: KnownConfig | None) -> None:
        """Require what `sft` needs, if it is set: demonstrations, and a base model from which nothing was trained.

        Args:
            policy: the recipe's policy.
            known: the recipe's known preferences.

        Raises:
            ValueError: if the recipe lacks it; the message says what.
        """
        if self.sft is None:
            return
        if policy is None:
            raise ValueError("`initial.sft` fine-tunes `policy.model`, but `policy` is null: set it.")
        if self.demonstrations(known) is None:
            raise ValueError(
                "`initial.sft` needs demonstrations, but has no `path`, and the recipe neither `initial.labelled` nor "
                "`known`: set `initial.sft.path`."
            )
        for key in ("initial_adapter", "initial_model"):
            if getattr(policy, key) is not None:
                raise ValueError(
                    f"`initial.sft` makes a new base model, but `policy.{key}` was trained from the old one: leave one "
                    "of the two out."
                )
        if "quantization_config" in policy.load:
            raise ValueError(
                "`initial.sft` changes the base model's weights, but `policy.load` has a quantization_config: "
                "fine-tune first, and give the result as `policy.model`."
            )


def labelled_preferences(
    config: InitialConfig, tokenizer: Any, context_length: int | None, model: str
) -> list[Preference]:
    """Return the preferences of a labelled file, sorted by pair, each once per row; none without a file.

    Args:
        config: the file or data set.
        tokenizer: the policy's tokenizer.
        context_length: the longest sequence the policy's model accepts, in tokens; None for no limit.
        model: name of that model in messages.

    Raises:
        DataError: if the file cannot be read, has no row, or a row is not a preference or does not fit the context.
        ModelError: if a prompt is conversational and the tokenizer has no chat template.
    """
    if config.labelled is None:
        return []
    found = []
    for where, row in RowSource(config.labelled, config.split, config.config):
        if row.get("chosen") is None or row.get("rejected") is None:
            raise DataError(
                f"Every row of initial.labelled must have `chosen` and `rejected`, but {where} has not: fill them in "
                "or drop the row."
            )
        prompt, texts = row_prompt(row, where), row_pair(row, where)
        if texts[0] == texts[1]:
            raise DataError(f"`chosen` and `rejected` must differ, but those of {where} are equal: drop the row.")
        require_chat_template(tokenizer, [prompt], model)
        prompt_ids, ids = encode_responses(tokenizer, prompt, texts)
        require_own_tokens(prompt, prompt_ids)
        for token_ids in ids:
            check_length(prompt, len(prompt_ids) + len(token_ids), context_length, f"{where}: a response")
        chosen, rejected = (
            Response.of(prompt, text, prompt_ids, token_ids, 0) for text, token_ids in zip(texts, ids, strict=True)
        )
        who = str(row.get("annotator") or "labelled")
        pair_id = Question.pair(chosen, rejected, 0).id
        found.append(Preference(prompt, chosen, rejected, pair_id, who, drawn_from=("dataset", "dataset")))
    if not found:
        raise DataError(f"initial.labelled must have at least one row, but {config.labelled} has none: fill it.")
    return sorted(found, key=lambda p: (p.pair_id, p.annotator))
