"""Settings of the trainer `dpo`, and what of them fits the loss that the answers need."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import ConfigDict, Field, field_validator, model_validator

from duelist.errors import RecipeError
from duelist.trainers.base import SHARES
from duelist.trainers.judge_use import JudgeUseConfig
from duelist.trainers.trl_settings import require_trl_arguments
from duelist.types import VoteRule

# Arguments of TRL's DPOConfig that change its own loss, with the value at which it is equation (7). Duelist's losses
# replace TRL's, so these would have no effect.
TRL_LOSS: dict[str, Any] = {
    "loss_type": ["sigmoid"],
    "loss_weights": None,
    "label_smoothing": 0.0,
    "f_divergence_type": "reverse_kl",
    "ld_alpha": None,
    "use_weighting": False,
}
# TRL's losses that read `label_smoothing`; the others ignore it without a word.
SMOOTHED_LOSSES = ("robust", "exo_pair", "aot", "aot_unpaired")


class DPOTrainerConfig(JudgeUseConfig):
    """Settings of the `dpo` trainer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    accumulate: Literal["all", "round"] = Field(
        default="all", description="Train on all labels so far, or this round's."
    )
    restart: Literal["continue", "from_reference"] = Field(
        default="continue",
        description="Start from last round's policy, or each round again from the reference (from round 0's policy "
        "if the reference is initial).",
    )
    reference: Literal["initial", "previous"] = Field(
        default="initial", description="Keep the policy close to the base model, or to last round's policy."
    )
    loss: Literal["dpo", "xpo"] = Field(
        default="dpo", description="xpo adds a term that makes responses drawn from the reference less likely."
    )
    xpo_alpha: float = Field(
        default=5e-6, gt=0, description="α of the xpo term, for each response drawn from the reference."
    )
    votes: VoteRule = Field(
        default="every",
        description="How several people's votes on a pair are used: each by itself; as one label by their majority; as "
        "shares (soft); or by the posterior of a model of the annotators' reliability. Vote counts of one label: by "
        "their majority, or as shares (soft). A judge's label: by its outcome, or its probability (soft).",
    )
    ties: Literal["drop", "half", "rao_kupper"] = Field(
        default="drop",
        description="Ties of pairs: dropped, half a preference each way, or a separate outcome (Rao and Kupper).",
    )
    tie_threshold: float = Field(
        default=3.0, gt=1, description="ν of rao_kupper: equal responses tie with probability (ν − 1)/(ν + 1)."
    )
    stage_scales: Literal["fitted", "equal"] = Field(
        default="fitted",
        description="How much the lower places of a ranking count: fitted to the answers so far, or as the first.",
    )
    train: dict[str, Any] = Field(
        default_factory=dict,
        description="Arguments of trl.DPOConfig: learning_rate, num_train_epochs, loss_type ...",
    )

    @field_validator("train")
    @classmethod
    def _known_to_trl(cls, train: dict[str, Any]) -> dict[str, Any]:
        require_trl_arguments(train, "DPOConfig")
        return train

    @model_validator(mode="after")
    def _compatible(self) -> Self:
        if self.ties == "rao_kupper" and self.votes in SHARES:
            raise ValueError(
                f"`ties: rao_kupper` is a model of whole decisions, but `votes` is {self.votes}: set it to majority or "
                "every, or `ties` to half."
            )
        if self.loss == "xpo" or self.votes in SHARES or self.ties != "drop":
            self.require_stock_loss("`loss: xpo`, `votes: soft` or `reliability`, and `ties: half` or `rao_kupper`")
        self._require_effective_smoothing()
        return self

    def _require_effective_smoothing(self) -> None:
        found = self.train.get("loss_type", TRL_LOSS["loss_type"])
        losses = [found] if isinstance(found, str) else list(found or ())
        if self.train.get("label_smoothing", 0.0) and not set(losses) & set(SMOOTHED_LOSSES):
            raise ValueError(
                f"`train.label_smoothing` has an effect with `loss_type` {', '.join(SMOOTHED_LOSSES)} alone, but that "
                f"is {', '.join(map(str, losses))}: remove it, or choose `loss_type: robust`."
            )

    def require_loss_of_sets(self) -> None:
        """Raise an error for settings that have no meaning for questions of more than two responses.

        `votes: soft` concerns labels of pairs only, and is ignored for other answers.

        Raises:
            RecipeError: if there is such a setting; the message names it.
        """
        if self.ties == "rao_kupper":
            raise RecipeError(
                "`trainer.ties: rao_kupper` is a model of pairs, but some questions have more than two responses: set "
                "`ties` to half or drop, or ask about pairs."
            )
        try:
            self.require_stock_loss("Questions of more than two responses")
        except ValueError as error:
            raise RecipeError(str(error)) from error

    def require_loss_of_judged(self) -> None:
        """Raise an error for settings that have no meaning for a judge's probabilities.

        Raises:
            RecipeError: if there is such a setting; the message names it.
        """
        for key, fitting, value in (("ties", "drop or half", self.ties), ("loss", "dpo", self.loss)):
            if value in ("rao_kupper", "xpo"):
                raise RecipeError(
                    f"A judge's labels are probabilities, for the loss of Bradley and Terry, but `trainer.{key}` is "
                    f"{value}: set it to {fitting}, or `trainer.judge` to ignore."
                )
        try:
            self.require_stock_loss("A judge's labels")
        except ValueError as error:
            raise RecipeError(str(error)) from error

    def require_stock_loss(self, why: str) -> None:
        """Raise an error for a setting of TRL's own loss, which `why` replaces.

        Raises:
            ValueError: if there is such a setting; the message names it.
        """
        for key, stock in TRL_LOSS.items():
            value = self.train.get(key, stock)
            if value not in (stock, *(stock if isinstance(stock, list) else [])):
                raise ValueError(
                    f"{why} need TRL's sigmoid loss, but `train.{key}` is {value!r}: remove it, or go without them."
                )
