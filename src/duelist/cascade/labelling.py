"""Labels of one round by a cascade: which of a judge's labels count, and which pairs are left to people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from duelist.annotators.base import History, Prelabelling, label_id
from duelist.cascade.evidence import coin, confidence, judged_pairs, slice_of
from duelist.cascade.trust import Trust, trust_in
from duelist.judgement import Judgement
from duelist.types import Batch, Label, Outcome


@dataclass(frozen=True)
class Policy:
    """When a judge is trusted.

    Attributes:
        judge: the judge's name in its labels.
        max_error: the largest error allowed.
        audit_fraction: the share of the pairs that people always label.
        slice_by: the column of the prompts that holds the slice; None for one slice.
    """

    judge: str
    max_error: float
    audit_fraction: float
    slice_by: str | None = None


def labels_of(
    batch: Batch, judgements: Sequence[Judgement], history: History, policy: Policy, seed: int
) -> tuple[Prelabelling, Trust]:
    """Return a judge's labels of a batch, and what they rest on.

    The label of a pair that the judge takes counts. On every other pair it is advisory, and people decide: where the
    judge is not sure enough, says `tie`, contradicts itself or gives no verdict, and on audits.

    Args:
        batch: the round's pairs.
        judgements: the judge's opinion on each, in order.
        history: the questions and labels of earlier rounds.
        policy: when the judge is trusted.
        seed: the annotator's seed.
    """
    trust = trust_in(
        judged_pairs(history, policy.judge, policy.slice_by, seed),
        policy.max_error,
        policy.audit_fraction,
        history.looks,
    )
    taken = _taken(trust, batch, judgements, policy, seed)
    labels = [
        Label(
            question.id,
            policy.judge,
            cast(Outcome, judgement.outcome),
            id=label_id(seed, question, policy.judge),
            judgement=judgement,
            advisory=not counts,
        )
        for question, judgement, counts in zip(batch.questions, judgements, taken, strict=True)
    ]
    info = {
        "pairs": len(labels),
        "taken": sum(taken),
        "max_error": policy.max_error,
        "looks": history.looks,
        "trust": [x.as_json() for x in trust.slices],
    }
    return Prelabelling(labels, info), trust


def _taken(trust: Trust, batch: Batch, judgements: Sequence[Judgement], policy: Policy, seed: int) -> list[bool]:
    """Return which pairs the judge takes."""
    sure = [confidence(judgement) for judgement in judgements]
    names = [slice_of(pair, batch.prompts, policy.slice_by) for pair in batch.questions]
    trusted_N = trust.takes(np.array(names, np.str_), np.array([c or 0.0 for c in sure], np.float64))
    audited = [coin(seed, pair.id) < policy.audit_fraction for pair in batch.questions]
    return [
        c is not None and bool(trusted) and not audit
        for c, trusted, audit in zip(sure, trusted_N, audited, strict=True)
    ]
