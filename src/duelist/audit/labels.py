"""Decided pairs of a study, by how they came into their batch: in the control slice, or chosen by the rule."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from duelist.acquisition.options import AcquisitionOptions
from duelist.errors import DataError
from duelist.report.record import Arm
from duelist.store.decisions import settled
from duelist.study.draw_weights import draw_weights
from duelist.types import Label, Question, content_id

FEWEST = 10  # labels of each kind; with fewer, a model is trained on next to nothing


@dataclass(frozen=True)
class AuditLabels:
    """Decided pairs of a study.

    Attributes:
        questions: the X pairs.
        share_X: the share of the labels for a; never ½.
        control_X: which are in the control slice; the others were chosen by the rule.
        weight_X: weight of each in the study's training: v of pairs that were drawn by their gains, unless the recipe
            gives them equal weights; else 1.
    """

    questions: tuple[Question, ...]
    share_X: NDArray[np.float64]
    control_X: NDArray[np.bool_]
    weight_X: NDArray[np.float64]

    @property
    def control(self) -> int:
        """The number of decided control pairs."""
        return int(self.control_X.sum())

    @property
    def active(self) -> int:
        """The number of decided pairs that the rule chose."""
        return len(self.control_X) - self.control

    @property
    def digest(self) -> str:
        """A name of these labels: another one if a label has come, gone or changed."""
        return content_id(
            *zip([q.id for q in self.questions], self.share_X.tolist(), self.control_X.tolist(), strict=True)
        )

    @property
    def groups_X2(self) -> NDArray[np.str_]:
        """The prompts of both responses of each pair."""
        return np.array([[r.prompt_id for r in q.responses] for q in self.questions], np.str_).reshape(-1, 2)


def audit_labels(arm: Arm) -> AuditLabels:
    """Return the pairs that people or a reward decided, and of which it is known how they were selected.

    Pairs that are neither control pairs nor the rule's own choice (the rest of a random order) are left out, and so are
    ties, skips, and questions of more than two responses. Unless the pool is fixed, so are rounds in which the rule
    chose nothing: their pools have other responses.
    """
    fixed = arm.recipe.get("pool") == "fixed"
    labels: dict[str, list[str]] = {}
    for label in settled(arm.labels):
        if isinstance(label, Label) and label.outcome in ("a", "b") and not label.advisory:
            labels.setdefault(label.pair_id, []).append(label.outcome)
    told = {k: v for k, v in dict(arm.recipe["acquisition"]).items() if k in AcquisitionOptions.model_fields}
    options = AcquisitionOptions.model_validate(told)
    weights = draw_weights(options, str(arm.recipe.get("pool")), arm.asked, range(1, arm.rounds + 1))
    of_rule = {x.round for x in arm.asked if x.control is False}
    kept = []
    for x in arm.asked:
        chosen = x.propensity is not None or x.inclusion is None or x.inclusion >= 1.0
        known = x.question.k == 2 and x.control is not None and (fixed or not of_rule or x.round in of_rule)
        if known and (x.control or chosen) and x.question.id in labels:
            share = labels[x.question.id].count("a") / len(labels[x.question.id])
            if share != 0.5:
                kept.append((x.question, share, x.control, weights.get(x.question.id, 1.0)))
    questions, shares, control, weight = zip(*kept, strict=True) if kept else ((), (), (), ())
    return AuditLabels(questions, np.array(shares), np.array(control, bool), np.array(weight))


def require_both_kinds(labels: AuditLabels, folder: Path) -> None:
    """Require enough decided pairs of both kinds.

    Raises:
        DataError: if there are too few of one kind; the message says how a study gets them.
    """
    if labels.control < FEWEST:
        raise DataError(
            f"An audit needs {FEWEST} decided control pairs, drawn at random from the pool, but {folder} has "
            f"{labels.control}: label more of its questions, or set `control_fraction: 0.1` in the next study's recipe."
        )
    if labels.active < FEWEST:
        raise DataError(
            f"An audit needs {FEWEST} decided pairs that the rule chose, but {folder} has {labels.active}: label more "
            "of its questions, or audit a study whose acquisition is not `random`."
        )
