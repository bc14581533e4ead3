"""A judge's opinion on one pair, asked in both orders."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from duelist.errors import DataError

# Probabilities that a is better, that b is, and that they are equal, whichever was shown first; they add up to 1.
Opinion = tuple[float, float, float]


@dataclass(frozen=True)
class Judgement:
    """What a judge said of a pair (a, b), in both orders, and what it cost.

    Attributes:
        a_first: the opinion when a was shown first; None if the judge gave no usable verdict.
        b_first: the opinion when b was shown first, also in the order (a, b, equal); None likewise.
        tokens_in: tokens read, over all requests for this pair.
        tokens_out: tokens written.
        cost: money spent, in the currency of the judge's prices.

    Raises:
        DataError: if an opinion is not three probabilities that add up to 1, or a number is negative or not finite.
    """

    a_first: Opinion | None
    b_first: Opinion | None
    tokens_in: int = 0
    tokens_out: int = 0
    cost: float = 0.0

    def __post_init__(self) -> None:
        for name in ("a_first", "b_first"):
            object.__setattr__(self, name, _opinion(name, getattr(self, name)))
        for name in ("tokens_in", "tokens_out", "cost"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
                raise DataError(f"A judgement's {name} must be a number of 0 or more, but got {value!r}: correct it.")

    @property
    def probability(self) -> float | None:
        """Probability that a is better, an equal counting half, the mean of both orders; None if one is missing."""
        if self.a_first is None or self.b_first is None:
            return None
        return sum(a + equal / 2 for a, _, equal in (self.a_first, self.b_first)) / 2

    @property
    def decisions(self) -> tuple[str | None, str | None]:
        """The most probable of `a`, `b` and `tie` in each order, a tie where it is not unique; None if missing."""
        return _decision(self.a_first), _decision(self.b_first)

    @property
    def outcome(self) -> str:
        """`a`, `b` or `tie` if both orders say it, `inconsistent` if they differ, `unparsed` if one is missing."""
        first, second = self.decisions
        if first is None or second is None:
            return "unparsed"
        return first if first == second else "inconsistent"

    def as_json(self) -> dict[str, Any]:
        """Return the judgement as plain data that `from_json` reads back."""
        opinions = {name: None if (x := getattr(self, name)) is None else list(x) for name in ("a_first", "b_first")}
        return {**opinions, "tokens_in": self.tokens_in, "tokens_out": self.tokens_out, "cost": self.cost}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self:
        """Return the judgement that `as_json` wrote."""
        return cls(**content)


def _opinion(name: str, value: Any) -> Opinion | None:
    if value is None:
        return None
    if isinstance(value, Sequence) and len(value) == 3 and all(isinstance(p, int | float) for p in value):
        a, b, equal = map(float, value)
        if all(0 <= p <= 1 for p in (a, b, equal)) and abs(a + b + equal - 1) < 1e-6:
            return a, b, equal
    raise DataError(
        f"A judgement's {name} must be three probabilities that add up to 1 (a better, b better, equal), but got "
        f"{value!r}: correct it, or leave it out where there was no verdict."
    )


def _decision(opinion: Opinion | None) -> str | None:
    if opinion is None:
        return None
    most = max(opinion)
    found = [name for name, p in zip(("a", "b", "tie"), opinion, strict=True) if p == most]
    return found[0] if len(found) == 1 else "tie"
