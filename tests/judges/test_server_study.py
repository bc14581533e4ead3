"""A study that a judge on a server labels, and that goes on after the server died in the middle of a batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from chat_server import ChatServer, Exchange, serving
from judging import Notes

from duelist import Study
from duelist.errors import ModelError
from duelist.judges.cache import VerdictCache
from duelist.preflight.examination import examine
from duelist.recipe.reading import parse_recipe

RUBRIC = "[response A quality={{ first | length }}] [response B quality={{ second | length }}] {{ choices.first }}, or"


def dead(exchange: Exchange) -> bool:
    exchange.answer(500, {"error": "told to fail"})
    return True


def test_a_study_goes_on_where_its_judge_died(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    rubric = tmp_path / "longer.jinja"
    rubric.write_text(RUBRIC + " {{ choices.second }}? {{ prompt[-1].content }}", encoding="utf-8")
    folder = tmp_path / "study"
    with serving(ChatServer()) as server:
        judge = {"name": "judge", "model": "m", "base_url": server.url, "rubric": str(rubric)}
        judge |= {"retries": 0, "concurrency": 2, "price_in": 1.0}
        recipe = tiny_recipe | {"rounds": 1, "budget": 6, "annotator": judge, "acquisition": {"name": "random"}}
        server.faults = dict.fromkeys(range(5, 1000), dead)
        with (
            Study.create(folder, parse_recipe(recipe)) as study,
            pytest.raises(ModelError, match="1 tries of a request failed: status 500"),
        ):
            study.run()
        with Study.open(folder) as study:
            assert study.store.current_labels() == []
        server.faults, server.comparisons = {}, 0
        notes = Notes()
        with Study.open(folder, progress=notes) as study:
            study.run()
            labels = study.store.current_labels()
            pairs = {x.question.id: x.question for x in study.store.asked()}
    assert len(labels) == 6
    for x in labels:
        a, b = (len(r.text) for r in pairs[x.pair_id].responses)
        assert x.judgement is not None
        assert x.outcome == ("a" if a > b else "b" if b > a else "tie")
    keys = {p.a.text + "/" + p.b.text for p in pairs.values()}
    assert server.comparisons <= 2 * len(keys) - 5  # five answers were kept
    spent = VerdictCache(folder / "judge").spent("judge:m:longer")
    assert spent.cost == pytest.approx(spent.tokens_in / 1e6)
    assert sum(x.judgement.cost for x in labels if x.judgement) <= spent.cost
    assert any("tokens read" in note for note in notes.notes)


def test_a_judge_that_does_not_exist_is_found_before_the_study(tiny_recipe: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="the judge's `model` must be a folder"):
        examine(parse_recipe(tiny_recipe | {"annotator": {"name": "judge", "model": "./nowhere"}}))
