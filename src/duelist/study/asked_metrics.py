"""Metrics of the questions that a study asked: how the model saw them, and what they cost people."""

from __future__ import annotations

from typing import Any

import numpy as np

from duelist.annotators.reading_time import StudyReadingTime, comparisons
from duelist.evaluation.metrics import measure
from duelist.store.decisions import decided_margins, question_of
from duelist.store.store import Store
from duelist.types import Label

KL = "selected_kl"  # recorded with the selection, for the metric of that name


def selection_metrics(t: int, store: Store, recorded_kl: Any) -> dict[str, Any]:
    """Return statistics of the questions asked in round t, with the answers recorded so far."""
    asked = {x.question.id: x for x in store.asked(t)}
    answers = [x for x in store.current_answers() if question_of(x) in asked]
    inputs = {
        "margin_B": np.array([x.margin for x in asked.values()]),
        "decisions": [d for x in answers for d in decided_margins(asked[question_of(x)], x)],
        "recorded_kl": recorded_kl,
    }
    return measure("selection", inputs)


def effort(t: int, store: Store) -> dict[str, Any]:
    """Return what the questions asked up to round t cost people, by the default model of reading time.

    A pair that only a judge has labelled costs them nothing, and neither does one that was known before round 1.
    """
    labels = store.current_answers()
    by_people = {question_of(x) for x in labels if not (isinstance(x, Label) and x.judgement is not None)}
    judged = {question_of(x) for x in labels} - by_people
    asked = [x.question for x in store.asked() if 0 < x.round <= t and x.question.id not in judged]
    return {
        "responses": sum(q.k for q in asked),
        "comparisons": round(float(comparisons(asked).sum()), 3),
        "annotation_seconds": round(float(StudyReadingTime({}).seconds(asked).sum()), 3),
    }
