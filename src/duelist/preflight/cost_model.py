"""Cost of a study's rounds: a linear model of each stage in its counted work (docs/plan.md).

Formula:   cost of a stage = Σ_unit coefficient · amount, coefficients at least 0; seconds and bytes have their own.
Fit:       non-negative least squares over the rounds of small studies, each equation divided by √cost, so that the
           error of large rounds counts most and that of small ones still counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import scipy

from duelist.preflight.work import REST, RoundWork, Units

Coefficients = Mapping[str, Mapping[str, float]]  # by stage and unit
TRAINING = ("rounds", "decisions", "steps", "prompts")
# The units in which each stage's cost is expressed; a stage that is not named here costs the same each time.
SECONDS_IN: Mapping[str, Sequence[str]] = {
    "sample": ("rounds", "responses", "batches"),
    "pair": ("rounds", "questions"),
    "target": ("rounds", "responses"),
    "featurize": ("rounds", "responses", "past"),
    "select": ("rounds", "picks", "questions"),
    "train": TRAINING,
    "step": TRAINING,
    "evaluate": ("rounds", "responses", "batches"),
    REST: ("rounds", "responses", "questions", "picks"),
}
BYTES_IN: Mapping[str, Sequence[str]] = {
    "sample": ("rounds", "responses"),
    "pair": ("questions",),
    "target": ("responses",),
    "select": ("rounds", "picks"),
    "step": ("rounds", "decisions"),
    "evaluate": ("rounds", "responses"),
    REST: ("rounds", "first", "picks", "prompts"),
}
# Files that are deleted within the round: they count in the peak of the disk, which the plan states separately.
PASSING = ("featurize",)


@dataclass(frozen=True)
class Observed:
    """Work and measured cost of one round.

    Attributes:
        work: the round's work.
        seconds: of each stage.
        bytes: that each stage left on disk.
    """

    work: RoundWork
    seconds: Mapping[str, float]
    bytes: Mapping[str, float]


@dataclass(frozen=True)
class CostModel:
    """Measured costs of a recipe on a machine.

    Attributes:
        seconds: coefficients of seconds: of CPU time if the model runs on the CPU, else of time.
        bytes: coefficients of bytes that stay on disk.
        start_seconds: loading libraries and models, once per process.
        device: type of the device the model ran on.
        machine: name of the machine.
        made: when it was measured, as ISO time.
        prompt_tokens: mean length of a prompt, in tokens.
        response_tokens: mean length of a response, in tokens.
        peak_bytes: most memory that the process used.
        most_prompts: prompts of the largest study that was measured; beyond, costs are extrapolated.
        notes: what was left out or replaced.
    """

    seconds: Coefficients
    bytes: Coefficients
    start_seconds: float
    device: str
    machine: str
    made: str
    prompt_tokens: float
    response_tokens: float
    peak_bytes: int
    most_prompts: int
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return the model as JSON; `from_json` reads it back."""
        return asdict(self)

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> CostModel:
        """Return the model that `as_json` wrote.

        Raises:
            TypeError: if it was written by a version with other fields.
        """
        return CostModel(**{**value, "notes": tuple(value.get("notes", ()))})


def predicted(coefficients: Coefficients, work: RoundWork) -> dict[str, float]:
    """Return the cost of each stage of a round."""
    return {
        stage: sum(factor * units.get(unit, 0.0) for unit, factor in coefficients[stage].items())
        for stage, units in work.stages.items()
        if stage in coefficients
    }


def fitted(observed: Sequence[tuple[RoundWork, Mapping[str, float]]], units_of: Mapping[str, Sequence[str]]) -> Any:
    """Return the coefficients of all stages that were observed.

    Args:
        observed: work of each round, and the cost of its stages; stages without a cost are left out.
        units_of: units of each stage.
    """
    rows: dict[str, list[tuple[Units, float]]] = {}
    for work, costs in observed:
        for stage, cost in costs.items():
            if stage in work.stages:
                rows.setdefault(stage, []).append((work.stages[stage], cost))
    return {stage: _fitted(some, units_of.get(stage, ("rounds",))) for stage, some in rows.items()}


def _fitted(rows: Sequence[tuple[Units, float]], units: Sequence[str]) -> dict[str, float]:
    amount_NX = np.array([[of_row.get(unit, 0.0) for unit in units] for of_row, _ in rows])
    cost_N = np.maximum([cost for _, cost in rows], 1e-9)
    scale_X = np.maximum(amount_NX.max(axis=0), 1e-12)  # so that no unit is favoured for its size
    root_N1 = np.sqrt(cost_N)[:, None]
    factor_X, _ = scipy.optimize.nnls(amount_NX / scale_X / root_N1, cost_N / root_N1[:, 0])
    return {unit: float(f) for unit, f in zip(units, factor_X / scale_X, strict=True) if f > 0}
