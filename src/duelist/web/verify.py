"""Check of a study against itself: artifacts by their digests, labels against the ledger, files against the record."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from sqlalchemy import URL

from duelist.labels import JUDGE_OUTCOMES
from duelist.store.artifacts import digest
from duelist.store.codecs import FEATURES
from duelist.store.damage import damage
from duelist.store.layout import require_study
from duelist.store.recipe_file import read_recipe
from duelist.store.store import Store
from duelist.types import Answer, Label, Question, Retraction
from duelist.web.answer_sync import trained_on
from duelist.web.ledger import Event
from duelist.web.record import Act, derive
from duelist.web.sql_ledger import read_events
from duelist.web.study_items import answer_of
from duelist.web.verification import findings


def verify(folder: Path, ledger: str | URL | None = None) -> list[str]:
    """Return what is wrong with a study, one sentence a finding; nothing is written.

    While people answer, the newest answers may not be among the labels yet: they are told within a second.

    Args:
        folder: the study.
        ledger: the URL of the ledger of what people did; None if it lies in the folder, or if there is none.

    Raises:
        StorageError: if there is no study in the folder, or its database or ledger cannot be read.
    """
    require_study(folder)
    with closing(Store(folder, migrate=False)) as store:
        events = [] if ledger is None else read_events(ledger)  # first: labels told meanwhile are no finding
        found = damage(folder, store, store.recipe() or read_recipe(folder))
        found += _artifacts(folder, store)
        found += _ledger(events, {x.question.id: x.question for x in store.asked()}, store.acts())
    return found


def _artifacts(folder: Path, store: Store) -> Iterator[str]:
    stages = store.stages()
    selected = {s.round for s in stages if s.name == "select"}
    for stage in stages:
        path = folder / stage.artifact
        if path.name == FEATURES.file and stage.round in selected:
            continue  # deleted once the selection is recorded
        if not path.exists():
            yield f"{stage.artifact} (stage {stage.name!r} of round {stage.round}) is gone"
        elif digest(path) != stage.digest:
            yield f"{stage.artifact} (stage {stage.name!r} of round {stage.round}) is not what the stage wrote"


def _ledger(
    events: list[Event], questions: dict[str, Question], told: list[Label | Answer | Retraction]
) -> Iterator[str]:
    """Yield where the study's labels are not those that follow from the ledger."""
    if not events:
        return
    if inconsistent := findings(events):
        yield from (f"ledger: {line}" for line in inconsistent)
        return  # nothing follows from it
    acts = derive(events).acts
    labels = {x.id: x for x in told if not isinstance(x, Retraction)}
    retracted = {x.retracts for x in told if isinstance(x, Retraction)}
    for act in acts.values():
        if act.question_id not in questions:
            continue
        where = f"answer {act.id} of {act.annotator} to {act.question_id}"
        label = labels.get(act.answer_id)
        if label is None:
            if trained_on(act):
                yield f"{where} counts, but is not among the labels: `duelist annotate` adds it when it goes on"
            continue
        if label != answer_of(act, questions[act.question_id]):
            yield f"{where} is among the labels with other content"
        if act.undone != (act.answer_id in retracted):
            yield f"{where} {'was undone, but is' if act.undone else 'was not undone, but is not'} among the labels"
    yield from _unknown(labels, acts)


def _unknown(labels: dict[str, Label | Answer], acts: dict[str, Act]) -> Iterator[str]:
    people = {act.annotator for act in acts.values()}
    known = {act.answer_id for act in acts.values()}
    for label in labels.values():
        if label.annotator in people and label.id not in known and label.outcome not in JUDGE_OUTCOMES:
            yield f"label {label.id} of {label.annotator} is not in the ledger: it was told without the server"
