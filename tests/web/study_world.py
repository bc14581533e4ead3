"""A served study whose batch was asked by hand."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import made_by_hand
import small_study
from duelist import Study
from duelist.annotators.people import People, PeopleConfig
from duelist.store.row_codecs import AskedQuestion
from duelist.web.ledger import Ledger
from duelist.web.served_study import ServedStudy, ledger_url
from duelist.web.sql_ledger import SqlLedger


def pairs(count: int) -> list[AskedQuestion]:
    """So many pairs of round 1."""
    return made_by_hand.pairs_on(small_study.PROMPT, count)


def asked_study(path: Path, asked: list[AskedQuestion], **people: Any) -> None:
    """Make a study whose first round asked people these questions."""
    made_by_hand.make_study(path, asked, [small_study.PROMPT], annotator={"name": "people", **people})


@contextmanager
def served(path: Path, events: Ledger | None = None) -> Iterator[ServedStudy]:
    """The study in a folder, with its desk and the given ledger or the folder's; nothing is computed."""
    with Study.open(path) as study:
        assert study.recipe.annotator is not None
        annotator = study.recipe.annotator.build()
        config = annotator.config if isinstance(annotator, People) else PeopleConfig()
        with closing(SqlLedger(ledger_url(path))) as ledger:
            yield ServedStudy(study, events or ledger, config)
