"""Settings of preferences that a team has before the study."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class KnownConfig(BaseModel):
    """Preferences known before round 1: trained on, and counted as past questions, so that none is asked again."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str = Field(
        description="Rows in TRL's preference format (`prompt`, `chosen`, `rejected`), perhaps with `annotator`, "
        "`share` (0.5 for a tie) and `weight` (in the loss)."
    )
    split: str = Field(default="train", description="The split, for a data set on the Hub.")
    config: str | None = Field(default=None, description="The configuration, for a data set on the Hub.")
