"""Labels as a `datasets.Dataset` in TRL's preference format, and from one."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import datasets
import pytest
from exchange_world import pairs, study_of
from trl.data_utils import is_conversational

import small_sets
from duelist import Study, parse_recipe
from duelist.errors import DataError
from duelist.types import Label, Preference, Votes

ASKED = [x.question for x in pairs(7)]
LABELS = [
    Label(ASKED[0].id, "ann", "a"),
    Label(ASKED[0].id, "bob", "b"),
    Label(ASKED[0].id, "eve", "b"),
    Label(ASKED[1].id, "ann", "b"),
    Label(ASKED[2].id, "ann", "tie"),
    Label(ASKED[3].id, "ann", "both_bad", better="say yes"),
    Label(ASKED[4].id, "ann", "skip"),
]


def decided(study: Study) -> list[tuple[str, str, str]]:
    items = [x for x in study.store.decisions() if isinstance(x, Preference)]
    return [(x.pair_id, x.annotator, x.chosen.text) for x in items]


def test_a_dataset_holds_every_preference(study: Study) -> None:
    study.tell(LABELS)
    found = study.to_dataset()
    assert isinstance(found, datasets.Dataset)
    assert found.column_names == ["prompt", "chosen", "rejected", "question_id", "annotator", "share", "weight"]
    assert all(map(is_conversational, found))
    texts = [(r["question_id"], r["annotator"], r["chosen"][0]["content"]) for r in found]
    assert texts[:4] == decided(study) and len(found) == 6, "and the written answer is preferred to both"
    written = [r for r in found if r["question_id"] == ASKED[3].id]
    assert [r["chosen"][0]["content"] for r in written] == ["say yes"] * 2
    assert [r["rejected"][0]["content"] for r in written] == [r.text for r in ASKED[3].responses]


def test_votes_may_be_one_row(study: Study) -> None:
    study.tell([*LABELS, Label(ASKED[5].id, "crowd", "b", votes=Votes(1, 3))])
    (majority,) = (r for r in study.to_dataset(votes="majority") if r["question_id"] == ASKED[0].id)
    assert majority["chosen"][0]["content"] == ASKED[0].b.text and majority["annotator"] == "ann+bob+eve"
    soft = {r["question_id"]: r["share"] for r in study.to_dataset(votes="soft", ties=True)}
    assert (
        soft[ASKED[5].id] == 0.75
        and soft[ASKED[2].id] == 0.5
        and ASKED[2].id not in {r["question_id"] for r in study.to_dataset(votes="soft")}
    )


def test_a_dataset_comes_back_as_labels_of_the_asked_pairs(study: Study, template: Path, tmp_path: Path) -> None:
    study.tell([x for x in LABELS if x.better is None])
    dataset = study.to_dataset(ties=True)
    again = study.import_labels(dataset)
    assert (again.labels, again.repeated, again.problems) == (0, 5, ())
    shutil.copytree(template, tmp_path / "copy")
    dataset.to_parquet(tmp_path / "preferences.parquet")
    dataset.to_json(tmp_path / "preferences.jsonl")
    with Study.open(tmp_path / "copy") as copy:
        report = copy.import_labels(dataset)
        assert (report.labels, report.problems) == (5, ())
        assert copy.to_dataset(ties=True).to_list() == dataset.to_list()
        for file in ("preferences.parquet", "preferences.jsonl"):
            report = copy.import_labels(tmp_path / file)
            assert (report.labels, report.repeated, report.problems) == (0, 5, ())


def test_rows_that_are_no_labels_of_this_study(study: Study) -> None:
    study.tell(LABELS[:1])
    row = study.to_dataset()[0]
    rows: list[Any] = [
        {**row, "annotator": "bob", "chosen": row["rejected"], "rejected": row["chosen"]},
        {**row, "chosen": row["rejected"], "rejected": row["chosen"]},
        {**row, "share": 0.75},
        {**row, "chosen": [{"role": "assistant", "content": "something else"}]},
        {**row, "chosen": [{"role": "user", "content": "?"}]},
    ]
    report = study.import_labels(rows)
    contradiction, share, message, unknown = (p.message for p in report.problems)
    assert report.labels == 1 and "has answered question" in contradiction and "0.75" in share
    assert "assistant message" in message and "`known`" in unknown


def test_ranked_questions_give_weighted_pairs_that_are_no_labels(tmp_path: Path) -> None:
    asked = small_sets.questions_of(1)
    with study_of(tmp_path / "study", asked) as study:
        study.tell(small_sets.answers_of(1))
        rows = study.to_dataset().to_list()
        ranking = [r for r in rows if r["question_id"] == asked[0].question.id]
        assert len(ranking) == 5 and len({r["weight"] for r in ranking}) == 1 and ranking[0]["weight"] < 1
        report = study.import_labels(rows)
        assert report.labels == 0 and report.repeated == 1 and len(report.problems) == len(rows) - 1


def row(i: int, **more: Any) -> dict[str, Any]:
    answers = {k: [{"role": "assistant", "content": v}] for k, v in (("chosen", f"w{i} w2"), ("rejected", "w3"))}
    return {"prompt": [{"role": "user", "content": f"w{i} w39"}], **answers, **more}


def test_before_round_one_a_dataset_is_known(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    """From one study to another: what the first knows, the second need not ask."""
    dataset = datasets.Dataset.from_list([row(i, annotator="ann", weight=2.0) for i in range(4)])
    with Study.create(tmp_path / "study", parse_recipe({**tiny_recipe, "acquisition": {"name": "random"}})) as study:
        wrong = {**row(9), "rejected": row(9)["chosen"]}
        report = study.import_labels([*dataset, wrong])
        assert (report.labels, report.known, len(report.problems)) == (0, 4, 1)
        again = study.import_labels(dataset)
        assert (again.known, again.repeated, again.problems) == (0, 4, ())
        more = study.import_labels([row(5)])
        assert more.known == 1 and [x.position for x in study.store.asked(0)] == [0, 1, 2, 3, 4]
        study.ask()
        assert [p.pair_id for p in study.store.decisions()] == sorted(x.question.id for x in study.store.asked(0))
        late = study.import_labels([*dataset, row(6)])
        assert (late.known, late.repeated) == (0, 4) and "round 1 has begun" in late.problems[0].message
        found = study.to_dataset().remove_columns(["question_id", "share"]).to_list()
        assert sorted(found, key=str) == sorted([*dataset, row(5, annotator="known", weight=1.0)], key=str)


def test_what_is_no_source_is_refused(study: Study) -> None:
    for given, message in ((3, "int"), ([], "none"), ([{"text": 1}], "text")):
        with pytest.raises(DataError, match=message):
            study.import_labels(given)
