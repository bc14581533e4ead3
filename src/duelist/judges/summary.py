"""What judges did in a study, and what it cost, from their labels. Imports no model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

from duelist.judgement import Judgement
from duelist.labels import Label


@dataclass(frozen=True)
class JudgeUse:
    """One judge's labels.

    Attributes:
        judge: the annotator's name.
        labels: number of labels.
        inconsistent: of these, those where the verdicts in the two orders differ.
        unparsed: of these, those without a usable verdict in one order or both.
        first: mean probability that the response displayed first is better (an equal counts half), over both orders of
            the usable labels; 0.5 without position bias; None without usable labels.
        tokens_in: tokens read.
        tokens_out: tokens written.
        cost: money, in the currency of the judge's prices: what the verdicts cost when they were asked for.
    """

    judge: str
    labels: int
    inconsistent: int
    unparsed: int
    first: float | None
    tokens_in: int
    tokens_out: int
    cost: float

    def as_json(self) -> dict[str, Any]:
        """Return the numbers as plain data."""
        return asdict(self)


def judges_of(labels: Iterable[Any]) -> list[JudgeUse]:
    """Return what each judge did, by name. Labels without a judgement do not count, nor do other answers."""
    found: dict[str, list[tuple[str, Judgement]]] = {}
    for label in labels:
        if isinstance(label, Label) and label.judgement is not None:
            found.setdefault(label.annotator, []).append((label.outcome, label.judgement))
    return [_use(name, given) for name, given in sorted(found.items())]


def in_words(use: Mapping[str, Any]) -> str:
    """Return a line about a judge, given `JudgeUse.as_json`."""
    n = use["labels"]
    parts = [
        f"{n} label{'' if n == 1 else 's'}",
        f"{use['inconsistent'] / n:.0%} contradict themselves",
        f"{use['unparsed'] / n:.0%} unparsed",
    ]
    if use["first"] is not None:
        parts.append(f"P(first shown is better) {use['first']:.2f}")
    if use["tokens_in"] + use["tokens_out"]:
        parts.append(f"{use['tokens_in']} tokens read, {use['tokens_out']} written")
    if use["cost"]:
        parts.append(f"cost {use['cost']:.4g}")
    return ", ".join(parts)


def _use(name: str, given: list[tuple[str, Judgement]]) -> JudgeUse:
    outcomes = [outcome for outcome, _ in given]
    first = [p for _, x in given for p in _first(x)]
    return JudgeUse(
        judge=name,
        labels=len(given),
        inconsistent=outcomes.count("inconsistent"),
        unparsed=outcomes.count("unparsed"),
        first=fmean(first) if first else None,
        tokens_in=sum(x.tokens_in for _, x in given),
        tokens_out=sum(x.tokens_out for _, x in given),
        cost=sum(x.cost for _, x in given),
    )


def _first(x: Judgement) -> list[float]:
    """Return the probability that the response displayed first is better in each order; none if one is missing."""
    if x.a_first is None or x.b_first is None:
        return []
    return [x.a_first[0] + x.a_first[2] / 2, x.b_first[1] + x.b_first[2] / 2]
