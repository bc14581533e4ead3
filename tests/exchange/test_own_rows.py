"""This package's own CSV and JSON Lines, out and back in."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from exchange_world import pairs, study_of, written
from hypothesis import given
from hypothesis import strategies as st

import small_sets
from duelist import Study
from duelist.exchange.files import plain_cell
from duelist.judgement import Judgement
from duelist.store.artifacts import write_jsonl
from duelist.store.export import _cell, csv_text, label_rows
from duelist.store.store import Store
from duelist.types import Answer, Label, Retraction, Votes

ASKED = [x.question.id for x in pairs(7)]
NUMBER = st.text(alphabet="'=+-@\t\rab", max_size=4)
ACTS: list[Label | Answer | Retraction] = [
    Label(ASKED[0], "=ann", "a", "'=x1", 2.5, "ba", "2026-01-31T12:00:00+00:00"),
    Label(ASKED[0], "=ann", "b", "x2"),  # the one that counts
    Label(ASKED[1], "crowd", "b", "x3", votes=Votes(1, 4, 2)),
    Label(ASKED[2], "bob", "both_bad", "x4", better='say, "this"\nand that'),
    Label(ASKED[3], "bob", "tie", "x5", adjudicates=True),
    Retraction(ASKED[3], "bob", "x5", "x6"),
    Label(ASKED[4], "judge", "inconsistent", "x7", judgement=Judgement((0.9, 0.1, 0.0), (0.1, 0.9, 0.0), 10, 2, 0.5)),
    Label(ASKED[5], "judge", "a", "x8", judgement=Judgement((0.9, 0.1, 0.0), (0.8, 0.2, 0.0)), advisory=True),
]


def exported(store: Store, path: Path) -> Path:
    if path.suffix == ".csv":
        path.write_text(csv_text(store), encoding="utf-8")
    else:
        write_jsonl(path, label_rows(store))
    return path


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_every_act_comes_back(study: Study, template: Path, ending: str, tmp_path: Path) -> None:
    study.store.add_answers(ACTS)
    file = exported(study.store, tmp_path / f"labels.{ending}")
    again = study.import_labels(file)
    assert (again.labels, again.repeated, again.problems) == (0, len(ACTS), ())
    import shutil

    shutil.copytree(template, tmp_path / "copy")
    with Study.open(tmp_path / "copy") as copy:
        report = copy.import_labels(file)
        assert (report.labels, report.problems) == (len(ACTS), ())
        assert sorted(copy.store.acts(), key=lambda x: x.id) == sorted(ACTS, key=lambda x: x.id)
        assert copy.store.current_answers() == study.store.current_answers()


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_answers_to_larger_questions_come_back(ending: str, tmp_path: Path) -> None:
    asked = small_sets.questions_of(1)
    with study_of(tmp_path / "one", asked) as one, study_of(tmp_path / "other", asked) as other:
        one.store.add_answers(small_sets.answers_of(1))
        report = other.import_labels(exported(one.store, tmp_path / f"labels.{ending}"))
        assert (report.labels, report.problems) == (5, ())
        assert other.store.current_answers() == one.store.current_answers()


def rows_of(store: Store) -> Iterator[dict[str, Any]]:
    return csv.DictReader(io.StringIO(csv_text(store)))


def test_a_sheet_that_people_filled_in(study: Study, tmp_path: Path) -> None:
    rows = list(rows_of(study.store))
    assert len(rows) == 7 and not any(r["outcome"] for r in rows)
    for row, outcome in zip(rows, ("a", "tie", "skip", "better", "a", "b"), strict=False):
        row |= {"annotator": "ann", "outcome": outcome, "seconds": "3"}
    rows[4]["seconds"] = "soon"
    rows[5]["annotator"] = ""
    rows.append({**rows[0], "outcome": "b"})
    target = io.StringIO()
    writer = csv.DictWriter(target, rows[0])
    writer.writeheader()
    writer.writerows(rows)
    file = tmp_path / "sheet.csv"
    file.write_text(target.getvalue() + "1,2,3\n", encoding="utf-8-sig")
    for labels, repeated in ((3, 0), (0, 3)):
        report = study.import_labels(file)
        assert (report.labels, report.repeated) == (labels, repeated)
        outcome, seconds, annotator, conflict, cells = report.problems
        assert "'better'" in outcome.message and "`seconds`" in seconds.message and "annotator" in annotator.message
        assert "answers question" in conflict.message and "as many cells" in cells.message
        assert outcome.where.startswith("line ")
    assert [(x.outcome, x.seconds) for x in study.store.labels()] == [("a", 3.0), ("tie", 3.0), ("skip", 3.0)]


def test_rows_as_tell_reads_them(study: Study, tmp_path: Path) -> None:
    rows = [{"pair_id": ASKED[0], "annotator": "ann", "outcome": "a"}, {"question_id": ASKED[1], "annotator": "ann"}]
    rows += [{"pair_id": ASKED[2], "annotator": "ann", "outcome": "b", "shown": [1, 2]}, {"pair": 1}]  # type: ignore[dict-item]
    file = written(tmp_path / "told.jsonl", rows)
    file.write_text(file.read_text() + "{broken\n[1]\n", encoding="utf-8")
    report = study.import_labels(file)
    assert report.labels == 1  # the second row has no decision
    shown, pair, broken, listed = (p.message for p in report.problems)
    assert "shown" in shown and "`question_id` or `pair_id`" in pair and "JSON object" in broken and "list" in listed


def test_people_do_not_label_what_a_cascades_judge_took(study: Study, tmp_path: Path) -> None:
    opinion = Judgement((0.9, 0.1, 0.0), (0.9, 0.1, 0.0))
    judged = [Label(i, "judge", "a", f"j{i}", judgement=opinion, advisory=i == ASKED[1]) for i in ASKED[:2]]
    study.folder.run_prelabelling(1, lambda: (judged, {}))
    given = [{"pair_id": i, "annotator": "ann", "outcome": "b"} for i in ASKED[:2]]
    report = study.import_labels(given)
    assert report.labels == 1 and "has the judge's label" in report.problems[0].message
    assert [x.pair_id for x in study.store.labels() if x.annotator == "ann"] == [ASKED[1]]
    again = study.import_labels(exported(study.store, tmp_path / "all.csv"))
    assert (again.repeated, again.problems) == (3, ())


def test_an_id_stands_for_one_act(study: Study, tmp_path: Path) -> None:
    row = {"pair_id": ASKED[0], "annotator": "ann", "outcome": "a", "id": "x"}
    assert study.import_labels(written(tmp_path / "a.jsonl", [row])).labels == 1
    report = study.import_labels(written(tmp_path / "b.jsonl", [{**row, "outcome": "b"}, {**row, "outcome": "b"}]))
    changed, twice = (p.message for p in report.problems)
    assert "Id x is recorded with another answer ('a')" in changed and "again (id x)" in twice


@given(NUMBER)
def test_guarded_cells_come_back(text: str) -> None:
    """Of anything that begins like a formula, or like a guarded one."""
    cell = _cell(text)
    assert plain_cell(cell) == text and not cell.startswith(("=", "+", "-", "@", "\t", "\r"))
