"""A study whose first batch was asked by hand, without a model: for tests of what people answer, not of training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import small_study
from duelist.recipe.reading import parse_recipe
from duelist.recipe.recipe import recipe_content
from duelist.store import codecs
from duelist.store.opening import create_folder
from duelist.store.row_codecs import AskedQuestion
from duelist.types import Features, Prompt, Question, Response, Selection

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


def pairs_on(prompt: Prompt, count: int, ending: str = "") -> list[AskedQuestion]:
    """So many pairs of round 1."""
    made = [[Response.of(prompt, f"{w} {i}{ending}", [1], [2, 3], 1) for w in ("yes", "no")] for i in range(count)]
    return [AskedQuestion(Question.pair(a, b, 1), 1, i, 0.5, "nats", 0.1) for i, (a, b) in enumerate(made)]


def make_study(path: Path, asked: Sequence[AskedQuestion], prompts: Sequence[Prompt], **changes: Any) -> None:
    """Make a study whose first round asked these questions."""
    folder = create_folder(path, recipe_content(parse_recipe(RECIPE | {"budget": len(asked)} | changes)))
    small_study.close(folder, 0)
    folder.run(1, "featurize", codecs.FEATURES, lambda: Features.identities([]))
    folder.run(1, "pair", codecs.Codec("pairs.jsonl", lambda path, _: path.touch(), lambda _: None), lambda: None)
    selection = Selection(np.arange(len(asked)), np.full(len(asked), 0.5), "nats")
    folder.run_selection(1, lambda: (selection, list(asked), list(prompts)))
    folder.discard_features(1)
    folder.close()
