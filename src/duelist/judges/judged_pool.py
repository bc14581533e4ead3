"""Settings of the judged pool: which judge, how many pairs, and what its judgements are worth to the acquisition."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from duelist.judges.config import JudgeConfig
from duelist.settings.validation import share_or_tuned


class JudgedPoolConfig(BaseModel):
    """Judge that labels the asked pairs of each round, and more of its pool. How they are used: `trainer.judge`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    judge: JudgeConfig = Field(description="The judge.")
    pairs: int = Field(
        default=256, ge=0, description="Pairs judged per round beside the asked ones, drawn at random from its pool."
    )
    worth: Literal["tuned"] | float = Field(
        default="tuned",
        description="What a judgement tells of a person's label, as a share of its information, 0 to 1. Rules on "
        "gradients count judged pairs of earlier rounds by this share, and judged candidates by the rest. tuned: the "
        "squared correlation on the pairs that both labelled. 0: judgements do not count, and no gradients of them are "
        "computed.",
    )

    _share = field_validator("worth")(share_or_tuned)
