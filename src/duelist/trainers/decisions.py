"""Decided questions as training data: pairs and larger questions together, and the scales of the stages of rankings."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import overload

import numpy as np
from numpy.typing import NDArray

from duelist.errors import DataError
from duelist.types import Decision, Preference, RankedSet


@dataclass(frozen=True)
class ScaledDecisions(Sequence[Decision]):
    """Decisions, with how reliably people decide at each stage of a ranking.

    Attributes:
        decisions: the decisions.
        scales: s of each stage, from the first (`StageScales.scale_X`); empty for equal scales.
        report: numbers to report of how the decisions were made.
    """

    decisions: tuple[Decision, ...]
    scales: tuple[float, ...] = ()
    report: Mapping[str, float] = field(default_factory=dict)

    @overload
    def __getitem__(self, index: int) -> Decision: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Decision]: ...

    def __getitem__(self, index: int | slice) -> Decision | Sequence[Decision]:
        return self.decisions[index]

    def __len__(self) -> int:
        return len(self.decisions)


def scales_of(decisions: Sequence[Decision]) -> tuple[float, ...]:
    """Return the scales that came with the decisions; none, which means equal scales, for a plain sequence."""
    return decisions.scales if isinstance(decisions, ScaledDecisions) else ()


def holds_sets(decisions: Iterable[Decision]) -> bool:
    """Return whether some decisions are on questions of three or more responses, so that all need their loss."""
    return any(isinstance(decision, RankedSet) for decision in decisions)


def ranked_sets(decisions: Iterable[Decision]) -> list[RankedSet]:
    """Return all decisions as answers to questions of k responses, pairs included.

    Raises:
        DataError: if a pair has a share of the votes that is neither a decision nor a tie.
    """
    return [d if isinstance(d, RankedSet) else _of_pair(d) for d in decisions]


def padded_ranks(sets: Sequence[RankedSet]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the ranks `[N, Q]`, −1 beyond the last response, and which answers are best-and-worst, `[N]`."""
    rank_NQ = np.full((len(sets), max(len(s.ranks) for s in sets)), -1, dtype=np.int64)
    for rank_Q, answered in zip(rank_NQ, sets, strict=True):
        rank_Q[: len(answered.ranks)] = answered.ranks
    return rank_NQ, np.array([s.asks == "best_worst" for s in sets])


def _of_pair(preference: Preference) -> RankedSet:
    if preference.share not in (1.0, 0.5):
        raise DataError(
            "Together with questions of more than two responses, a pair must be decided or a tie, but pair "
            f"{preference.pair_id} has a share of {preference.share:g} of the votes: set `trainer.votes: majority`."
        )
    return RankedSet(
        preference.prompt,
        (preference.chosen, preference.rejected),
        (0, 1) if preference.share == 1 else (0, 0),
        "ranking",
        preference.pair_id,
        preference.annotator,
        preference.weight,
        preference.drawn_from,
    )


def batches_of_a_step(decisions: Sequence[Decision], size: int) -> int:
    """Return the number of batches that make one optimizer step: as many as it takes not to add steps to people's.

    Pairs that only a judge decided make the gradient of a step less noisy. They must not add steps: the size of a step
    of Adam does not depend on the weights of its items, so that next to weightless ones would move the policy.

    Args:
        decisions: what is trained on.
        size: the number of decisions in a batch.
    """
    labelled = sum(not isinstance(d, Preference) or d.labelled for d in decisions)
    return math.ceil(math.ceil(len(decisions) / size) / math.ceil(max(labelled, 1) / size))
