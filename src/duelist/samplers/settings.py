"""Settings shared by the samplers that decode at a temperature."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from duelist.errors import RecipeError
from duelist.models.decoding.requests import Decoding
from duelist.settings.context import Context

TEMPERATURE = "Logits are divided by this; 0 decodes greedily, the most probable token each time."
TOP_K = "Draw from this many most probable tokens only, before the nucleus; null: from all."


class DecodingConfig(BaseModel):
    """Abstract base of the decoding settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    temperature: float = Field(default=1.0, ge=0, description=TEMPERATURE)
    top_k: int | None = Field(default=None, ge=1, description=TOP_K)
    top_p: float = Field(
        default=1.0, gt=0, le=1, description="Nucleus: the smallest set of tokens with this total probability."
    )
    max_new_tokens: int = Field(default=256, ge=1, description="Maximum tokens per response; longer ones are cut.")
    batch_size: int = Field(default=64, ge=1, description="Responses decoded per batch.")

    def decoding(self, beta: float) -> Decoding:
        """Return these settings in a decoder's form."""
        return Decoding(self.max_new_tokens, self.temperature, self.top_p, self.batch_size, beta, self.top_k)

    def require_different_responses(self, origins: frozenset[str] | None, context: Context) -> None:
        """Reject greedy decoding if it makes the two responses of every pair equal.

        Args:
            origins: origins of the sampler's responses.
            context: the recipe.

        Raises:
            RecipeError: if it does; the message names the sampler and the setting.
        """
        if not self.decoding(context.beta).greedy:
            return
        setting, name = "temperature: 0" if self.temperature == 0 else "top_k: 1", context.names["sampler"]
        if "target_MD" in context.needs:
            raise RecipeError(
                f"The target's responses are drawn with the sampler's settings and must be able to differ, but "
                f"`sampler.{setting}` decodes greedily: sample at a temperature above 0, or choose another acquisition."
            )
        if not context.within_prompts:
            return
        if origins == frozenset({"policy"}):
            raise RecipeError(
                f"The two responses of a pair must be able to differ, but with `sampler.{setting}` the sampler "
                f"{name!r} draws the same response to a prompt every time: sample at a temperature above 0 (greedy "
                "decoding is for `evaluation`)."
            )
        if context.starts_as_reference:
            raise RecipeError(
                f"The two responses of a pair must be able to differ, but with `sampler.{setting}` they are the same "
                "while the policy is its reference, as it is in round 1: sample at a temperature above 0, or start "
                "from a trained policy (`policy.initial_model`, `policy.initial_adapter` or `initial`)."
            )
