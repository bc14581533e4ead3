"""Potato: a project (configuration and data), and votes from its `user_state.json`, one file for each annotator.

The pair is shown side by side, and a `radio` question asks for the outcome, because Potato's `pairwise` question has no
`both bad`. Potato measures the time spent on each item.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from html import escape
from typing import Any

from duelist.errors import DataError
from duelist.exchange.choices import CHOICES, answer_id, label_of_choice
from duelist.exchange.reading import Row, asked_question, row_of
from duelist.exchange.tasks import Task, item_id, question_and_order, require_pairs
from duelist.settings.validation import write_yaml
from duelist.store.artifacts import json_line
from duelist.types import Label, Question

TOOL = "Potato"
NEEDS, REMEDY = "A state needs `user_id` and labels", "copy it again"
SCHEMA = "outcome"
STATE = "user_state.json"


def configuration(name: str) -> dict[str, Any]:
    """Return the project's configuration; `potato start config.yaml` runs it."""
    return {
        "annotation_task_name": name,
        "task_dir": ".",
        "output_annotation_dir": "annotation_output/",
        "data_files": ["questions.jsonl"],
        "item_properties": {"id_key": "id", "text_key": "text"},
        "assignment_strategy": "fixed_order",
        "user_config": {"allow_all_users": True, "users": []},
        "annotation_schemes": [
            {
                "annotation_type": "radio",
                "name": SCHEMA,
                "description": "Which response is better?",
                "labels": [{"name": text, "key_value": str(key)} for key, text in enumerate(CHOICES, start=1)],
                "label_requirement": {"required": True},
            }
        ],
    }


def items(tasks: list[Task]) -> list[dict[str, Any]]:
    """Return the items, in pick order; an item's id holds the question's and the displayed order, because Potato
    returns the id alone.

    Raises:
        DataError: if a question has more than two responses.
    """
    return [
        {
            "id": item_id(t),
            "text": _page(t.prompt_text, *t.texts),
            "round": t.round,
            "position": t.position,
        }
        for t in require_pairs(tasks, TOOL)
    ]


def files(tasks: list[Task], name: str) -> dict[str, str]:
    """Return the files of a project."""
    return {
        "config.yaml": write_yaml(configuration(name)),
        "questions.jsonl": "".join(json_line(item) for item in items(tasks)),
    }


def is_own(item: Any) -> bool:
    """Return whether a JSON object is the state of a user of Potato."""
    return isinstance(item, Mapping) and {"user_id", "instance_id_to_label_to_value"} <= item.keys()


def answers(where: str, state: Mapping[str, Any], questions: Mapping[str, Question]) -> Iterator[Row]:
    """Yield a row for each item that a user has answered."""
    for item, labels in state["instance_id_to_label_to_value"].items():
        yield row_of(f"item {item} of {where}", partial(_label, state, item, labels, questions))


def _label(state: Mapping[str, Any], item: str, labels: Any, questions: Mapping[str, Question]) -> Label:
    question_id, shown = question_and_order(item)
    pair = asked_question(question_id, questions)
    chosen = [str(key["name"]) for key, value in labels if key.get("schema") == SCHEMA and value]
    if len(chosen) != 1:
        raise DataError(
            f"An item needs one choice, but has {chosen or 'none'}: a version of Potato before 2.8 keeps earlier "
            "choices (`potato repair-annotations`); otherwise let the annotator answer it."
        )
    who = f"potato-{state['user_id']}"
    seconds, time = _effort((state.get("instance_id_to_behavioral_data") or {}).get(item) or {})
    return label_of_choice(pair, chosen[0], shown, who, answer_id(TOOL, item, who, chosen[0]), seconds, time)


def _effort(behaviour: Mapping[str, Any]) -> tuple[float | None, str | None]:
    """Return the seconds spent on an item, and when its annotator left it."""
    spent, end = behaviour.get("total_time_ms"), behaviour.get("session_end")
    seconds = spent / 1000 if isinstance(spent, int | float) and spent > 0 else None
    return seconds, datetime.fromtimestamp(end, UTC).isoformat() if isinstance(end, int | float) and end > 0 else None


def _page(prompt: str, left: str, right: str) -> str:
    """Return an item as Potato shows it: HTML of what its sanitizer lets through, with every text escaped."""
    cell = "width: 50%; vertical-align: top; padding: 8px; border: 1px solid #bbb"
    head = f'<tr><th style="{cell}">Left</th><th style="{cell}">Right</th></tr>'
    body = "".join(f'<td style="{cell}">{_escaped(text)}</td>' for text in (left, right))
    return f'<p>{_escaped(prompt)}</p><table style="width: 100%">{head}<tr>{body}</tr></table>'


def _escaped(text: str) -> str:
    return escape(text).replace("\n", "<br>")
