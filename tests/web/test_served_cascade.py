"""A cascade whose people answer at the page: they are offered what the judge leaves, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from test_served_study import label_all, running, sent, served

from cascades import cascade_of
from duelist import Study, parse_recipe
from duelist.annotators.people import PeopleConfig
from duelist.cascade.page import people_at_the_page
from duelist.errors import DataError
from duelist.store.artifacts import digest
from duelist.web.served_study import ledger_url
from duelist.web.tasks import Task
from duelist.web.verify import verify


def larger(task: Task) -> dict[str, Any]:
    """The vote of a person who prefers what the reward of the told study prefers."""

    def number(text: str) -> float:
        numbers = [int(w[1:]) for w in text.split() if w[1:].isdigit()]
        return sum(numbers) / (40 * len(numbers)) if numbers else 0.0

    values = {r.id: number(r.text) for r in task.item.responses}
    best = max(values.values())
    if min(values.values()) == best:
        return sent(task, "tie")
    return sent(task, chosen=next(i for i, v in values.items() if v == best))


def judged(study: Study) -> dict[str, tuple[str, bool]]:
    found = study.store.current_labels(advisory=True)
    return {x.pair_id: (x.outcome, x.advisory) for x in found if x.judgement is not None}


@pytest.mark.full
@pytest.mark.parametrize("lookahead", [0, 1])
def test_a_served_cascade_equals_one_that_runs_by_itself_even_if_it_is_stopped(
    lookahead: int, tiny_recipe: dict[str, Any], tmp_path: Path
) -> None:
    told = {**cascade_of(tiny_recipe, tmp_path), "rounds": 3, "lookahead": lookahead, "budget": 10}
    recipe = {**told, "annotator": {**told["annotator"], "people": {"name": "people", "comment": False}}}
    folder = tmp_path / "served"
    with served(folder, recipe) as study, running(study):
        while not isinstance(got := study.desk.next("ann"), Task):
            with study.journal.changed:
                study.journal.changed.wait(0.2)
        study.desk.act("ann", larger(got))
    with served(folder, recipe) as study, running(study) as loop:
        label_all(study, "bob", larger)
        loop.join()
        acts = {a.question_id for a in study.journal.record.acts.values()}
        labels = judged(study.study)
        taken = {i for i, (_, advisory) in labels.items() if not advisory}
        assert taken and len(labels) == 30
        assert acts == labels.keys() - taken, "people are offered what the judge leaves"
        assert study.standing().budget_left == 0
        file = tmp_path / "told.jsonl"
        file.write_text(f'{{"pair_id": "{min(taken)}", "annotator": "zoe", "outcome": "a"}}\n', encoding="utf-8")
        with pytest.raises(DataError, match="has the judge's label"):
            study.tell(file)
    assert verify(folder, ledger_url(folder)) == []
    with Study.create(tmp_path / "told", parse_recipe(told)) as other:
        other.run()
        assert judged(other) == labels
    for t in range(4):
        weights = [tmp_path / name / "rounds" / f"{t:03d}" / "adapter" for name in ("served", "told")]
        assert digest(weights[0]) == digest(weights[1])


def test_the_page_takes_the_settings_of_the_cascade_s_people(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    recipe = cascade_of(tiny_recipe, tmp_path)
    assert people_at_the_page(parse_recipe(recipe)) is None
    people = {"name": "people", "labels": 3}
    of_cascade = {**recipe, "annotator": {**recipe["annotator"], "people": people}}
    assert people_at_the_page(parse_recipe(of_cascade)) == PeopleConfig(labels=3)
    assert people_at_the_page(parse_recipe({**recipe, "annotator": people})) == PeopleConfig(labels=3)
    assert people_at_the_page(parse_recipe({**recipe, "annotator": None})) is None
