"""Stopping rule: end a study before its budget is spent, once further labels are worth little.

A rule that selects by gain reports an upper bound on the gain of any remaining pair: `gain_nats` or `gain_reward`. A
greedy rule picks the best pair first, and a pick never raises the gain of the others, so the bound is the gain of its
last pick. Other rules compute it from the remaining pairs. If the bound is below the threshold, the current batch is
the last one. It is labelled and trained on like any other, so no work is lost; no further round begins.

The decision is read from the diagnostics recorded with the batch. It is the same every time the study is opened.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from duelist.errors import RecipeError

# Key of `stop` -> the diagnostic that it is compared with, and its unit.
_GAINS = {"below_nats": ("gain_nats", "nats"), "below_reward": ("gain_reward", "of expected reward")}


class StopConfig(BaseModel):
    """Settings of the stopping rule: the study stops as soon as one of these gains is below its threshold."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    below_nats: float | None = Field(
        default=None,
        gt=0,
        description="Stop when the best remaining label is worth less information than this, in nats.",
    )
    below_reward: float | None = Field(
        default=None, gt=0, description="Stop when the best remaining label is worth less expected reward than this."
    )

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.below_nats is None and self.below_reward is None:
            raise ValueError("`stop` must say `below_nats` or `below_reward`, but says neither: add one, or remove it.")
        return self

    @property
    def thresholds(self) -> dict[str, float]:
        """Return the thresholds that are set, by key."""
        return {key: value for key in _GAINS if (value := getattr(self, key)) is not None}


def require_gains(stop: StopConfig | None, diagnostics: Mapping[str, Any], rule: str) -> None:
    """Check that the acquisition reports the gains that the stopping rule needs.

    Raises:
        RecipeError: if a gain is missing; the message names it.
    """
    for key in stop.thresholds if stop else ():
        gain, unit = _GAINS[key]
        if gain not in diagnostics:
            others = [k for k, (g, _) in _GAINS.items() if g in diagnostics]
            remedy = f"use `stop.{others[0]}`" if others else "remove `stop`"
            raise RecipeError(
                f"`stop.{key}` needs an acquisition that tells its gain in {unit.removeprefix('of ')} (the diagnostic "
                f"`{gain}`), but {rule} does not: {remedy}, or choose another acquisition."
            )


class End(NamedTuple):
    """The end of a study: its last round, and the reason if the stopping rule ends it early (else None)."""

    round: int
    reason: str | None


def study_end(stop: StopConfig | None, rounds: int, selected: int, diagnostics: Mapping[str, Any]) -> End:
    """Return where a study ends, as far as is known now.

    Args:
        stop: the stopping rule.
        rounds: number of rounds in the recipe.
        selected: the last round with a selection; 0 if there is none. No round begins after the last one.
        diagnostics: the diagnostics of that selection.
    """
    reason = stop_reason(stop, diagnostics) if selected < rounds else None
    return End(rounds if reason is None else selected, reason)


def stop_reason(stop: StopConfig | None, diagnostics: Mapping[str, Any]) -> str | None:
    """Return the reason why the batch with these diagnostics is the last, in words; None if it is not.

    A batch drawn at random reports no gains, so it never ends a study.
    """
    for key, threshold in (stop.thresholds if stop else {}).items():
        gain, unit = _GAINS[key]
        value = diagnostics.get(gain)
        if isinstance(value, int | float) and value < threshold:
            worth, limit = in_order(value, threshold)
            return f"the best remaining label was worth {worth} {unit}, under `stop.{key}` of {limit}"
    return None


def in_order(smaller: float, larger: float) -> tuple[str, str]:
    """Return two different numbers as text, with the fewest digits (three or more) that keep them in order."""
    for digits in range(3, 17):
        below, above = f"{smaller:.{digits}g}", f"{larger:.{max(digits, 6)}g}"
        if float(below) < float(above):
            return below, above
    return repr(smaller), repr(larger)
