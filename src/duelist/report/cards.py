"""Asked questions as cards: prompt, responses, and what was answered."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from duelist.report.described import noun
from duelist.report.record import Arm
from duelist.store.decisions import question_of
from duelist.store.row_codecs import AskedQuestion
from duelist.types import Answer, Label

CARDS_SHOWN = 20  # of a round
CARDS_OPEN = 4  # of the latest round; the others are folded up


def card_sections(arm: Arm) -> list[dict[str, Any]]:
    """Return the first questions of the latest round and of the first round, each as plain data for the template."""
    rounds = sorted({x.round for x in arm.asked})
    return [_section(arm, t) for t in dict.fromkeys((*rounds[-1:], *rounds[:1]))]


def _section(arm: Arm, t: int) -> dict[str, Any]:
    asked = [x for x in arm.asked if x.round == t]
    answers: dict[str, list[Label | Answer]] = {}
    for answer in arm.answers:
        answers.setdefault(question_of(answer), []).append(answer)
    shown = [_question(arm, x, answers.get(x.question.id, [])) for x in asked[:CARDS_SHOWN]]
    return {"round": t, "asked": len(asked), "pairs": shown, "noun": noun(arm)}


def _question(arm: Arm, x: AskedQuestion, answers: Sequence[Label | Answer]) -> dict[str, Any]:
    responses = x.question.responses
    of_all = dict.fromkeys(r.prompt_id for r in responses)  # one prompt, unless the question is across prompts
    prompts = [
        [(str(m.get("role", "")), _message_text(m.get("content"))) for m in arm.prompts[i].messages] for i in of_all
    ]
    names = "ab" if len(responses) == 2 else [str(i + 1) for i in range(len(responses))]
    name_of_id = dict(zip([r.id for r in responses], names, strict=True))
    best = {name for answer in answers for name in _best(answer, name_of_id)}
    return {
        "asked": x,
        "prompts": prompts,
        "labels": [(answer, _in_words(answer, name_of_id)) for answer in answers],
        "responses": [
            {"name": name, "text": r.text, "tokens": len(r.token_ids), "chosen": name in best}
            for name, r in zip(names, responses, strict=True)
        ],
    }


def _best(answer: Label | Answer, names: Mapping[str, str]) -> Sequence[str]:
    if isinstance(answer, Label):
        return [answer.outcome]
    return [names[r] for r in (answer.groups[0] if answer.groups else [answer.best] if answer.best else [])]


def _in_words(answer: Label | Answer, names: Mapping[str, str]) -> str:
    """Return what an answer says, with the names of the responses in the report."""
    if isinstance(answer, Label):
        return f"{answer.outcome} was chosen" if answer.outcome in ("a", "b") else str(answer.outcome).replace("_", " ")
    if answer.groups:
        order = " > ".join(" = ".join(names[r] for r in group) for group in answer.groups)
        return f"{order}{' > the rest' if answer.stopped else ''}"
    if answer.best is None:
        return answer.outcome.replace("_", " ")
    return f"best {names[answer.best]}" + (f", worst {names[answer.worst]}" if answer.worst else "")


def _message_text(content: Any) -> str:
    return content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
