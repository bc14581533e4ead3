"""Answers that were given elsewhere: told to a served study all or none, known to the desk, and sound in the ledger."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from desk_world import act, task_of
from study_world import asked_study, pairs, served

import small_sets
from duelist import Study
from duelist.annotators.people import PeopleConfig
from duelist.errors import DataError, StorageError
from duelist.judgement import Judgement
from duelist.types import Answer, Label
from duelist.web.ledger import Event
from duelist.web.record import derive
from duelist.web.served_study import ServedStudy, ledger_url
from duelist.web.sql_ledger import SqlLedger, read_events
from duelist.web.study_items import answer_of, imported
from duelist.web.tasks import Wait
from duelist.web.told import read_told
from duelist.web.verify import verify

QUESTIONS = {x.question.id: x.question for x in [*pairs(3), *small_sets.questions_of(1)]}
IDS = [x.question.id for x in pairs(3)]
RANKING, BEST_WORST, BEST, _, _ = (x.question for x in small_sets.questions_of(1))


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    asked_study(
        tmp_path / "s", [*pairs(3), *(replace(x, position=3 + i) for i, x in enumerate(small_sets.questions_of(1)))]
    )
    return tmp_path / "s"


def test_told_answers_are_labels_and_take_their_places(folder: Path, tmp_path: Path) -> None:
    ranked = [r.id for r in RANKING.responses]
    rows = [
        {"pair_id": IDS[0], "annotator": "ann", "outcome": "a", "seconds": 3, "shown": "ba", "id": "x1"},
        {"question_id": IDS[1], "annotator": "ann", "outcome": "both_bad", "better": "say yes"},
        {"question_id": RANKING.id, "annotator": "bob", "ranking": [ranked[2], ranked[:2], ranked[3]], "shown": ranked},
        {"question_id": BEST.id, "annotator": "bob", "best": BEST.responses[1].id, "time": "2026-01-31T12:00:00+00:00"},
    ]
    file = write(tmp_path / "told.jsonl", *rows)
    with served(folder) as study:
        assert study.tell(file) == 4 and study.tell(file) == 0
        found = {(x.pair_id if isinstance(x, Label) else x.question_id): x for x in study.study.store.answers()}
        assert found[IDS[0]] == Label(IDS[0], "ann", "a", "x1", 3.0, "ba")
        assert found[IDS[1]] == Label(IDS[1], "ann", "both_bad", found[IDS[1]].id, better="say yes")
        ranking = found[RANKING.id]
        assert isinstance(ranking, Answer) and ranking.groups == ((ranked[2],), tuple(ranked[:2]), (ranked[3],))
        assert ranking.shown == tuple(ranked) and found[BEST.id].time == "2026-01-31T12:00:00+00:00"
        asked = {task_of(study.desk.next(f"person {i}")).item.id for i in range(4)}
        assert asked == QUESTIONS.keys() - found.keys(), "the page asks what is left"
    assert verify(folder, ledger_url(folder)) == []


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a key that is not known": ({"pair_id": IDS[0], "annotator": "x", "outcom": "a"}, "`outcom`"),
    "no annotator": ({"pair_id": IDS[0], "outcome": "a"}, "`annotator`: Field required"),
    "another question": ({"pair_id": "nothing", "annotator": "x", "outcome": "a"}, "'nothing' was never asked"),
    "two questions": ({"pair_id": IDS[0], "question_id": IDS[1], "annotator": "x", "outcome": "a"}, "2 of them"),
    "no outcome": ({"pair_id": IDS[0], "annotator": "x"}, "no `outcome`"),
    "another outcome": ({"pair_id": IDS[0], "annotator": "x", "outcome": "left"}, "must be one of a, b, tie"),
    "a ranking of a pair": ({"pair_id": IDS[0], "annotator": "x", "outcome": "a", "ranking": ["r"]}, "`ranking`"),
    "a label of a ranking": ({"question_id": RANKING.id, "annotator": "x", "outcome": "a"}, "decided, skip"),
    "half a ranking": ({"question_id": RANKING.id, "annotator": "x", "ranking": [RANKING.responses[0].id]}, "missing"),
    "who answered already": ({"pair_id": IDS[0], "annotator": "ann", "outcome": "b"}, "ann has answered"),
    "an id of another act": ({"pair_id": IDS[1], "annotator": "x", "outcome": "b", "id": "first"}, "another id"),
}  # fmt: skip


def test_a_wrong_row_is_named_by_its_line_and_nothing_is_recorded(folder: Path, tmp_path: Path) -> None:
    with served(folder) as study:
        first = {"pair_id": IDS[0], "annotator": "ann", "outcome": "a", "id": "first"}
        study.tell(write(tmp_path / "first.jsonl", first))
        events = study.journal.record.number
        for case, (row, said) in WRONG.items():
            file = write(tmp_path / "told.jsonl", {"pair_id": IDS[2], "annotator": "x", "outcome": "tie"}, row)
            with pytest.raises(DataError, match=r"line 2 of .*told\.jsonl") as found:
                study.tell(file)
            assert said in str(found.value), case
            assert study.journal.record.number == events and study.study.store.answer_count() == 1, case


def test_an_id_of_an_answer_at_the_page_is_no_other_s(folder: Path, tmp_path: Path) -> None:
    with served(folder) as study:
        task = task_of(study.desk.next("ann"))
        sent = act(task)
        study.desk.act("ann", sent)
        study.settle()
        (label,) = study.study.store.labels()
        row = {"pair_id": label.pair_id, "annotator": "ann", "outcome": label.outcome, "id": label.id}
        row |= {"seconds": label.seconds, "shown": label.shown, "time": label.time}
        assert study.tell(write(tmp_path / "again.jsonl", row)) == 0, "what was exported may be told again"
        for changed in ({"annotator": "bob"}, {"pair_id": next(i for i in IDS if i != label.pair_id)}):
            with pytest.raises(DataError, match=r"line 1 of .*told\.jsonl.*another id"):
                study.tell(write(tmp_path / "told.jsonl", row | changed))
        assert study.study.store.labels() == [label]
    assert verify(folder, ledger_url(folder)) == []


def test_files_that_cannot_be_told(tmp_path: Path) -> None:
    for file, said in ((tmp_path / "none.jsonl", "there is none"), (write(tmp_path / "empty.jsonl"), "has none")):
        with pytest.raises(DataError, match=said):
            read_told(file, QUESTIONS)


def test_labels_told_without_the_server_are_not_asked_again(folder: Path) -> None:
    labels = [Label(IDS[0], "zoe", "a"), Label(IDS[1], "zoe", "b", seconds=2.5, shown="ab")]
    with Study.open(folder) as study:
        study.tell(labels)
    for _ in range(2):  # it is noted once
        with served(folder) as served_study:
            assert task_of(served_study.desk.next("ann")).item.id == IDS[2]
            assert served_study.study.store.answers() == labels
    assert verify(folder, ledger_url(folder)) == []
    acts = derive(read_events(ledger_url(folder))).acts
    assert [a.answer_id for a in acts.values()] == [x.id for x in labels]


def test_whatever_is_imported_comes_back_as_it_was() -> None:
    answers: list[Label | Answer] = [
        *small_sets.answers_of(1),
        *(replace(x, adjudicates=True, id=f"{x.id}-adjudicated") for x in small_sets.answers_of(1)),
        Label(IDS[0], "ann", "b", shown="ba", seconds=0.5, time="2026-01-31T12:00:00+00:00"),
        Label(IDS[1], "ann", "both_bad", better="say yes", adjudicates=True),
        Label(IDS[0], "judge", "a", judgement=Judgement((0.8, 0.1, 0.1), (0.7, 0.2, 0.1), 10, 2, 0.25)),
        *(Label(IDS[0], "ann", outcome) for outcome in ("tie", "skip", "both_good")),  # type: ignore[arg-type]
        *(Answer(RANKING.id, "bob", outcome=x, replaces="old") for x in ("skip", "all_bad", "all_good")),  # type: ignore[arg-type]
    ]
    for answer in answers:
        question = QUESTIONS[answer.pair_id if isinstance(answer, Label) else answer.question_id]
        as_recorded = json.loads(json.dumps(dict((one := imported(answer, question)).sent)))
        body = {"task_id": "", "round": 1, "purpose": one.purpose, "counts": True, "note": "", "act": as_recorded}
        event: dict[str, Any] = {"annotator": one.annotator, "question_id": one.question_id, "body": body, "number": 1}
        ledger_act = derive([Event(f"imported-{answer.id}", "imported", **event)]).acts[f"imported-{answer.id}"]
        assert answer_of(ledger_act, question) == answer


def test_a_ledger_of_another_study_is_refused(folder: Path, tmp_path: Path) -> None:
    asked_study(tmp_path / "other", small_sets.questions_of(1))
    with served(folder) as study:
        study.desk.next("ann")
    with Study.open(tmp_path / "other") as other:
        ledger = SqlLedger(ledger_url(folder))
        with pytest.raises(StorageError, match="a database of its own"):
            ServedStudy(other, ledger, PeopleConfig())
        ledger.close()


def test_an_adjudicator_s_answer_is_trained_on_instead_of_the_others(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    asked_study(folder, small_sets.questions_of(1)[:3], labels=2)
    with served(folder) as study:
        for who, turn in (("ann", 1), ("bob", -1)):
            for _ in range(3):
                task = task_of(study.desk.next(who))
                order = list(task.item.response_ids)[::turn]
                study.desk.act(who, answered(task, order))
        while not isinstance(found := study.desk.next("eve", mode="adjudicate"), Wait):
            study.desk.act("eve", answered(found, list(found.item.response_ids)))
        study._sync.run()
        store = study.study.store
        assert len(store.answers()) == 9
        assert [(d.annotator, d.ranks) for d in store.decisions()] == [  # type: ignore[union-attr]
            ("eve", rank) for rank in sorted_ranks(study.study)
        ]
        assert sum(x.adjudicates for x in store.answers()) == 3
    assert verify(folder, ledger_url(folder)) == []


def test_an_adjudicator_who_skips_leaves_the_question_to_the_others(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    asked_study(folder, pairs(1), labels=2)
    with served(folder) as study:
        for who, side in (("ann", 0), ("bob", 1)):
            task = task_of(study.desk.next(who))
            study.desk.act(who, act(task, chosen=task.item.response_ids[side]))
        study.desk.act("eve", act(task_of(study.desk.next("eve", mode="adjudicate")), "skip"))
        assert isinstance(study.desk.next("eve", mode="adjudicate"), Wait)
        study.settle()
        assert {d.annotator for d in study.study.store.decisions()} == {"ann", "bob"}
        task = task_of(study.desk.next("fay", mode="adjudicate"))
        study.desk.act("fay", act(task))
        study.settle()
        assert {d.annotator for d in study.study.store.decisions()} == {"fay"}
    assert verify(folder, ledger_url(folder)) == []


def answered(task: Any, order: list[str]) -> dict[str, Any]:
    asks = task.item.asks
    return act(task, "ranked") | {
        "ranking": [[i] for i in order] if asks == "ranking" else None,
        "best": None if asks == "ranking" else order[0],
        "worst": order[-1] if asks == "best_worst" else None,
    }


def sorted_ranks(study: Study) -> list[tuple[int, ...]]:
    """The ranks of the answer `a before b before …`, by question id."""
    ranks = {"ranking": (0, 1, 2, 3), "best_worst": (0, 1, 1, 2), "best_of_k": (0, 127, 127, 127)}
    return [ranks[x.question.asks] for x in sorted(study.store.asked(), key=lambda x: x.question.id)]


def test_a_judges_labels_are_answers_unless_it_contradicts_itself(tmp_path: Path) -> None:
    """An unusable verdict takes nobody's place: the question still waits for people, and nothing is wrong with it."""
    asked_study(tmp_path / "judged", pairs(3))
    sure, other = (0.8, 0.1, 0.1), (0.1, 0.8, 0.1)
    said = [
        Label(IDS[0], "judge", "a", judgement=Judgement(sure, sure)),
        Label(IDS[1], "judge", "inconsistent", judgement=Judgement(sure, other)),
        Label(IDS[2], "judge", "unparsed", judgement=Judgement(sure, None)),
    ]
    with Study.open(tmp_path / "judged") as study:
        study.tell(said)
    for _ in range(2):
        with served(tmp_path / "judged") as study:
            assert study.desk.rounds.unfinished(1) == 2
            assert verify(tmp_path / "judged", ledger_url(tmp_path / "judged")) == []
    with Study.open(tmp_path / "judged") as study:
        assert sorted(study.store.current_labels(), key=lambda x: IDS.index(x.pair_id)) == said
