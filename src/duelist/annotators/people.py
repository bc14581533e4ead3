"""People who answer in a browser: `duelist annotate`, or `duelist run` on a recipe with this annotator.

Reference: none needed.
Formula:   none; what people say is recorded as it is.
Cost:      people's time, expected by `reading_time`.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from duelist.annotators.base import Annotator
from duelist.errors import RecipeError
from duelist.progress import Progress
from duelist.types import Answer, Batch, Label

Action = Literal[
    "first", "second", "tie", "both_bad", "both_good", "skip", "undo", "guidelines", "diff", "scroll_together",
    "comment", "submit",
]  # fmt: skip


class PeopleConfig(BaseModel):
    """Settings of the `people` annotator: how questions are given out, and what the page offers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    labels: int = Field(default=1, ge=1, le=100, description="Answers per question, each by another person.")
    overlap_labels: int = Field(
        default=2, ge=1, le=100, description="Answers per question on `overlap_fraction` of the questions."
    )
    overlap_fraction: float = Field(
        default=0.0, ge=0, le=1, description="Fraction of the questions that `overlap_labels` people answer."
    )
    gold: str | None = Field(
        default=None,
        description="File of questions with known answers (rows as for `dataset_labels`), mixed in unmarked.",
    )
    gold_rate: float = Field(default=0.05, ge=0, le=0.5, description="Fraction of the tasks taken from `gold`.")
    repeat_rate: float = Field(
        default=0.0, ge=0, le=0.5, description="Fraction of the tasks that ask a person a question again."
    )
    lease_seconds: float = Field(
        default=1800.0, gt=0, description="Seconds to answer before the question may go to somebody else."
    )
    guidelines: str | None = Field(default=None, description="Markdown file with the guidelines, one key away.")
    reasons: tuple[str, ...] = Field(default=(), description="Reasons that may be ticked with an answer.")
    strength: bool = Field(default=False, description="Offer `slightly` and `clearly`.")
    comment: bool = Field(default=True, description="Offer a comment.")
    write_better: bool = Field(
        default=False, description="After `both bad`, offer to write a better answer: two preferences for it."
    )
    keys: dict[Action, tuple[str, ...]] = Field(
        default_factory=dict, description="Keys by action, where they differ from the page's own."
    )
    hourly_wage: float | None = Field(default=None, gt=0, description="Price of an hour of a person's time.")
    currency: str = Field(default="USD", description="Currency of `hourly_wage`.")

    @model_validator(mode="after")
    def _mixed(self) -> Self:
        if (self.gold_rate if self.gold else 0) + self.repeat_rate > 0.5:
            raise ValueError(
                f"`gold_rate` and `repeat_rate` must add up to 0.5 at most, but are {self.gold_rate} and "
                f"{self.repeat_rate}: lower them."
            )
        return self


class People(Annotator):
    """People who answer at a page that this machine serves."""

    def __init__(self, config: PeopleConfig) -> None:
        self.config = config

    def annotate(self, batch: Batch, seed: int, progress: Progress) -> list[Label | Answer]:
        raise RecipeError(
            "People answer at a page that has to be served, but `Study.run` serves none: use `duelist run` or `duelist "
            "annotate`, or ask() and tell()."
        )
