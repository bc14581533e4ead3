"""What a round trains on: decisions, the answers that people wrote, and the scales of rankings."""

from __future__ import annotations

from collections.abc import Callable

from duelist.models.policy.policy import Policy
from duelist.people.votes import has_overlap
from duelist.progress import Progress
from duelist.store.decisions import question_of
from duelist.store.store import Store
from duelist.study.answered import scales_after
from duelist.study.written import written_preferences
from duelist.trainers.base import TrainingPlan
from duelist.trainers.decisions import ScaledDecisions, holds_sets
from duelist.types import Label


def training_items(
    plan: TrainingPlan,
    store: Store,
    t: int,
    asked_in: int | None,
    policy: Callable[[], Policy | None],
    progress: Progress,
) -> ScaledDecisions:
    """Return the training items of one round's questions, or of all, with scales fitted to all answers so far.

    Written answers come last: they make pairs of their own.

    Args:
        plan: how the trainer uses votes, ties and scales.
        store: the record.
        t: the round that trains.
        asked_in: the round whose questions count; None for all.
        policy: returns the policy, whose tokenizer encodes written answers; None if there is none.
        progress: is told where the plan cannot be followed yet.
    """
    # With lookahead, questions of the next round may have answers already: they are trained on when it closes.
    questions = {x.question.id: x.question for x in store.asked(asked_in) if x.round <= t}
    answers = [x for x in store.current_answers() if question_of(x) in questions]
    votes = plan.votes
    if votes == "reliability" and not has_overlap(x for x in answers if isinstance(x, Label)):
        progress.note("No pair has the labels of two annotators yet: each label counts as it is.")
        votes = "every"
    decisions = store.decisions(asked_in, until=t, votes=votes, ties=plan.ties)
    if any(isinstance(x, Label) and x.better for x in answers):
        decisions += written_preferences(answers, questions, store.prompts(), policy())
    fitted = plan.stage_scales == "fitted" and holds_sets(decisions)
    return ScaledDecisions(tuple(decisions), scales_after(t, store) if fitted else ())
