"""A study of questions made by hand, without a model, and the votes that people give to them in other tools."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import made_by_hand
import small_sets
from duelist import Study
from duelist.exchange.choices import CHOICES
from duelist.exchange.tasks import Task
from duelist.store.row_codecs import AskedQuestion
from duelist.types import Label, Prompt

NASTY = "<b>&amp;</b>\nsecond line, \"quoted\" 'x' {{ y }} $z ünï"
ROLES = {"One?": "user", "1": "assistant", NASTY: "user"}
PROMPT = Prompt.of([{"role": role, "content": text} for text, role in ROLES.items()])
VOTES = list(CHOICES)  # a vote of each kind


def pairs(count: int) -> list[AskedQuestion]:
    """So many pairs of round 1."""
    return made_by_hand.pairs_on(PROMPT, count, f": {NASTY}")


@contextmanager
def study_of(path: Path, asked: Sequence[AskedQuestion], **changes: Any) -> Iterator[Study]:
    """An open study whose first round asked these questions."""
    if not path.exists():
        made_by_hand.make_study(path, asked, [PROMPT, small_sets.PROMPT], **changes)
    with Study.open(path) as study:
        yield study


def expected(task: Task, choice: str) -> tuple[str, str]:
    """The outcome of a choice, and the displayed order, worked out from the texts that were displayed."""
    a_first = task.texts[0] == task.question.a.text
    sides = {"Left is better": "a" if a_first else "b", "Right is better": "b" if a_first else "a"}
    others = {"Equally good": "tie", "Both bad": "both_bad", "Both good": "both_good", "Cannot tell": "skip"}
    return (sides | others)[choice], "ab" if a_first else "ba"


def said(labels: Sequence[Label]) -> dict[str, tuple[str, str | None]]:
    """What labels say of each pair, and in which order its responses were shown."""
    return {x.pair_id: (x.outcome, x.shown) for x in labels}


def written(path: Path, content: Any) -> Path:
    """Write JSON, as one document or, for .jsonl, a line for each item."""
    lines = map(json.dumps, content) if path.suffix == ".jsonl" else [json.dumps(content)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
