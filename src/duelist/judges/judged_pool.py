"""Settings of the judged pool: which judge, how many pairs, and what its judgements are worth to the acquisition."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from duelist.judges.config import JudgeConfig


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

    @field_validator("worth")
    @classmethod
    def _share(cls, worth: float | str) -> float | str:
        if worth != "tuned" and not 0 <= float(worth) <= 1:
            raise ValueError(f"it must be `tuned`, or a share from 0 to 1, but is {worth}: correct it.")
        return worth
