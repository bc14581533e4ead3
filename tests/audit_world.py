"""A study with a control slice, made by hand, without a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import made_by_hand
from duelist.store.row_codecs import AskedQuestion
from duelist.store.store import Store
from duelist.types import Label, Prompt, Question, Response

PROMPTS = [Prompt.of(f"Prompt {i}.") for i in range(8)]


def asked(of_prompt: int = 6, **changes: Any) -> list[AskedQuestion]:
    """Pairs of a first round: the first third of each prompt's is its control slice."""
    found: list[AskedQuestion] = []
    for p in PROMPTS:
        for i in range(of_prompt):
            texts = (f"yes, surely {i} of {p.id}", f"no {i} of {p.id}")  # the better one is longer
            pair = Question.pair(*(Response.of(p, text, [1], [2, 3], 1) for text in texts), 1)
            control = i < of_prompt // 3
            values: dict[str, Any] = {"inclusion": 0.2 if control else 1.0, "control": control} | changes
            found.append(AskedQuestion(pair, 1, len(found), 0.5, "nats", 0.1, None, **values))
    return found


def make(path: Path, of_prompt: int = 6, **changes: Any) -> list[AskedQuestion]:
    """Make the study, and answer every pair by the length of its responses."""
    batch = asked(of_prompt, **changes)
    made_by_hand.make_study(path, batch, PROMPTS, acquisition={"name": "activedpo"}, control_fraction=0.3)
    store = Store(path)
    store.add_answers([Label(x.question.id, "ann", winner(x)) for x in batch])
    store.close()
    return batch


def winner(x: AskedQuestion) -> Any:
    return "a" if x.question.a.text.startswith("yes") else "b"
