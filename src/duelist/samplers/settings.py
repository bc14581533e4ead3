"""The settings that every sampler has which decodes at a temperature."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from duelist.models.decoding.local import Decoding

TEMPERATURE = "Logits are divided by this; 0 decodes greedily, the most probable token each time."
TOP_K = "Draw from this many most probable tokens only, before the nucleus; null: from all."


class DecodingConfig(BaseModel):
    """Abstract: how responses are decoded."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    temperature: float = Field(default=1.0, ge=0, description=TEMPERATURE)
    top_k: int | None = Field(default=None, ge=1, description=TOP_K)
    top_p: float = Field(
        default=1.0, gt=0, le=1, description="Nucleus: the smallest set of tokens with this probability."
    )
    max_new_tokens: int = Field(default=256, ge=1, description="A response is cut after this many tokens.")
    batch_size: int = Field(default=64, ge=1, description="Responses decoded together.")

    def decoding(self, beta: float) -> Decoding:
        """The same for a decoder."""
        return Decoding(self.max_new_tokens, self.temperature, self.top_p, self.batch_size, beta, self.top_k)
