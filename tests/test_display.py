"""What notebooks show of records: people's and models' words are escaped, and long ones cut."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

import made_by_hand
from duelist.display import LONGEST, table
from duelist.study.round_report import RoundReport
from duelist.study.study import Study
from duelist.types import Prompt

EVIL = '<script>alert("1")</script><img src=x onerror=alert(1)>'


def tags_of(page: str) -> set[str]:
    found: set[str] = set()

    class Parser(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            found.add(tag)
            assert [name for name, _ in attrs] in ([], ["style"])

    Parser().feed(page)
    return found


def test_words_are_escaped_everywhere(tmp_path: Path) -> None:
    prompt = Prompt.of([{"role": "user", "content": EVIL}])
    made_by_hand.make_study(tmp_path, made_by_hand.pairs_on(prompt, 2, EVIL), [prompt], name="made & by hand")
    with Study.open(tmp_path) as study:
        pages = [study._repr_html_(), study.store.batch(1)._repr_html_()]
        report = RoundReport(1, {"kl": 0.125, EVIL: 1, "seconds": {}}, {"loss": 0.5}, {"gain_nats": None})
        pages.append(report._repr_html_())
        frame = study.metrics()
        recorded = study.store.metrics()
    assert "made &amp; by hand, closed" in study._repr_html_()
    for page in (*pages, table(EVIL, (EVIL,), [(EVIL,)])):
        assert tags_of(page) <= {"div", "p", "b", "table", "thead", "tbody", "tr", "th", "td"}
    assert "made &amp; by hand" in pages[0]
    assert "questions without an answer</td><td" in pages[0]
    assert "user: &lt;script&gt;" in pages[1]
    assert "yes 1&lt;script&gt;" in pages[1]
    assert "0.125" in pages[2]
    assert frame.index.tolist() == [line["round"] for line in recorded]
    assert frame["mean_reward"].tolist() == [line["mean_reward"] for line in recorded]
    assert frame["seconds.train"].tolist() == [line["seconds"]["train"] for line in recorded]


def test_long_tables_and_texts_are_cut() -> None:
    page = table("t", ("x",), [("y" * (LONGEST + 1),)] * 25)
    assert "… and 5 more" in page
    assert page.count("<tr>") == 21
    assert "y" * LONGEST + "…" in page
    assert "y" * (LONGEST + 1) not in page


def test_metrics_survive_json(tmp_path: Path) -> None:
    prompt = Prompt.of("Say yes.")
    made_by_hand.make_study(tmp_path, made_by_hand.pairs_on(prompt, 1), [prompt])
    with Study.open(tmp_path) as study:
        assert json.loads(study.metrics().to_json())["labels"] == {"0": 0}
