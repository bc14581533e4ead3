"""The annotator `judge`: a study that it labels, what it records, and that nothing of it is taken for a preference."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from duelist import Study
from duelist.annotators.judge import JudgeAnnotator
from duelist.cli.console import status_rows
from duelist.errors import RecipeError
from duelist.judgement import Judgement
from duelist.judges.config import JudgeConfig
from duelist.judges.summary import judges_of
from duelist.people.aggregation import aggregate
from duelist.people.agreement import pairwise_agreement
from duelist.people.habits import self_consistency, speed
from duelist.people.reliability import dawid_skene
from duelist.people.summary import people_report
from duelist.people.votes import ballots
from duelist.progress import Silent
from duelist.recipe.reading import parse_recipe
from duelist.report.page import write_report
from duelist.report.status import status
from duelist.types import Batch, Label, Prompt, Question, Response

SOURCE = '''
def judge(prompts, first, second, **columns):
    """Prefers the text that sorts first; every third pair by place, every fifth not at all."""
    found = []
    for a, b in zip(first, second):
        kind = sum(map(ord, a + b)) % 5
        if kind == 0:
            found.append(None)
        elif kind == 1:
            found.append((0.7, 0.2, 0.1))
        else:
            found.append((0.8, 0.1, 0.1) if a < b else (0.1, 0.8, 0.1))
    return found
'''


@pytest.fixture
def recipe(tiny_recipe: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    file = tmp_path / "my_judge.py"
    file.write_text(SOURCE, encoding="utf-8")
    return tiny_recipe | {"annotator": {"name": "judge", "function": f"{file}:judge"}, "budget": 12}


def test_a_study_records_what_a_judge_said(recipe: dict[str, Any], tmp_path: Path) -> None:
    with Study.create(tmp_path / "study", parse_recipe(recipe)) as study:
        study.run()
        labels = study.store.current_labels()
        questions = {x.question.id: x.question for x in study.store.asked()}
    assert len(labels) == 24
    outcomes = {x.outcome for x in labels}
    assert {"a", "b", "inconsistent", "unparsed"} <= outcomes
    for x in labels:
        pair = questions[x.pair_id]
        kind = sum(map(ord, pair.a.text + pair.b.text)) % 5
        assert x.judgement is not None
        assert x.outcome == x.judgement.outcome
        if kind > 1:
            assert x.outcome == ("a" if pair.a.text < pair.b.text else "b")
        else:
            assert x.outcome == ["unparsed", "inconsistent"][kind]
    trained = (tmp_path / "study" / "preferences.jsonl").read_text("utf-8").splitlines()
    assert len(trained) == sum(x.outcome in ("a", "b") for x in labels)

    found = status(tmp_path / "study")
    (use,) = found["judges"]
    assert use["labels"] == 24
    assert use["inconsistent"] == sum(x.outcome == "inconsistent" for x in labels)
    assert use["unparsed"] == sum(x.outcome == "unparsed" for x in labels)
    assert "contradict themselves" in status_rows(found)[use["judge"]]
    page = write_report(tmp_path / "study").read_text("utf-8")
    assert "<caption>Judges" in page
    assert "inconsistent</th>" in page
    exported = json.loads((tmp_path / "study" / "preferences.jsonl").read_text("utf-8").splitlines()[0])
    assert "chosen" in exported


def test_the_same_call_gives_the_same_labels(recipe: dict[str, Any]) -> None:
    prompts = [Prompt.of(f"Question {i}") for i in range(10)]
    answers = [[Response.of(p, text, [1], [n], 1) for n, text in enumerate(("x", "yy"))] for p in prompts]
    pairs = tuple(Question.pair(a, b, 1) for a, b in answers)
    batch = Batch(1, pairs, {p.id: p for p in prompts}, (0.0,) * 10, "none")
    config = JudgeConfig(function=recipe["annotator"]["function"])
    one, again = (JudgeAnnotator(config).annotate(batch, 7, Silent()) for _ in range(2))
    assert one == again
    assert [x.pair_id for x in one] == [p.id for p in pairs]
    (other,) = JudgeAnnotator(config).annotate(batch.only([pairs[3].id]), 7, Silent())
    assert other == one[3]


def test_a_judge_is_asked_about_pairs_of_one_prompt_only(recipe: dict[str, Any]) -> None:
    from duelist.preflight.examination import examine

    sets = recipe | {"pairing": {"name": "in_prompt", "sets_of": 3}, "acquisition": {"name": "random"}}
    with pytest.raises(RecipeError, match="A judge compares two responses, but this recipe asks about up to 3"):
        examine(parse_recipe(sets))


def test_a_study_keeps_verdicts_in_its_folder(tmp_path: Path) -> None:
    one = JudgeAnnotator(JudgeConfig(model="m", base_url="http://localhost:1/v1"))
    one.keep_in(tmp_path / "judge")
    assert one.judge._cache is not None  # type: ignore[attr-defined]
    assert (tmp_path / "judge" / "verdicts.db").is_file()


SURE, UNSURE = (0.9, 0.1, 0.0), (0.6, 0.2, 0.2)


def label(pair: str, outcome: Any, judgement: Judgement | None, who: str = "judge") -> Label:
    return Label(pair, who, outcome, judgement=judgement)


CONTRADICTS = Judgement(SURE, (0.1, 0.9, 0.0))
UNREADABLE = Judgement(SURE, None)
VOTES = [
    label("p", "a", Judgement(SURE, UNSURE)),
    label("q", "inconsistent", CONTRADICTS),
    label("r", "unparsed", UNREADABLE),
    label("q", "a", None, "ann"),
    label("r", "b", None, "ann"),
    label("p", "a", None, "ann"),
]


def test_unusable_verdicts_are_missing_values() -> None:
    assert ballots(VOTES) == {"p": {"ann": "a", "judge": "a"}, "q": {"ann": "a"}, "r": {"ann": "b"}}
    agreement = pairwise_agreement(VOTES)
    assert agreement is not None
    assert (agreement.value, agreement.n) == (1.0, 1)
    fit = dawid_skene(VOTES)
    assert fit is not None
    assert set(fit.posterior["q"]) <= {"a", "b"}
    assert "judge" not in speed(VOTES)
    assert self_consistency([*VOTES, *VOTES[1:3]]) == {}
    (ann, judge) = people_report(VOTES).annotators
    assert (judge.votes, judge.skips, ann.skips) == (3, 2, 0)


@pytest.mark.parametrize("rule", ["majority", "soft", "every", "reliability"])
def test_unusable_verdicts_are_never_trained_on(rule: Any) -> None:
    items = aggregate(VOTES, rule, ties=True)
    assert [x.annotators for x in items["q"]] == [x.annotators for x in items["r"]] == [("ann",)]
    assert aggregate(VOTES[1:3], "soft", ties=True) == {}


def test_soft_votes_use_a_judges_probability() -> None:
    judged = Judgement(SURE, UNSURE)
    assert judged.probability == pytest.approx(0.8)
    (alone,) = aggregate(VOTES[:1], "soft")["p"]
    assert (alone.chosen, alone.share) == ("a", pytest.approx(0.8))
    (with_ann,) = aggregate([VOTES[0], label("p", "b", None, "ann")], "soft")["p"]
    assert (with_ann.chosen, with_ann.share) == ("b", pytest.approx(0.6))
    (hard,) = aggregate(VOTES[:1], "majority")["p"]
    assert hard.share == 1.0


def test_use_of_judges() -> None:
    (use,) = judges_of([*VOTES, label("s", "b", Judgement((0.2, 0.8, 0.0), (0.1, 0.7, 0.2), 10, 2, 0.5))])
    assert (use.labels, use.inconsistent, use.unparsed) == (4, 1, 1)
    assert (use.tokens_in, use.tokens_out, use.cost) == (10, 2, 0.5)
    # P(first shown is better): 0.9 and 1 − 0.7; 0.9 and 0.9; 0.2 and 0.8.
    assert use.first == pytest.approx((0.9 + 0.3 + 0.9 + 0.9 + 0.2 + 0.8) / 6)
