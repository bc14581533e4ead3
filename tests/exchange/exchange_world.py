"""A study of questions made by hand, without a model, and the votes that people give to them in other tools."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

import small_sets
import small_study
from duelist import Study
from duelist.exchange.choices import CHOICES
from duelist.exchange.tasks import Task
from duelist.recipe.recipe import parse_recipe, recipe_content
from duelist.store import codecs
from duelist.store.opening import create_folder
from duelist.store.row_codecs import AskedQuestion
from duelist.types import Features, Label, Prompt, Question, Response, Selection

RECIPE: dict[str, Any] = {
    "name": "made by hand",
    "rounds": 2,
    "beta": 0.1,
    "prompts": {"path": "prompts.jsonl", "held_out": 1},
    "policy": {"model": "a/model"},
    "sampler": {"name": "vanilla", "responses_per_prompt": 2},
    "acquisition": {"name": "random"},
    "trainer": {"name": "dpo", "train": {"learning_rate": 1e-05}},
}
NASTY = "<b>&amp;</b>\nsecond line, \"quoted\" 'x' {{ y }} $z ünï"
ROLES = {"One?": "user", "1": "assistant", NASTY: "user"}
PROMPT = Prompt.of([{"role": role, "content": text} for text, role in ROLES.items()])
VOTES = list(CHOICES)  # a vote of each kind


def pairs(count: int) -> list[AskedQuestion]:
    """So many pairs of round 1."""
    made = [[Response.of(PROMPT, f"{w} {i}: {NASTY}", [1], [2, 3], 1) for w in ("yes", "no")] for i in range(count)]
    return [AskedQuestion(Question.pair(a, b, 1), 1, i, 0.5, "nats", 0.1) for i, (a, b) in enumerate(made)]


@contextmanager
def study_of(path: Path, asked: Sequence[AskedQuestion], **changes: Any) -> Iterator[Study]:
    """An open study whose first round asked these questions."""
    if not path.exists():
        recipe = {**RECIPE, "budget": len(asked), **changes}
        folder = create_folder(path, recipe_content(parse_recipe(recipe)))
        small_study.close(folder, 0)
        folder.run(1, "featurize", codecs.FEATURES, lambda: Features.identities([]))
        folder.run(1, "pair", codecs.Codec("pairs.jsonl", lambda path, _: path.touch(), lambda _: None), lambda: None)
        selection = Selection(np.arange(len(asked)), np.full(len(asked), 0.5), "nats")
        folder.run_selection(1, lambda: (selection, list(asked), [PROMPT, small_sets.PROMPT]))
        folder.discard_features(1)
        folder.close()
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
