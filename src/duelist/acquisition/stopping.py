"""When a study has learned what it can: the rule that ends it before its budget is spent.

A rule that picks by gain says what no pair that its batch leaves is worth more than: `gain_nats`, or `gain_reward`. A
greedy rule picks best first, and a pick never makes the others worth more, so it is what its last pick was worth; other
rules look at the pairs that are left. Where it is under the threshold, the batch in hand is the last. It is asked,
answered and trained on like any other, so nothing that was decided is thrown away; only no further round begins.

The decision is read from what was recorded with the batch. It is the same however often the study is opened.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from duelist.errors import RecipeError

# Key of `stop` -> the diagnostic it is held against, and its unit.
_GAINS = {"below_nats": ("gain_nats", "nats"), "below_reward": ("gain_reward", "of expected reward")}


class StopConfig(BaseModel):
    """When to stop before the budget is spent: as soon as one of the gains named here is under its threshold."""

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
        """The thresholds that are set, by key."""
        return {key: value for key in _GAINS if (value := getattr(self, key)) is not None}


def require_gains(stop: StopConfig | None, diagnostics: Mapping[str, Any], rule: str) -> None:
    """Refuse a stopping rule whose gain the acquisition does not give.

    Raises:
        RecipeError: naming the gain that is missing.
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
    """Where a study ends: its last round, and why the stopping rule ends it before the recipe's; None if not."""

    round: int
    reason: str | None


def study_end(stop: StopConfig | None, rounds: int, selected: int, diagnostics: Mapping[str, Any]) -> End:
    """Return where a study ends, as far as is known.

    Args:
        stop: the stopping rule.
        rounds: rounds of the recipe.
        selected: the last round that has selected; 0 before any has. No round begins after the last one.
        diagnostics: of that selection.
    """
    reason = stop_reason(stop, diagnostics) if selected < rounds else None
    return End(rounds if reason is None else selected, reason)


def stop_reason(stop: StopConfig | None, diagnostics: Mapping[str, Any]) -> str | None:
    """Why the batch with these diagnostics is the last, in words; None if it is not.

    A batch that was drawn at random has no gains, and ends nothing.
    """
    for key, threshold in (stop.thresholds if stop else {}).items():
        gain, unit = _GAINS[key]
        value = diagnostics.get(gain)
        if isinstance(value, int | float) and value < threshold:
            worth, limit = in_order(value, threshold)
            return f"the best remaining label was worth {worth} {unit}, under `stop.{key}` of {limit}"
    return None


def in_order(smaller: float, larger: float) -> tuple[str, str]:
    """Print two different numbers with the fewest digits, three or more, that keep their order true."""
    for digits in range(3, 17):
        below, above = f"{smaller:.{digits}g}", f"{larger:.{max(digits, 6)}g}"
        if float(below) < float(above):
            return below, above
    return repr(smaller), repr(larger)
