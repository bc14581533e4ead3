"""Conversion of answers to training items."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import replace
from itertools import permutations
from typing import Any

from duelist.answers import EXPECTED, ranks_of
from duelist.errors import DataError
from duelist.people.aggregation import aggregate
from duelist.people.votes import MISSING
from duelist.store.codecs import RESPONSE
from duelist.store.row_codecs import AskedQuestion
from duelist.types import (
    Answer,
    Decision,
    Label,
    Preference,
    Prompt,
    Question,
    RankedSet,
    Retraction,
    VoteRule,
)


def question_of(answer: Label | Answer | Retraction) -> str:
    """Return the id of the question that a label or an answer is for."""
    return answer.pair_id if isinstance(answer, Label) else answer.question_id


def require_answer_to(answer: Label | Answer, asked: Mapping[str, Question]) -> None:
    """Require that a label or an answer is for an asked question, and answers it.

    Args:
        answer: the label or answer.
        asked: the asked questions, by id.

    Raises:
        DataError: if it is not; the message says what was expected.
    """
    question = asked.get(question_of(answer))
    if question is None:
        what, kind = ("label", "pair") if isinstance(answer, Label) else ("answer", "question")
        raise DataError(
            f"A{'n' * (what == 'answer')} {what} must be for a {kind} that was asked, but {question_of(answer)!r} "
            f"never was: take {kind} ids from `Study.ask()`. Nothing of this call was recorded."
        )
    if isinstance(answer, Label) != (question.k == 2):
        raise DataError(
            f"Question {question.id} has {question.k} responses and needs {EXPECTED[question.asks]}, but got a "
            f"`{type(answer).__name__}`. Nothing of this call was recorded."
        )
    if isinstance(answer, Answer):
        ranks_of(answer, question.asks, [r.id for r in question.responses])


def settled(answers: Sequence[Label | Answer]) -> list[Label | Answer]:
    """Return the answers without those that an adjudicator's answer to the same question replaces; a skip does not."""
    decided = {question_of(x) for x in answers if x.adjudicates and x.outcome != "skip"}
    return [x for x in answers if x.adjudicates or question_of(x) not in decided]


def without_outranked(answers: Sequence[Label | Answer], prelabels: Set[str]) -> list[Label | Answer]:
    """Return the answers without a cascade's labels on pairs that a person decided too: one source labels a pair.

    Args:
        answers: the latest answer of each annotator to each question.
        prelabels: ids of the labels that the cascade's judge gave before people were asked.
    """
    people = {question_of(x) for x in answers if x.id not in prelabels and x.outcome not in MISSING}
    return [x for x in answers if x.id not in prelabels or question_of(x) not in people]


def written_answers(
    answers: Sequence[Label | Answer], questions: Mapping[str, Question]
) -> Iterator[tuple[Label, int]]:
    """Yield (label, place) for each response of a pair over which an annotator's written answer is preferred.

    A pair that crosses prompts gives none, because the answer's prompt is not known, and neither does a response with
    the same text.

    Args:
        answers: the answers that count. Those that an adjudicator's answer replaces are left out.
        questions: the questions by id, including those of all answers.
    """
    for label in settled(answers):
        if not isinstance(label, Label) or label.better is None:
            continue
        pair = questions[label.pair_id]
        if pair.a.prompt_id == pair.b.prompt_id:
            yield from ((label, place) for place, bad in enumerate(pair.responses) if bad.text != label.better)


def decisions_of(
    answers: Sequence[Label | Answer],
    questions: Mapping[str, Question],
    prompts: Mapping[str, Prompt],
    votes: VoteRule,
    ties: bool,
) -> list[Decision]:
    """Return the training items of answers, sorted by question and annotator.

    Args:
        answers: the answers that count. Those that an adjudicator's answer replaces are left out.
        questions: the questions by id, including those of all answers.
        prompts: prompts by id, including the questions'.
        votes: how several votes on a pair are used: each by itself (`every`), or as one item by their `majority`, by
            their shares (`soft`), or by the posterior of a model of the annotators' `reliability`
            (`duelist.people.aggregation`). Vote counts of one label are used by their majority, or by shares (`soft`).
        ties: whether ties of pairs give items. Equally good responses within a ranking are always used.

    Raises:
        DataError: if the rule is `reliability`, and no pair has the votes of two annotators.
        ModelError: if the rule is `reliability`, and crowd-kit is not installed.
    """
    counting = settled(answers)
    single = [x for x in counting if isinstance(x, Label) and x.votes is None and votes != "every"]
    together = {id(x) for x in single}
    items = [decision_of(x, questions[question_of(x)], prompts, votes, ties) for x in counting if id(x) not in together]
    found = [item for item in items if item is not None]
    for pair_id, shares in (aggregate(single, votes, ties) if single else {}).items():
        for x in shares:
            who = "+".join(x.annotators)
            one = _preference(questions[pair_id], x.chosen == "a", prompts, who, x.share)
            found.append(replace(one, weight=one.weight * x.weight))
    return sorted(found, key=lambda d: (d.pair_id if isinstance(d, Preference) else d.question_id, d.annotator))


