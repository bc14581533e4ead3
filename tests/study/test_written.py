"""Better answers that people wrote: which give preferences, in training and in exports, and how steps keep them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from duelist.progress import Silent
from duelist.store.decisions import decision_from, decision_json
from duelist.store.export import preference_rows
from duelist.store.row_codecs import AskedQuestion, Stage
from duelist.store.store import Store
from duelist.study.training_items import training_items
from duelist.trainers.base import TrainingPlan
from duelist.types import Label, Preference, Prompt, Question, Response

PROMPT, OTHER = Prompt.of("one prompt"), Prompt.of("another prompt")
PLAN = TrainingPlan("all", "continue", "initial")


def response(text: str, prompt: Prompt = PROMPT) -> Response:
    return Response.of(prompt, text, [1], [2, 3], 1)


PAIR = Question.pair(response("poor"), response("worse"), 1, drawn_from=("policy", "reference"))
SECOND = Question.pair(response("bad"), response("dull"), 1)
CROSSING = Question.pair(response("here"), response("there", OTHER), 1)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    found = Store(tmp_path)
    asked = [AskedQuestion(q, 1, i, 0.5, "nats", 0.1) for i, q in enumerate((PAIR, SECOND, CROSSING))]
    found.finish_stage(Stage(1, "select", "x", "00", 0.1, {}), asked, [PROMPT, OTHER])
    yield found
    found.close()


def tell(store: Store, question: Question, who: str, better: str | None = None, **more: Any) -> None:
    outcome = more.pop("outcome", "both_bad")
    store.add_answers([Label(question.id, who, outcome, better=better, **more)])


def items(store: Store, **plan: Any) -> tuple[Preference, ...]:
    return training_items(replace(PLAN, **plan), store, range(1, 2), lambda: None, Silent()).decisions  # type: ignore[return-value]


def texts(found: tuple[Preference, ...]) -> set[tuple[str, str]]:
    return {(p.chosen.text, p.rejected.text) for p in found}


def exported(store: Store) -> set[tuple[str, str]]:
    return {(row["chosen"], row["rejected"]) for row in preference_rows(store)}


def test_a_written_answer_is_preferred_to_both_responses_in_training_and_exports(store: Store) -> None:
    tell(store, PAIR, "ann", "good")
    tell(store, SECOND, "ann", outcome="a")
    expected = {("good", "poor"), ("good", "worse"), (SECOND.a.text, SECOND.b.text)}
    assert texts(items(store)) == exported(store) == expected
    origins = {p.rejected.text: p.drawn_from for p in items(store) if p.chosen.text == "good"}
    assert origins == {"poor": ("written", "policy"), "worse": ("written", "reference")}


def test_a_written_answer_that_says_nothing_gives_nothing(store: Store) -> None:
    """An own response written again, and a pair across prompts, whose answer has no known prompt."""
    tell(store, PAIR, "ann", "poor")
    tell(store, CROSSING, "ann", "good")
    assert texts(items(store)) == exported(store) == {("poor", "worse")}


def test_an_adjudicator_replaces_what_others_wrote(store: Store) -> None:
    tell(store, PAIR, "ann", "good")
    tell(store, PAIR, "expert", outcome="a", adjudicates=True)
    assert texts(items(store)) == exported(store) == {(PAIR.a.text, PAIR.b.text)}


def test_an_overlap_that_an_adjudicator_settled_cannot_fit_reliability(store: Store) -> None:
    tell(store, PAIR, "ann", outcome="a")
    tell(store, PAIR, "bob", outcome="b")
    tell(store, SECOND, "ann", outcome="a")
    tell(store, PAIR, "expert", outcome="a", adjudicates=True)
    assert [p.annotator for p in items(store, votes="reliability")] == [
        who for _, who in sorted([(PAIR.id, "expert"), (SECOND.id, "ann")])
    ]


def test_a_step_keeps_written_answers(store: Store) -> None:
    """They are on pairs that were never asked, so the questions alone cannot give them back."""
    tell(store, PAIR, "ann", "good")
    tell(store, SECOND, "ann", "fine")
    questions = {x.question.id: x.question for x in store.asked()}
    found = items(store)
    assert len(found) == 4
    for item in found:
        value = json.loads(json.dumps(decision_json(item, questions)))
        assert decision_from(value, questions, store.prompts()) == item
