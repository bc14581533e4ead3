"""Report on the people who answered a study: what they were shown and said, from the ledger or from the labels."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

from sqlalchemy import URL

from duelist.cascade.page import people_at_the_page
from duelist.people.summary import people_report
from duelist.recipe.reading import saved_recipe
from duelist.store.layout import require_study
from duelist.store.recipe_file import read_recipe
from duelist.store.row_codecs import AskedQuestion
from duelist.store.store import Store
from duelist.web.gold_file import read_gold
from duelist.web.items import GoldItem
from duelist.web.record import derive
from duelist.web.sql_ledger import read_events
from duelist.web.study_items import label_of


def rows_of(folder: Path, ledger: str | URL) -> list[dict[str, Any]]:
    """Return a row per statistic of the people who answered a study (`PeopleReport.as_rows`).

    Of people at the page, every act that stands counts: gold questions and repeats too, which are no part of agreement.
    Of labels told otherwise, those of the study. Only pairs count.

    Raises:
        StorageError: if there is no study in the folder, or it cannot be read.
    """
    require_study(folder)
    with closing(Store(folder, migrate=False)) as store:
        asked = [x for x in store.asked() if x.round > 0]  # of round 0: known before
        labels = [x for x in store.current_labels() if x.votes is None]
        recipe = saved_recipe(store.recipe() or read_recipe(folder))
    acts = [a for a in derive(read_events(ledger)).acts.values() if a.counts and not a.undone]
    acts.sort(key=lambda a: a.purpose != "repeat")  # the last vote counts in agreement: that is the study's label
    people = people_at_the_page(recipe)
    path = None if people is None else people.gold
    gold = {g.item.id: g for g in read_gold(str(path))} if path else {}
    pairs = {x.question.id: x.question for x in asked if x.question.k == 2}
    sides = {i: (q.a.id, q.b.id) for i, q in pairs.items()} | {i: g.item.response_ids for i, g in gold.items()}
    votes = [label_of(a, *sides[a.question_id]) for a in acts if len(sides.get(a.question_id, ())) == 2]
    at_the_page = {v.id for v in votes}
    votes += [x for x in labels if x.id not in at_the_page and x.pair_id in pairs]
    right = {i: _right(g) for i, g in gold.items()}
    return people_report(votes, right, _random(asked, recipe.initial_random)).as_rows()


def _random(asked: list[AskedQuestion], initial_random: int) -> set[str]:
    """Return the questions that were drawn at random before the rule began."""
    return {x.question.id for x in asked[:initial_random]}


def _right(gold: GoldItem) -> str:
    if gold.outcome != "prefer":
        return gold.outcome
    return "ab"[gold.item.response_ids.index(gold.chosen)]
