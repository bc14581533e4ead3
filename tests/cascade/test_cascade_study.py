"""A real small study with a cascade over simulated people: the judge takes pairs once it is trusted, kills included."""

from __future__ import annotations

import csv
import io
import json
import signal
from pathlib import Path
from typing import Any

import pytest

from cascades import AUDIT, cascade_of
from duelist import Label, Study, parse_recipe
from duelist.cascade.evidence import coin
from duelist.cli.console import status_rows
from duelist.errors import RecipeError
from duelist.preflight.examination import examine
from duelist.progress import Silent
from duelist.report.status import status
from duelist.seeding import derived_seed
from duelist.store.export import csv_text, label_rows
from duelist.store.store import Store
from duelist.types import Preference, Retraction
from killing import in_process, moments_of, run_study, shown_log
from outcomes import lines, outcome, require_equal


@pytest.fixture
def cascade_recipe(tiny_recipe: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    return cascade_of(tiny_recipe, tmp_path)


def test_a_study_with_a_cascade_killed_anywhere_gives_the_same_labels(
    cascade_recipe: dict[str, Any], tmp_path: Path
) -> None:
    undisturbed, folder = tmp_path / "undisturbed", tmp_path / "study"
    assert in_process(run_study, undisturbed, cascade_recipe, None) == 0
    moments = [
        name
        for kind in ("inside", "renamed", "committed")
        for name in moments_of(undisturbed, kind)
        if name.startswith("2-prelabel")
    ]
    assert len(moments) == 3
    for moment in moments:
        assert in_process(run_study, folder, cascade_recipe, moment) == -signal.SIGKILL, moment
    assert in_process(run_study, folder, cascade_recipe, None) == 0
    require_equal(folder, undisturbed)
    require_cascade(undisturbed)


def require_cascade(folder: Path) -> None:
    """Compare a study's labels with the rule, written out."""
    found = outcome(folder)
    rounds = {x.question.id: x.round for x in found["asked"]}
    judge = {x.pair_id: x for x in found["answers"] if x.judgement is not None}
    people = {x.pair_id: x for x in found["answers"] if x.judgement is None}
    assert judge.keys() == rounds.keys(), "every pair is judged"
    taken = {i for i, x in judge.items() if not x.advisory}
    assert taken | people.keys() == rounds.keys() and not taken & people.keys(), "each pair is labelled by one of both"
    assert {rounds[i] for i in taken} == {2}, "no threshold is believed before there are votes"
    seed = derived_seed(0, "annotate")
    assert all(coin(seed, i) >= AUDIT for i in taken), "people label every audit"
    assert all(judge[i].outcome in "ab" for i in taken)
    assert any(coin(seed, i) < AUDIT for i in people if rounds[i] == 2)
    assert lines(shown_log(folder)) == [x.question.id for x in found["asked"] if x.question.id in people]
    (trust,) = json.loads((folder / "rounds/002/prelabel.json").read_text())["trust"]
    decided = [i for i in people if rounds[i] == 1 and judge[i].outcome in "ab" and coin(seed, i) < 0.8]
    assert trust["audits"] <= len(decided) and trust["errors"] == 0 and trust["needed"] == 6
    assert trust["bound"] <= 0.45
    state = status(folder)
    assert state["cascade"]["round"] == 2 and state["judges"][0]["labels"] == len(judge)
    assert f"takes {len(taken)} of 12 pairs" in str(status_rows(state))
    # What is trained on and exported: each pair once, with the label that counts.
    preferences = [json.loads(x) for x in lines(folder / "preferences.jsonl")]
    decisive = [x for x in found["answers"] if x.outcome in "ab" and not x.advisory]
    assert len(preferences) == len(decisive)
    assert found["metrics"][-1]["labels"] == len(rounds)
    store = Store(folder, migrate=False)
    rows = [label for row in label_rows(store) for label in row["labels"]]
    assert sum(bool(x.get("advisory")) for x in rows) == len(judge) - len(taken)
    table = csv.DictReader(io.StringIO(csv_text(store)))
    assert sum(row["advisory"] == "True" for row in table) == len(judge) - len(taken)
    assert {x.annotator for x in store.current_labels() if x.pair_id in taken} == {next(iter(judge.values())).annotator}
    store.close()


def test_a_person_s_answer_replaces_the_label_of_a_pair_that_the_judge_took(
    cascade_recipe: dict[str, Any], tmp_path: Path
) -> None:
    recipe = parse_recipe(cascade_recipe)
    with Study.create(tmp_path / "study", recipe) as study:
        annotator = study.stages.components.annotator
        study.tell(annotator.annotate(study.ask(), derived_seed(0, "annotate"), Silent()))
        study.update()
        batch = study.ask()
        before = {x.pair_id: x for x in study.store.current_labels()}
        first, second, third = sorted(before.keys() & {q.id for q in batch.questions})[:3]  # taken: people told nothing
        assert all(before[i].judgement is not None for i in (first, second, third))
        other = {"a": "b", "b": "a"}
        contradicts = Label(first, "zoe", other[before[first].outcome])
        study.tell([contradicts, Label(second, "zoe", "both_bad"), Label(third, "zoe", "skip")])

        def counting() -> dict[str, list[tuple[str, str]]]:
            found: dict[str, list[tuple[str, str]]] = {first: [], second: [], third: []}
            for x in study.store.current_labels():
                if x.pair_id in found:
                    found[x.pair_id].append((x.annotator, x.outcome))
            return found

        judge = before[first].annotator
        assert counting() == {
            first: [("zoe", contradicts.outcome)],
            second: [("zoe", "both_bad")],
            third: [(judge, before[third].outcome), ("zoe", "skip")],
        }
        trained = {(x.pair_id, x.annotator, x.chosen.id) for x in study.store.decisions(2) if isinstance(x, Preference)}
        pair = next(q for q in batch.questions if q.id == first)
        assert {x for x in trained if x[0] == first} == {(first, "zoe", getattr(pair, contradicts.outcome).id)}
        assert not any(x[0] == second for x in trained) and {x[1] for x in trained if x[0] == third} == {judge}
        assert not {first, second, third} & set(study.unanswered())
        # Nothing is lost: the judge's labels stay recorded as taken, which is what its trust is measured by.
        recorded = [x for x in study.store.current_labels(advisory=True) if x.annotator == judge]
        assert {first, second, third} <= {x.pair_id for x in recorded if not x.advisory}
        study.store.add_answers([Retraction(first, "zoe", contradicts.id, "undo")])
        assert counting()[first] == [(judge, before[first].outcome)]


def test_the_cost_is_said_before_anything_is_asked(cascade_recipe: dict[str, Any]) -> None:
    notes = examine(parse_recipe(cascade_recipe)).notes
    assert any("until 6 votes" in note and "from round 2 on at the earliest" in note for note in notes), notes
    strict = {**cascade_recipe, "annotator": {**cascade_recipe["annotator"], "max_error": 0.05}}
    notes = examine(parse_recipe(strict)).notes
    assert any("until 59 votes" in note and "only 12 are asked before the last round" in note for note in notes), notes


def test_what_a_cascade_cannot_do_is_refused(cascade_recipe: dict[str, Any]) -> None:
    def refused(match: str, changes: dict[str, Any] | None = None, **annotator: Any) -> None:
        recipe = {**cascade_recipe, **(changes or {}), "annotator": {**cascade_recipe["annotator"], **annotator}}
        with pytest.raises(RecipeError, match=match):
            examine(parse_recipe(recipe))

    refused("compares two responses", {"pairing": {"name": "in_prompt", "sets_of": 3}})
    refused("slice_by", slice_by="no such column")
    refused("leaves pairs to others itself", people=cascade_recipe["annotator"])
    refused("max_error", max_error=0.6)
    judge = cascade_recipe["annotator"]["judge"]
    refused("must be others than the judge", people={"name": "judge", **judge})
    refused("colour", people={"name": "people", "colour": "red"})
    refused("must say its `name`", people={"labels": 2})
    refused("audit_fraction", audit_fraction=0.0)
