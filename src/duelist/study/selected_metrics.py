"""What was selected in a round, in numbers: for metrics.jsonl and the report.

Reference: Yang et al., arXiv 2406.17312: mean margin, ranking accuracy and KL of the selected pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from duelist.store.row_codecs import AskedPair
from duelist.types import Label

KL = "selected_kl"


def selected_metrics(asked: Sequence[AskedPair], labels: Sequence[Label], info: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers of one round's pairs.

    Args:
        asked: the pairs.
        labels: the labels that count; those of other pairs are passed over.
        info: what was recorded when they were selected.

    Returns:
        `selected_mean_margin`: mean |margin| before training on them, in nats times β.
        `selected_ranking_accuracy`: share of the preferences that the margin's sign agrees with; None if there are none
        (margins of 0 have no sign).
        `selected_kl`: mean log(π_θ(y|x)/π_ref(y|x)) over both responses of the pairs, in nats per response, where it
        was measured: KL(π_θ‖π_ref) seen through what was selected.
    """
    by_id = {x.pair.id: x for x in asked}
    outcomes = [(by_id[label.pair_id], label.outcome) for label in labels if label.pair_id in by_id]
    accuracy, _ = agreement(outcomes, lambda x: x.margin)
    found = {
        "selected_mean_margin": float(np.mean([abs(x.margin) for x in asked])) if asked else None,
        "selected_ranking_accuracy": accuracy,
    }
    return {**found, **({KL: info[KL]} if KL in info else {})}


def agreement(
    outcomes: Sequence[tuple[AskedPair, str]], advantage_of_a: Callable[[AskedPair], float]
) -> tuple[float | None, int]:
    """The share of preferences for the response that has the advantage, and how many were neither ties nor even."""
    decided = [(advantage_of_a(x) > 0) == (o == "a") for x, o in outcomes if o in ("a", "b") and advantage_of_a(x) != 0]
    return (sum(decided) / len(decided) if decided else None), len(decided)
