"""A served study whose batch was asked by hand, without a model: for tests of what people answer, not of training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

import small_sets
import small_study
from duelist import Study
from duelist.annotators.people import People, PeopleConfig
from duelist.recipe.recipe import parse_recipe, recipe_content
from duelist.store import codecs
from duelist.store.opening import create_folder
from duelist.store.row_codecs import AskedQuestion
from duelist.types import Features, Question, Response, Selection
from duelist.web.ledger import Ledger
from duelist.web.served_study import ServedStudy, ledger_url
from duelist.web.sql_ledger import SqlLedger

RECIPE: dict[str, Any] = {
    "name": "made by hand",
    "rounds": 2,
    "beta": 0.1,
    "prompts": {"path": "prompts.jsonl", "held_out": 1},
    "policy": {"model": "a/model"},
    "sampler": {"name": "vanilla", "responses_per_prompt": 2},
    "acquisition": {"name": "random"},
    "annotator": {"name": "people"},
    "trainer": {"name": "dpo", "train": {"learning_rate": 1e-05}},
}


def pairs(count: int) -> list[AskedQuestion]:
    """So many pairs of round 1."""
    made = [[Response.of(small_study.PROMPT, f"{w} {i}", [1], [2, 3], 1) for w in ("yes", "no")] for i in range(count)]
    return [AskedQuestion(Question.pair(a, b, 1), 1, i, 0.5, "nats", 0.1) for i, (a, b) in enumerate(made)]


def asked_study(path: Path, asked: list[AskedQuestion], **people: Any) -> None:
    """Make a study whose first round asked these questions."""
    recipe = RECIPE | {"budget": len(asked), "annotator": {"name": "people", **people}}
    folder = create_folder(path, recipe_content(parse_recipe(recipe)))
    small_study.close(folder, 0)
    folder.run(1, "featurize", codecs.FEATURES, lambda: Features.identities([]))
    selection = Selection(np.arange(len(asked)), np.full(len(asked), 0.5), "nats")
    folder.run_selection(1, lambda: (selection, asked, [small_study.PROMPT, small_sets.PROMPT][:1]))
    folder.discard_features(1)
    folder.close()


@contextmanager
def served(path: Path, events: Ledger | None = None) -> Iterator[ServedStudy]:
    """The study in a folder, with its desk and the given ledger or the folder's; nothing is computed."""
    with Study.open(path) as study:
        assert study.recipe.annotator is not None
        annotator = study.recipe.annotator.build()
        config = annotator.config if isinstance(annotator, People) else PeopleConfig()
        with closing(SqlLedger(ledger_url(path))) as ledger:
            yield ServedStudy(study, events or ledger, config)
