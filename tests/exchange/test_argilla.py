"""Argilla by files: a dataset's folder out, and the responses of its records back."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from exchange_world import VOTES, expected, said, written

from duelist import Study
from duelist.exchange import argilla
from duelist.exchange.choices import CHOICES
from duelist.exchange.tasks import tasks_of, written_files

USER = "5f2c1d0e-0000-4000-8000-000000000001"
ELSEWHERE = "DUELIST_ARGILLA"  # the Python of an environment with `argilla` 2.8


def answered(study: Study, votes: list[Any], user: Any = USER) -> list[dict[str, Any]]:
    """Records with a response each, as `to_disk` writes them; the last ones have none."""
    records = argilla.records(tasks_of(study.store))
    for record, vote in zip(records, votes, strict=False):
        record["responses"] = {argilla.QUESTION: [{"value": vote, "user_id": user}]}
    return records


def test_votes_come_back_from_a_file_and_from_a_folder(study: Study, tmp_path: Path) -> None:
    tasks = tasks_of(study.store)
    records = answered(study, [CHOICES[v] for v in VOTES])
    assert [r["fields"]["left"] for r in records] == [t.texts[0] for t in tasks]
    report = study.import_labels(written(tmp_path / "records.json", records))
    assert (report.labels, report.problems) == (6, ())
    assert said(study.store.labels()) == {t.question.id: expected(t, v) for t, v in zip(tasks, VOTES, strict=False)}
    assert {x.annotator for x in study.store.labels()} == {f"argilla-{USER}"}
    again = study.import_labels(tmp_path)
    assert (again.labels, again.repeated, again.problems) == (0, 6, ())


def test_wrong_responses_are_reported(study: Study, tmp_path: Path) -> None:
    records = answered(study, ["left", "fine", "tie"])
    records[0]["id"] = "0123456789abcdef.x.y"
    records[2]["id"] = records[2]["id"].rpartition(".")[0]
    records.append(answered(study, ["tie"], None)[0])
    report = study.import_labels(written(tmp_path / "records.json", records))
    messages = [p.message for p in report.problems]
    assert report.labels == 0 and len(messages) == 4
    for message, part in zip(messages, ("0123456789abcdef", "'fine'", "displayed order", "user_id"), strict=True):
        assert part in message


PROGRAM = """
import json, os, sys, threading, uuid
from http.server import BaseHTTPRequestHandler, HTTPServer

class Server(BaseHTTPRequestHandler):  # the client asks who it is before it does anything
    def do_GET(self):
        me = {"id": str(uuid.UUID(int=1)), "username": "u", "role": "owner", "first_name": "u"}
        body = json.dumps(me).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass

server = HTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
os.environ |= {"ARGILLA_API_KEY": "x", "ARGILLA_API_URL": f"http://127.0.0.1:{server.server_port}"}
import argilla as rg
from argilla._models import DatasetModel
from argilla.records._io import JsonIO

folder, target = sys.argv[1:]
settings = rg.Settings.from_json(folder + "/.argilla/settings.json")
settings.validate()
DatasetModel(**json.load(open(folder + "/.argilla/dataset.json")))
question = settings.questions["outcome"]
records = JsonIO._records_from_json(folder + "/records.json")
answered = []
for record, label in zip(records, question.labels):
    response = rg.Response("outcome", label, user_id=uuid.UUID(int=7))
    same = {"id": record.id, "fields": dict(record.fields), "metadata": dict(record.metadata)}
    answered.append(rg.Record(**same, responses=[response]))
JsonIO.to_json(answered, target)
print(json.dumps([list(settings.fields[0]._model.model_dump()), list(question.labels)]))
"""


@pytest.mark.full
def test_argillas_own_client_reads_the_dataset_and_writes_the_responses(study: Study, tmp_path: Path) -> None:
    python = os.environ.get(ELSEWHERE)
    if not python:
        pytest.skip(f"{ELSEWHERE} does not name the Python of an environment with argilla 2.8")
    tasks = tasks_of(study.store)
    written_files(tmp_path / "dataset", argilla.files(tasks, "made by hand"))
    words = [python, "-c", PROGRAM, str(tmp_path / "dataset"), str(tmp_path / "back.json")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])[1] == list(CHOICES.values())
    report = study.import_labels(tmp_path / "back.json")
    assert (report.labels, report.problems) == (6, ())
    assert said(study.store.labels()) == {t.question.id: expected(t, v) for t, v in zip(tasks, VOTES, strict=False)}
