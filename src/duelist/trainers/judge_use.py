"""How a trainer uses the judgements of a recipe's `judged_pool`: its settings, and what they need."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from duelist.choice_models.prediction_powered import Weights
from duelist.errors import RecipeError
from duelist.settings.context import Context
from duelist.settings.validation import share_or_tuned


@dataclass(frozen=True)
class JudgeUse:
    """How a round's training uses the judgements of the recipe's `judged_pool`.

    Attributes:
        how: correct the judge by people's labels (`prediction_powered`), train on its labels `as_people`'s, or `ignore`
            them.
        omega: ω, the weight of the judge; None to tune it.
        weights: of people's labels (`choice_models.prediction_powered.coefficients`).
        kl_penalty: κ, the bound on the loss where people correct the judge.
    """

    how: Literal["prediction_powered", "as_people", "ignore"] = "ignore"
    omega: float | None = None
    weights: Weights = "inclusion"
    kl_penalty: float = 0.0


class JudgeUseConfig(BaseModel):
    """Settings of a trainer that can use judgements."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    judge: Literal["prediction_powered", "as_people", "ignore"] = Field(
        default="prediction_powered",
        description="How a `judged_pool` is used: people's labels correct the judge's (prediction_powered), the "
        "judge's labels count like people's (as_people), or not at all.",
    )
    omega: Literal["tuned"] | float = Field(
        default="tuned",
        description="ω of prediction_powered, 0 to 1: how much of the judge is believed before the correction; 0: "
        "people alone; tuned: of least variance, fitted each round to other labels than it is used on.",
    )
    weights: Weights = Field(
        default="inclusion",
        description="Weights of people's labels with prediction_powered. inclusion: n/(Nπ), so that the loss is that "
        "of the whole pool, of which the chosen pairs are a small part; equal: 1, as without a judge.",
    )
    kl_penalty: float = Field(
        default=0.1,
        ge=0,
        description="κ of prediction_powered: the margin of a pair on which people contradict the judge stays below "
        "about 4/κ, where the loss alone has no minimum. 0: not bounded.",
    )

    _share = field_validator("omega")(share_or_tuned)

    @property
    def judge_use(self) -> JudgeUse:
        """How judgements are used."""
        omega = None if self.omega == "tuned" else float(self.omega)
        return JudgeUse(self.judge, omega, self.weights, self.kl_penalty)


def require_use_of_judge(use: JudgeUse | None, context: Context) -> None:
    """Require that a trainer can use the judged pool of the recipe.

    Raises:
        RecipeError: if it cannot.
    """
    if use is None:
        raise RecipeError(
            f"`judged_pool` needs a trainer that uses judgements, but {context.names['trainer']} uses people's labels "
            "alone: set the trainer to `dpo`, or `judged_pool` to null."
        )
    if context.sets_of > 2 or context.online:
        what = "online, a round trains" if context.online else f"questions have up to {context.sets_of} responses"
        raise RecipeError(
            "`judged_pool` is for pairs and for training in rounds, but "
            f"{f'{what} on the labels of one step' if context.online else what}: set it to null, or "
            f"{'`online` to false' if context.online else '`pairing.sets_of` to 2'}."
        )
    if use.how == "prediction_powered" and not context.asks_at_random:
        raise RecipeError(
            "`trainer.judge: prediction_powered` learns the judge's error from pairs that were asked at random, but "
            f"{context.names['acquisition']} chooses all of them and `control_fraction` is 0: set it to 0.2 or more, "
            "or choose the acquisition `random`, or set `trainer.judge` to as_people or ignore."
        )
