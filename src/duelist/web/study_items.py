"""Translation between a study's questions and answers and those of the page."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

from duelist.answers import AnswerOutcome
from duelist.types import Answer, Batch, Label, Outcome, Prompt, Question
from duelist.web.items import Item, ItemMessage, ItemResponse, OpenBatch
from duelist.web.record import Act

_ANSWERED: Mapping[str, AnswerOutcome] = {
    "ranked": "decided", "skip": "skip", "all_bad": "all_bad", "all_good": "all_good",
}  # fmt: skip


def open_batch(batch: Batch) -> OpenBatch:
    """Return a study's batch as the desk gives it out."""
    return OpenBatch(batch.round, tuple(item_of(q, batch.prompts) for q in batch.questions))


def item_of(question: Question, prompts: Mapping[str, Prompt]) -> Item:
    """Return a question as people see it; of a pair that crosses prompts, the second prompt follows the first."""
    shown = dict.fromkeys(r.prompt_id for r in question.responses)
    messages = [m for prompt_id in shown for m in _messages(prompts[prompt_id])]
    responses = tuple(ItemResponse(r.id, r.text) for r in question.responses)
    return Item(question.id, question.asks, tuple(messages), responses)


def _messages(prompt: Prompt) -> list[ItemMessage]:
    return [ItemMessage(str(m.get("role", "user")), _text(m.get("content"))) for m in prompt.messages]


def _text(content: Any) -> str:
    return content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)


def answer_of(act: Act, question: Question) -> Label | Answer:
    """Return what a person's act says of a question, as a study records it. Its id is the act's."""
    sent = act.sent
    seconds, shown = float(sent["active_seconds"]), tuple(sent["shown"])
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
        id=act.id,
        seconds=seconds,
        shown=shown,
        time=act.at,
    )


def label_of(act: Act, a: str, b: str) -> Label:
    """Return what a person's act says of the pair of the responses a and b."""
    sent = act.sent
    outcome = ("a" if sent["chosen"] == a else "b") if sent["outcome"] == "prefer" else sent["outcome"]
    return Label(
        act.question_id,
        act.annotator,
        cast(Outcome, outcome),
        id=act.id,
        seconds=float(sent["active_seconds"]),
        shown="ab" if list(sent["shown"]) == [a, b] else "ba",
        time=act.at,
        better=sent.get("better") or None,
        adjudicates=act.purpose == "adjudicate",
    )
