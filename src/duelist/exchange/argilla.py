"""Argilla 2: a dataset's folder (`Dataset.from_disk` reads it), and responses from `to_disk` or `records.to_json`.

Argilla's records hold no time and no annotator but the user's id. A record's id holds the question's id and the
displayed order (`duelist.exchange.tasks.item_id`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from duelist.errors import DataError
from duelist.exchange.choices import CHOICES, answer_id, label_of_choice
from duelist.exchange.reading import Row, asked_question, row_of
from duelist.exchange.tasks import Task, item_id, question_and_order, require_pairs
from duelist.types import Label, Question

TOOL = "Argilla"
NEEDS, REMEDY = "A record needs `fields` and `responses`", "export"
QUESTION = "outcome"
GUIDELINES = "Compare the two responses to the prompt, and choose one outcome. Skip with `Cannot tell`."


def settings() -> dict[str, Any]:
    """Return the settings of a dataset: three text fields, one question with one choice, and metadata."""
    texts = [("prompt", "Prompt"), ("left", "Left"), ("right", "Right")]
    options = [{"value": value, "text": text} for text, value in CHOICES.items()]
    return {
        "guidelines": GUIDELINES,
        "allow_extra_metadata": False,
        "distribution": {"strategy": "overlap", "min_submitted": 1},
        "fields": [
            {"name": name, "title": title, "required": True, "settings": {"type": "text", "use_markdown": False}}
            for name, title in texts
        ],
        "questions": [
            {
                "name": QUESTION,
                "title": "Which response is better?",
                "description": None,
                "required": True,
                "settings": {"type": "label_selection", "options": options, "visible_options": len(CHOICES)},
            }
        ],
        "vectors": [],
        "metadata": [
            {"name": name, "title": name, "settings": {"type": "integer", "visible_for_annotators": False}}
            for name in ("round", "position")
        ],
        "mapping": None,
    }


def records(tasks: list[Task]) -> list[dict[str, Any]]:
    """Return the records, in pick order.

    Raises:
        DataError: if a question has more than two responses.
    """
    return [
        {
            "id": item_id(t),
            "fields": {"prompt": t.prompt_text, "left": t.texts[0], "right": t.texts[1]},
            "metadata": {"round": t.round, "position": t.position},
            "suggestions": {},
            "responses": {},
            "vectors": {},
            "_server_id": None,
        }
        for t in require_pairs(tasks, TOOL)
    ]


def files(tasks: list[Task], name: str) -> dict[str, str]:
    """Return the files of a dataset's folder."""
    dataset = {
        "id": str(uuid5(NAMESPACE_URL, f"duelist:{name}")),
        "name": name,
        "status": "draft",
        "guidelines": GUIDELINES,
        "allow_extra_metadata": False,
    }
    contents = {".argilla/dataset.json": dataset, ".argilla/settings.json": settings(), "records.json": records(tasks)}
    return {path: json.dumps(value, ensure_ascii=False, indent=1) + "\n" for path, value in contents.items()}


def is_own(item: Any) -> bool:
    """Return whether an item of a JSON array is a record of Argilla."""
    return isinstance(item, Mapping) and {"fields", "responses", "metadata"} <= item.keys()


def answers(where: str, record: Mapping[str, Any], questions: Mapping[str, Question]) -> Iterator[Row]:
    """Yield a row for each response; a record without one gives none."""
    for number, response in enumerate((record["responses"] or {}).get(QUESTION) or [], start=1):
        who = response.get("user_id") if isinstance(response, Mapping) else f"number {number}"
        yield row_of(f"response of {who} to {where}", partial(_label, record, response, questions))


def _label(record: Mapping[str, Any], response: Mapping[str, Any], questions: Mapping[str, Question]) -> Label:
    question_id, shown = question_and_order(record.get("id"))
    pair = asked_question(question_id, questions)
    who = response.get("user_id")
    if not isinstance(who, str) or not who:
        raise DataError("A response needs its `user_id`, but has none: export the records with `to_disk`.")
    choice = response.get("value")
    return label_of_choice(pair, choice, shown, f"argilla-{who}", answer_id(TOOL, pair.id, who, choice))
