"""Result of one round of a study."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from duelist.display import numbers


@dataclass(frozen=True)
class RoundReport:
    """Result of a round: its number, its metrics as in metrics.jsonl, the training's report, and the acquisition's
    diagnostics."""

    round: int
    metrics: Mapping[str, Any]
    training: Mapping[str, float]
    selection: Mapping[str, Any] = field(default_factory=dict)

    def _repr_html_(self) -> str:
        measured = [(name, value) for name, value in self.metrics.items() if not isinstance(value, Mapping)]
        chosen = [(f"selection: {name}", value) for name, value in self.selection.items()]
        trained = [(f"training: {name}", value) for name, value in self.training.items()]
        return numbers(f"Round {self.round}", [*measured, *chosen, *trained])
