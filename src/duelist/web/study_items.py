"""Translation between a study's questions and answers and those of the page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, cast

from duelist.answers import AnswerOutcome
from duelist.judgement import Judgement
from duelist.store.decisions import question_of
from duelist.types import Answer, Batch, Label, Outcome, Prompt, Question
from duelist.web.items import Item, ItemResponse, OpenBatch, item_messages
from duelist.web.record import Act, Purpose
from duelist.web.tasks import ImportedAnswer

_ANSWERED: Mapping[str, AnswerOutcome] = {
    "ranked": "decided", "skip": "skip", "all_bad": "all_bad", "all_good": "all_good",
}  # fmt: skip
_SENT = {outcome: sent for sent, outcome in _ANSWERED.items()}


def open_batch(batch: Batch) -> OpenBatch:
    """Return a study's batch as the desk gives it out."""
    return OpenBatch(batch.round, tuple(item_of(q, batch.prompts) for q in batch.questions))


def item_of(question: Question, prompts: Mapping[str, Prompt]) -> Item:
    """Return a question as people see it; of a pair that crosses prompts, the second prompt follows the first."""
    shown = dict.fromkeys(r.prompt_id for r in question.responses)
    messages = [m for prompt_id in shown for m in item_messages(prompts[prompt_id].messages)]
    responses = tuple(ItemResponse(r.id, r.text) for r in question.responses)
    return Item(question.id, question.asks, tuple(messages), responses)


def answer_of(act: Act, question: Question) -> Label | Answer:
    """Return what a person's act says of a question, as a study records it."""
    sent = act.sent
    if question.k == 2:
        return label_of(act, question.a.id, question.b.id)
    decided = sent["outcome"] == "ranked"
    return Answer(
        question.id,
        act.annotator,
        ranking=tuple(map(tuple, sent.get("ranking") or ())) if decided else (),
        outcome=_ANSWERED[sent["outcome"]],
        best=(sent.get("best") or None) if decided else None,
        worst=(sent.get("worst") or None) if decided else None,
        stopped=decided and bool(sent.get("ranking")) and bool(sent.get("stopped")),
        id=act.answer_id,
        seconds=_seconds(act),
        shown=tuple(sent["shown"]) if act.order_known else None,
        time=_time(act),
        replaces=sent.get("replaces"),
        adjudicates=act.purpose == "adjudicate",
    )


def label_of(act: Act, a: str, b: str) -> Label:
    """Return what a person's act says of the pair of the responses a and b."""
    sent = act.sent
    outcome = ("a" if sent["chosen"] == a else "b") if sent["outcome"] == "prefer" else sent["outcome"]
    order: Literal["ab", "ba"] = "ab" if list(sent["shown"]) == [a, b] else "ba"
    return Label(
        act.question_id,
        act.annotator,
        cast(Outcome, outcome),
        id=act.answer_id,
        seconds=_seconds(act),
        shown=order if act.order_known else None,
        time=_time(act),
        better=sent.get("better") or None,
        adjudicates=act.purpose == "adjudicate",
        judgement=None if sent.get("judgement") is None else Judgement.from_json(sent["judgement"]),
    )


def _seconds(act: Act) -> float | None:
    seconds = act.sent["active_seconds"]
    return None if seconds is None else float(seconds)


def _time(act: Act) -> str | None:
    """Return when the answer was given: of an imported one, what it says itself."""
    return act.at if act.lease else act.sent.get("time")


def imported(answer: Label | Answer, question: Question) -> ImportedAnswer:
    """Return a label or an answer that was given elsewhere as the ledger records it; `answer_of` returns it again."""
    sent: dict[str, Any] = {"shown": [r.id for r in question.responses], "order_known": answer.shown is not None}
    if isinstance(answer, Label):
        sent["outcome"] = "prefer" if answer.outcome in ("a", "b") else answer.outcome
        if answer.outcome in ("a", "b"):
            sent["chosen"] = question.responses[int(answer.outcome == "b")].id
        if answer.shown == "ba":
            sent["shown"].reverse()
        sent["better"] = answer.better
        sent["judgement"] = None if answer.judgement is None else answer.judgement.as_json()
    else:
        sent["outcome"] = _SENT[answer.outcome]
        sent["ranking"] = [list(group) for group in answer.groups] or None
        sent |= {name: getattr(answer, name) for name in ("best", "worst", "stopped", "replaces")}
        if answer.shown is not None:
            sent["shown"] = list(answer.shown)
    sent |= {"active_seconds": answer.seconds, "time": answer.time}
    kept = {name: value for name, value in sent.items() if value is not None or name == "active_seconds"}
    purpose: Purpose = "adjudicate" if answer.adjudicates else "question"
    return ImportedAnswer(answer.annotator, question_of(answer), answer.id, kept, purpose)
