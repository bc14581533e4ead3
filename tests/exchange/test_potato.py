"""Potato by files: a project out, and the states of its users back."""

from __future__ import annotations

import json
import os
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from exchange_world import VOTES, expected, said

from duelist import Study
from duelist.exchange import potato
from duelist.exchange.choices import CHOICES
from duelist.exchange.tasks import tasks_of, written_files

ELSEWHERE = "DUELIST_POTATO"  # the Python of an environment with `potato-annotation` 2.12
TIMES = {"session_start": 1770000000.0, "session_end": 1770000012.5, "total_time_ms": 12500}


def state(study: Study, votes: list[Any], user: str = "ann") -> dict[str, Any]:
    """A user's state after a vote on each of the first items, as Potato 2.12 writes it."""
    items = [x["id"] for x in potato.items(tasks_of(study.store, every=True))]
    labels = {i: [[{"schema": potato.SCHEMA, "name": v}, "true"]] for i, v in zip(items, votes, strict=False)}
    behaviour = dict.fromkeys(labels, TIMES)
    return {
        "user_id": user,
        "instance_id_ordering": items,
        "instance_id_to_label_to_value": labels,
        "instance_id_to_behavioral_data": behaviour,
    }


def saved(folder: Path, content: dict[str, Any]) -> Path:
    path = folder / content["user_id"] / potato.STATE
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return folder


class Texts(HTMLParser):
    """The texts of a page, a line break for each <br>."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.cells: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag in ("p", "td", "th"):
            self.cells.append("")
        elif tag == "br":
            self.cells[-1] += "\n"
        else:
            assert tag in ("table", "tr"), tag

    def handle_data(self, data: str) -> None:
        self.cells[-1] += data


def test_items_show_the_texts_as_they_are(study: Study) -> None:
    for item, task in zip(potato.items(tasks_of(study.store)), tasks_of(study.store), strict=True):
        prompt, *heads_and_sides = Texts(item["text"]).cells
        assert prompt == task.prompt_text and heads_and_sides == ["Left", "Right", *task.texts]


def test_votes_come_back_from_every_user(study: Study, tmp_path: Path) -> None:
    tasks = tasks_of(study.store)
    folder = tmp_path / "annotation_output"
    saved(folder, state(study, VOTES))
    saved(folder, state(study, ["Both bad"], "bob"))
    report = study.import_labels(folder)
    assert (report.labels, report.problems) == (7, ())
    anns = [x for x in study.store.labels() if x.annotator == "potato-ann"]
    assert said(anns) == {t.question.id: expected(t, v) for t, v in zip(tasks, VOTES, strict=False)}
    assert {(x.seconds, x.time) for x in anns} == {(12.5, "2026-02-02T02:40:12.500000+00:00")}
    again = study.import_labels(folder / "ann" / potato.STATE)
    assert (again.labels, again.repeated, again.problems) == (0, 6, ())


def test_time_that_grows_is_no_other_answer(study: Study, tmp_path: Path) -> None:
    """Potato writes a state while an item is open, and goes on counting when its annotator comes back."""
    for i, total in enumerate((0, 4000, 9000)):
        content = state(study, ["Both bad"])
        content["instance_id_to_behavioral_data"] = {
            k: {"total_time_ms": total} for k in content["instance_id_ordering"]
        }
        report = study.import_labels(saved(tmp_path / f"out{i}", content))
        assert (report.labels, report.repeated, report.problems) == (int(i == 0), int(i > 0), ())
    assert [x.seconds for x in study.store.labels()] == [None]


def test_wrong_votes_are_reported(study: Study, tmp_path: Path) -> None:
    content = state(study, ["Both bad", "Fine", "Both bad"])
    first, _, third = content["instance_id_to_label_to_value"]
    content["instance_id_to_label_to_value"]["0123456789abcdef.x.y"] = [
        [{"schema": "outcome", "name": "Both bad"}, "true"]
    ]
    content["instance_id_to_label_to_value"][third] *= 2
    report = study.import_labels(saved(tmp_path / "out", content))
    fine, twice, unknown = (p.message for p in report.problems)
    assert "'Fine'" in fine and "repair-annotations" in twice and "0123456789abcdef" in unknown
    assert [x.pair_id for x in study.store.labels()] == [first.split(".")[0]]


PROGRAM = """
import json, sys
from potato.server_utils.config_module import validate_yaml_structure
from potato.server_utils.html_sanitizer import sanitize_html
from potato.server_utils.schemas.registry import schema_registry
import yaml

config = yaml.safe_load(open("config.yaml"))
validate_yaml_structure(config, ".", ".")
layout, keys = schema_registry.generate({**config["annotation_schemes"][0], "annotation_id": 0})
pages = [str(sanitize_html(json.loads(line)["text"])) for line in open("questions.jsonl")]
print(json.dumps([layout, pages]))
"""


@pytest.mark.full
def test_potatos_own_code_accepts_the_project_and_shows_its_texts(study: Study, tmp_path: Path) -> None:
    python = os.environ.get(ELSEWHERE)
    if not python:
        pytest.skip(f"{ELSEWHERE} does not name the Python of an environment with potato-annotation 2.12")
    tasks = tasks_of(study.store)
    written_files(tmp_path / "project", potato.files(tasks, "made by hand"))
    words = [python, "-c", PROGRAM]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=tmp_path / "project")
    assert done.returncode == 0, done.stderr
    layout, pages = json.loads(done.stdout.splitlines()[-1])
    assert all(text in layout for text in CHOICES)
    for page, task in zip(pages, tasks, strict=True):
        prompt, _, _, *sides = Texts(page).cells
        assert (prompt, *sides) == (task.prompt_text, *task.texts)


def test_the_project_is_whole(study: Study, tmp_path: Path) -> None:
    written_files(tmp_path, potato.files(tasks_of(study.store), "made by hand"))
    config = yaml.safe_load((tmp_path / "config.yaml").read_text())
    (data,) = config["data_files"]
    rows = [json.loads(line) for line in (tmp_path / data).read_text().splitlines()]
    keys = config["item_properties"]
    assert len({row[keys["id_key"]] for row in rows}) == 7 and all(row[keys["text_key"]] for row in rows)
    assert [x["name"] for x in config["annotation_schemes"][0]["labels"]] == list(CHOICES)
