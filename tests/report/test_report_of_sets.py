"""The report and the status of a study whose questions have more than two responses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from test_page import Page

import small_sets
from duelist.report.page import write_report
from duelist.report.record import read_arm, selected
from duelist.report.status import status
from duelist.types import Answer


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sets") / "study"
    one, two = (small_sets.questions_of(1)[i].question.id for i in (0, 1))
    small_sets.finished(
        folder,
        extra=[
            Answer(one, "cy", outcome="all_good", id="good"),
            Answer(two, "cy", best=small_sets.ids(1, 1)[0], worst=small_sets.ids(1, 1)[3], id="agrees"),
        ],
    )
    return folder


def test_numbers_about_what_was_selected(study: Path) -> None:
    first, second = selected(read_arm(study))
    assert (first.round, second.round, first.answered, first.prompts) == (1, 2, 5, 1)
    assert first.margin_B.tolist() == [1.0, 1.0, 1.0, 1.0, 0.25]
    # The ranking's 5 pairs, the best's 3 and the pair's 1 agree with the rewards; of the stopped ranking's 3, the two
    # over lower rewards; none of the 5 of the turned best and worst. Round 1 has 5 more that agree.
    assert second.ranked == 5 + 5 + 3 + 3 + 1 and second.ranking_accuracy == pytest.approx(11 / 17)
    assert first.ranked == 22 and first.ranking_accuracy == pytest.approx(16 / 22)
    # The first response is the shortest, so what agrees with the rewards has the shorter one win.
    assert second.longer_wins == pytest.approx(6 / 17) and second.unequal == 17
    lengths = [len(r.token_ids) for i in range(5) for r in small_sets.responses_of(1, i)]
    assert first.length == pytest.approx(sum(lengths) / len(lengths))
    assert {k: n for k, n in first.outcomes.items() if n} == {"a": 1, "decided": 5, "all_good": 1} or {
        k: n for k, n in first.outcomes.items() if n
    } == {"b": 1, "decided": 5, "all_good": 1}


def test_the_page_shows_each_question_and_what_was_said_of_it(study: Path) -> None:
    page = Page(write_report(study))
    assert "Round 2: 5 questions, in pick order" in page.of("h3.")
    assert page.of("summary.")[:2] == ["1 more of round 2", "Round 1: 5 questions, in pick order"]
    asked = small_sets.questions_of(1)[0].question
    place = {r.id: str(n) for n, r in enumerate(asked.responses, start=1)}
    best, *middle, worst = (place[r] for r in small_sets.ids(1, 0))
    equal = " = ".join([middle[1], middle[0]])  # as the annotator named them
    assert f"{best} > {equal} > {worst} by ann in 20.5 s" in " ".join(page.text.split())
    words = " ".join(page.text.split())
    for said in (
        "all good by cy",
        "> the rest by bob",
        "best ",
        ", worst ",
        "largest margin 1.000",
        "5 questions a round",
    ):
        assert said in words
    for i in range(5):
        for response in small_sets.responses_of(1, i):
            assert response.text in words
    assert "asked questions by round" in words and "decided" in words and "all good" in words
    assert "Finished: 2 of 2 rounds closed, 12 labels." in words


def test_the_best_responses_are_marked(study: Path) -> None:
    page = Page(write_report(study))
    marked = page.source.count('class="chosen-one"')
    # Each of two rounds: one best of the ranking, of the best and worst, of the best, of the stopped one, of the pair;
    # in round 1 a second annotator named another best.
    assert marked == 11


def test_status_counts_answers_and_fits_the_time_of_the_most_frequent_type(study: Path, tmp_path: Path) -> None:
    now = status(study)
    assert (now["rounds_closed"], now["labels"], now["pending"], now["reading_time"]) == (2, 12, None, None)
    assert "damage" not in now
    json.dumps(now)
    folder = small_sets.begun(tmp_path / "study")
    folder.store.add_answers(small_sets.answers_of(1)[:2])
    folder.close()
    assert status(tmp_path / "study")["pending"] == {"round": 1, "asked": 5, "answered": 2}
    words = " ".join(Page(write_report(tmp_path / "study")).text.split())
    assert "In progress: round 1 of 2 (5 questions asked, 2 answered)" in words
    folder = small_sets.begun(tmp_path / "timed")
    asked = small_sets.questions_of(1)[0].question
    order = [r.id for r in asked.responses]
    folder.store.add_answers([Answer(asked.id, f"person {i}", order, seconds=30.0) for i in range(25)])
    folder.close()
    assert status(tmp_path / "timed")["reading_time"]["times"] == 25