def decision_of(
    answer: Label | Answer, question: Question, prompts: Mapping[str, Prompt], votes: VoteRule, ties: bool
) -> Decision | None:
    """Return the training item of a label or an answer; None if it has none, as for `skip` and `both_bad`.

    Args:
        answer: a decision on `question`.
        question: the responses.
        prompts: prompts by id, including the question's.
        votes: see `preference_of`.
        ties: see `preference_of`. Equally good responses within a ranking are always used.
    """
    if isinstance(answer, Label):
        return preference_of(answer, question, prompts, votes, ties)
    ranks = ranks_of(answer, question.asks, [r.id for r in question.responses])
    return None if ranks is None else _ranked(question, ranks, prompts, answer.annotator)


def preference_of(
    label: Label, pair: Question, prompts: Mapping[str, Prompt], votes: VoteRule, ties: bool
) -> Preference | None:
    """Return the training item of a label; None if it has none, as for `skip` and `both_bad`.

    Args:
        label: a decision on `pair`.
        pair: the two responses.
        prompts: prompts by id, including the pair's.
        votes: `soft` gives a label with vote counts the share of its chosen
            response among the votes, (n + n_eq / 2) / (n_a + n_b + n_eq). The item's loss is then the mean of the
            losses of the single votes, where a vote for neither counts half for each. It gives a judge's label the
            probability of its chosen response. Other rules use the outcome.
        ties: whether a tie gives an item, with share 0.5 (soft: a's share) and response a as `chosen`.
    """
    if label.outcome not in (("a", "b", "tie") if ties else ("a", "b")):
        return None
    return _preference(pair, label.outcome != "b", prompts, label.annotator, _share(label, votes))


def decided_margins(asked: AskedQuestion, answer: Label | Answer) -> list[tuple[float, str]]:
    """Return (r(a) − r(b), outcome) of every pair that an answer decides, under the model when it was asked.

    Of a larger question, these are its pairs of responses of which the answer says that one is better.
    """
    if isinstance(answer, Label):
        return [(asked.margin, answer.outcome)]
    ranks = ranks_of(answer, asked.question.asks, [r.id for r in asked.question.responses])
    if ranks is None or asked.rewards is None:
        return []
    better = [(i, j) for i, j in permutations(range(len(ranks)), 2) if ranks[i] < ranks[j]]
    return [(asked.rewards[i] - asked.rewards[j], "a") for i, j in better]


def decision_json(decision: Decision, questions: Mapping[str, Question]) -> dict[str, Any]:
    """Return a decision as JSON, with its prompt, question and responses by id; a written answer as a whole."""
    if isinstance(decision, RankedSet):
        by_id = {"question_id": decision.question_id, "annotator": decision.annotator}
        return {**by_id, "ranks": list(decision.ranks), "weight": decision.weight}
    by_id = {name: getattr(decision, name).id for name in ("prompt", "chosen", "rejected")}
    value = {**by_id, **{name: getattr(decision, name) for name in ("pair_id", "annotator", "share", "weight")}}
    if decision.pair_id in questions:
        return value
    return {**value, "written": RESPONSE.dump_python(decision.chosen, mode="json"), "drawn_from": decision.drawn_from}


def decision_from(
    value: Mapping[str, Any], questions: Mapping[str, Question], prompts: Mapping[str, Prompt]
) -> Decision:
    """Return the decision written by `decision_json`; its other values come from the question."""
    if "ranks" in value:
        question = questions[value["question_id"]]
        ranked = _ranked(question, tuple(value["ranks"]), prompts, value["annotator"])
        return replace(ranked, weight=value["weight"])
    if "written" in value:
        chosen = RESPONSE.validate_python(value["written"])
        rejected = next(r for q in questions.values() for r in q.responses if r.id == value["rejected"])
        who, share, weight = (value[name] for name in ("annotator", "share", "weight"))
        origins = value["drawn_from"] and tuple(value["drawn_from"])
        return Preference(prompts[chosen.prompt_id], chosen, rejected, value["pair_id"], who, share, weight, origins)
    pair = questions[value["pair_id"]]
    chose_a, share = value["chosen"] == pair.a.id, value.get("share", 1.0)
    one = _preference(pair, chose_a, prompts, value["annotator"], share)
    return replace(one, weight=value.get("weight", pair.weight))  # an early version wrote none


def _ranked(question: Question, ranks: tuple[int, ...], prompts: Mapping[str, Prompt], annotator: str) -> RankedSet:
    prompt = prompts[question.responses[0].prompt_id]
    return RankedSet(
        prompt, question.responses, ranks, question.asks, question.id, annotator, question.weight, question.drawn_from
    )


def _preference(
    pair: Question, chose_a: bool, prompts: Mapping[str, Prompt], annotator: str, share: float
) -> Preference:
    a, b = pair.a, pair.b
    origins = None if pair.drawn_from is None else (pair.drawn_from[0], pair.drawn_from[1])
    if not chose_a:
        a, b, origins = b, a, origins and (origins[1], origins[0])
    return Preference(prompts[a.prompt_id], a, b, pair.id, annotator, share, pair.weight, origins)


def _share(label: Label, rule: VoteRule) -> float:
    votes, judged = label.votes, None if label.judgement is None else label.judgement.probability
    if rule == "soft" and judged is not None:
        return 1 - judged if label.outcome == "b" else judged
    total = 0 if votes is None else votes.n_a + votes.n_b + votes.n_eq
    if rule != "soft" or votes is None or total == 0:
        return 0.5 if label.outcome == "tie" else 1.0
    return ((votes.n_b if label.outcome == "b" else votes.n_a) + votes.n_eq / 2) / total
