"""Settings of a synthetic environment."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from duelist.errors import RecipeError
from duelist.settings.validation import explain_invalid


class WorldSettings(BaseModel):
    """Settings of an environment. Equal settings give equal environments (same machine and library versions)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(0, ge=0, description="The only source of randomness of the environment.")

    kinds: int = Field(24, ge=1, description="Number of prompt kinds, C. Kind 0 is the most frequent.")
    zipf: float = Field(
        1.3, ge=0, description="Kind k has frequency proportional to 1 / (k + 1)**zipf; 0 makes all equal."
    )
    prompts: int = Field(512, ge=1, description="Number of training prompts; kinds are drawn with their frequencies.")
    held_out: int = Field(96, ge=1, description="Number of held-out prompts, equal per kind: a multiple of `kinds`.")
    prompt_tokens: int = Field(4, ge=2, description="Words in a prompt: the kind's word, then details.")
    response_tokens: int = Field(4, ge=1, description="Words in a demonstrated response, and the reward's L.")
    length_spread: int = Field(
        0, ge=0, description="A demonstrated response has `response_tokens` ± this many words, each equally often."
    )
    useless_kinds: int = Field(
        0, ge=0, description="The last so many kinds are in the pool only: their held-out prompts have weight 0."
    )
    useless_share: float = Field(
        0.0, ge=0, lt=1, description="Share of the training prompts that are of a useless kind, all equally frequent."
    )

    detail_words: int = Field(32, ge=2, description="Number of distinct detail words in prompts.")
    response_words: int = Field(64, ge=2, description="Vocabulary size of responses, V, shared by all kinds.")
    style_words: int = Field(4, ge=1, description="Words in each of a kind's two styles; the styles share no word.")

    preferred_utility: float = Field(0.8, ge=0, le=1, description="Middle utility of the preferred style's words.")
    other_utility: float = Field(0.3, ge=0, le=1, description="Middle utility of the other style's words.")
    outside_utility: float = Field(0.2, ge=0, le=1, description="Middle utility of the words outside both styles.")
    utility_spread: float = Field(
        0.2, ge=0, le=0.5, description="A word's utility is uniform on the middle ± this; must stay in [0, 1]."
    )

    noise: float = Field(
        0.1, ge=0, le=1, description="Probability that a word of a demonstration is replaced by any response word."
    )
    sft_steps: int = Field(500, ge=0, description="Optimizer steps of the supervised fine-tuning; 0 skips it.")
    sft_batch_size: int = Field(32, ge=1, description="Demonstrations per step; each is seen once.")
    sft_learning_rate: float = Field(3e-3, gt=0, description="Peak learning rate of the cosine schedule.")

    hidden_size: int = Field(64, ge=2, description="Width of the model (Llama); the MLP is twice as wide.")
    layers: int = Field(2, ge=1, description="Layers of the model.")
    heads: int = Field(4, ge=1, description="Attention heads; each is hidden_size / heads wide, an even number.")

    @model_validator(mode="after")
    def _sizes_fit(self) -> WorldSettings:
        if self.held_out % self.kinds:
            raise ValueError(
                f"held_out must be a multiple of kinds, but got held_out={self.held_out} and kinds={self.kinds}; "
                f"for instance held_out={self.kinds * max(1, self.held_out // self.kinds)}"
            )
        if self.length_spread >= self.response_tokens:
            raise ValueError(
                "length_spread < response_tokens must hold, so that every response has a word, but got length_spread="
                f"{self.length_spread} and response_tokens={self.response_tokens}"
            )
        if self.useless_kinds >= self.kinds or bool(self.useless_kinds) != bool(self.useless_share):
            raise ValueError(
                "useless_kinds < kinds must hold, and useless_share must be above 0 exactly if useless_kinds is, but "
                f"got useless_kinds={self.useless_kinds} of kinds={self.kinds}, useless_share={self.useless_share}"
            )
        # All training prompts may be of one kind; they and its held-out prompts must still be distinct.
        needed = self.prompts + self.held_out // self.kinds
        if self.prompts_per_kind < needed:
            raise ValueError(
                f"detail_words ** (prompt_tokens - 1) must be at least {needed}, so that no prompt need occur twice, "
                f"but it is {self.prompts_per_kind}; raise detail_words or prompt_tokens, or lower prompts"
            )
        if 2 * self.style_words > self.response_words:
            raise ValueError(
                "2 * style_words <= response_words must hold, since a kind's two styles share no word, but got "
                f"style_words={self.style_words} and response_words={self.response_words}"
            )
        for name in ("preferred_utility", "other_utility", "outside_utility"):
            low, high = getattr(self, name) - self.utility_spread, getattr(self, name) + self.utility_spread
            if low < -1e-9 or high > 1 + 1e-9:
                raise ValueError(
                    f"{name} ± utility_spread must stay in [0, 1], but it is [{low:.9g}, {high:.9g}]; "
                    "lower utility_spread"
                )
        if self.hidden_size % (2 * self.heads):
            raise ValueError(
                "hidden_size must be a multiple of 2 * heads, so that each head has an even width, but got "
                f"hidden_size={self.hidden_size} and heads={self.heads}"
            )
        return self

    @property
    def prompts_per_kind(self) -> int:
        """Number of distinct prompts of a kind."""
        return int(self.detail_words ** (self.prompt_tokens - 1))


def settings_from(values: dict[str, Any]) -> WorldSettings:
    """Return the settings from a recipe's values, or report each problem in one line.

    Raises:
        RecipeError: if a key is unknown (the nearest valid one is named) or a value is invalid.
    """
    try:
        return WorldSettings(**values)
    except ValidationError as error:
        raise RecipeError(explain_invalid(error, WorldSettings, "the world's settings")) from error
