"""Preferences that exist before the study: a labelled file, in TRL's preference format.

Reference: Yang et al., arXiv 2406.17312, Section 2.2, start from a policy after offline DPO.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from duelist.data.rows import row_pair, row_prompt
from duelist.data.sources import RowSource
from duelist.errors import DataError
from duelist.models.policy.tokenization import check_length, encode_responses, require_chat_template, require_own_tokens
from duelist.types import Preference, Question, Response


class LabelledConfig(BaseModel):
    """Preferences on which the recipe's trainer trains the policy before round 1."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    labelled: str = Field(description="Rows in TRL's preference format: `chosen`, `rejected` and (or within) `prompt`.")
    split: str = Field(default="train", description="Split of a data set on the Hub.")
    config: str | None = Field(default=None, description="Configuration of a data set on the Hub.")


def labelled_preferences(
    config: LabelledConfig, tokenizer: Any, context_length: int | None, model: str
) -> list[Preference]:
    """Return the preferences of a labelled file, sorted by pair, each once per row.

    Args:
        config: the file or data set.
        tokenizer: the policy's tokenizer.
        context_length: the longest sequence the policy's model accepts, in tokens; None for no limit.
        model: name of that model in messages.

    Raises:
        DataError: if the file cannot be read, has no row, or a row is not a preference or does not fit the context.
        ModelError: if a prompt is conversational and the tokenizer has no chat template.
    """
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
