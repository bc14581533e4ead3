"""What a round trains on: decisions, answers that people wrote, judgements, and the scales of rankings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from duelist.models.policy.policy import Policy
from duelist.people.votes import has_overlap
from duelist.progress import Progress
from duelist.store.decisions import decisions_of, question_of, settled
from duelist.store.store import Store
from duelist.study.answered import scales_after
from duelist.study.draw_weights import report, weighted
from duelist.study.judged_items import with_judge
from duelist.study.judged_pool import JudgedPools
from duelist.study.written import written_preferences
from duelist.trainers.base import TrainingPlan
from duelist.trainers.decisions import ScaledDecisions, holds_sets
from duelist.types import Label, Prompt


def training_items(
    plan: TrainingPlan,
    store: Store,
    rounds: range,
    policy: Callable[[], Policy | None],
    progress: Progress,
    judged: JudgedPools | None = None,
    pool_prompts: Mapping[str, Prompt] | None = None,
    weights: Mapping[str, float] = MappingProxyType({}),
) -> ScaledDecisions:
    """Return the training items of the questions of some rounds, with scales fitted to all answers so far.

    Written answers come last: they make pairs of their own. Answers to questions that were asked ahead, for a round
    after these, do not count yet.

    Args:
        plan: how the trainer uses votes, ties and scales.
        store: the record.
        rounds: the rounds whose questions count, up to the one that trains.
        policy: returns the policy, whose tokenizer encodes written answers; None if there is none.
        progress: is told where the plan cannot be followed yet.
        judged: the judgements beside people's answers; None if there are none.
        pool_prompts: the prompts of the judged pairs, by id.
        weights: weights of questions drawn with known probabilities, by id (`draw_weights`).
    """
    questions = {x.question.id: x.question for x in store.asked() if x.round in rounds}
    answers = settled([x for x in store.current_answers() if question_of(x) in questions])
    labels = [x for x in answers if isinstance(x, Label)]
    votes = plan.votes
    if votes == "reliability" and not has_overlap(labels):
        progress.note("No pair has the labels of two annotators yet: each label counts as it is.")
        votes = "every"
    prompts = store.prompts()
    decisions = decisions_of(answers, questions, prompts, votes, plan.ties)
    if any(x.better for x in labels):
        decisions += written_preferences(answers, questions, prompts, policy())
    size = report(weights, decisions)
    if judged is not None and plan.judge is not None and plan.judge.how != "ignore":
        items = with_judge(plan.judge, judged, decisions, answers, rounds, pool_prompts or prompts, progress, weights)
        return ScaledDecisions(tuple(items[0]), report={**size, **items[1]})
    decisions = weighted(decisions, weights)
    fitted = plan.stage_scales == "fitted" and holds_sets(decisions)
    return ScaledDecisions(tuple(decisions), scales_after(rounds[-1], store) if fitted else (), size)
