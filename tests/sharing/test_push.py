"""`duelist push`: cards filled from the study, nobody's name in them, and the upload to a stub of the Hub's API."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import datasets
import huggingface_hub
import pytest
from huggingface_hub import DatasetCard, ModelCard
from typer.testing import CliRunner

import made_by_hand
import small_study
from duelist.cli.app import app
from duelist.data.sources import SUFFIXES
from duelist.errors import RecipeError, StorageError
from duelist.report.record import read_arm
from duelist.sharing.facts import facts_of
from duelist.sharing.publication import write_publication
from duelist.store.opening import open_folder
from duelist.types import Label, Prompt

PEOPLE = ("Ada Lovelace", "grace@example.org")


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A study of four pairs that two people answered; on the last they disagree, and one has a tie as well."""
    path = tmp_path / "study"
    prompt = Prompt.of([{"role": "user", "content": "Say yes."}])
    asked = made_by_hand.pairs_on(prompt, 4)
    reward_kept = {"policy": {"model": str(tmp_path / "home" / "ada" / "base")}, "description": "Says yes."}
    made_by_hand.make_study(path, asked, [prompt], **reward_kept)
    folder = open_folder(path)
    ids = [x.question.id for x in asked]
    said = [(0, 0, "a"), (0, 1, "a"), (1, 0, "b"), (1, 1, "b"), (2, 0, "a"), (2, 1, "b"), (3, 1, "tie")]
    folder.store.add_answers([Label(ids[i], PEOPLE[who], outcome, seconds=5.0) for i, who, outcome in said])
    small_study.close(folder, 1)
    config = path / "adapter" / "adapter_config.json"
    folder.close()
    config.write_text(json.dumps({"base_model_name_or_path": reward_kept["policy"]["model"], "r": 4}))
    (path / "adapter" / "README.md").write_text("[More Information Needed]")
    return path


def shared(study: Path, output: Path, **settings: Any) -> tuple[ModelCard, DatasetCard, list[dict[str, Any]]]:
    publication = write_publication(study, output, "me/yes", "me/yes-preferences", **settings)
    assert publication.dataset is not None
    rows = [json.loads(x) for x in (publication.dataset / "preferences.jsonl").read_text().splitlines()]
    return (ModelCard.load(publication.model / "README.md"), DatasetCard.load(publication.dataset / "README.md"), rows)


def test_the_cards_say_what_the_study_was(study: Path, tmp_path: Path) -> None:
    model, dataset, rows = shared(study, tmp_path / "out", license="apache-2.0")
    assert model.data.library_name == "peft"
    assert model.data.datasets == ["me/yes-preferences"]
    assert model.data.license == dataset.data.license == "apache-2.0"
    assert model.data.base_model is None  # a folder, not a name on the Hub
    for card in (model, dataset):
        assert "Says yes." in card.text
        assert "2 annotators answered." in card.text
        assert "67% of 3 pairs of votes on the same question agree" in card.text  # 2 of the 3 doubly answered pairs
        assert "Questions asked: 4" in card.text
        assert "Answers that count: 7 (a: 3, b: 3, tie: 1)" in card.text
        assert "more information needed" not in card.content.lower()
        assert "None" not in card.text
        assert "License: apache-2.0." in card.text
    assert "| round | labels | mean reward |" in model.text
    assert "| 1 | 7 | 0.2500 |" in model.text
    assert "| acquisition | random |" in model.text
    assert "Rafailov" in model.text  # DPO's paper
    assert "none needed" not in model.text
    assert "drawn at random from the study's own pool" in model.text  # as the rule `random` does
    assert len(rows) == 6
    assert f"{len(rows)} preferences" in dataset.text


def test_the_cards_say_what_was_drawn_at_random(tmp_path: Path) -> None:
    prompt = Prompt.of("Say yes.")
    asked = made_by_hand.pairs_on(prompt, 4)
    asked = [replace(x, control=i != 2) for i, x in enumerate(asked)]  # two before the rule begins, and the slice
    rule = {"acquisition": {"name": "activedpo"}, "initial_random": 2, "control_fraction": 0.25}
    by_data = {"annotator": {"name": "dataset_labels", "path": "prompts.jsonl"}}
    made_by_hand.make_study(tmp_path / "study", asked, [prompt], **rule, **by_data)
    folder = open_folder(tmp_path / "study")
    folder.store.add_answers([Label(x.question.id, "data", "a") for x in asked])
    small_study.close(folder, 1)
    folder.close()
    model, dataset, _ = shared(tmp_path / "study", tmp_path / "out")
    assert "selected by `activedpo`, not at random, all but 3 of 4." in model.text
    assert "by the rule `activedpo`, all but 3 that were drawn at random." in dataset.text
    assert "The answers are those of the data set" in model.text and "No person" not in dataset.text


def test_nothing_that_names_people_or_this_machine_leaves(study: Path, tmp_path: Path) -> None:
    (study / "ledger.db").write_text("Ada Lovelace")
    (study / ".secret").write_text("a link's token")
    _, _, rows = shared(study, tmp_path / "out")
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert {path.name for path in files} == {
        *("README.md", "adapter_config.json", "weights.bin", "config.json", "metrics.jsonl", "preferences.jsonl"),
    }
    for path in files:
        content = path.read_bytes()
        for secret in (*PEOPLE, "Lovelace", "token", str(tmp_path), "home"):
            assert secret.encode() not in content, (path, secret)
    assert {row["annotator"] for row in rows} == {"annotator-1", "annotator-2"}
    by_question: dict[str, set[str]] = {}
    for row in rows:
        by_question.setdefault(row["question_id"], set()).add(row["annotator"])
    assert all(len(who) == 2 for who in by_question.values())  # a pseudonym is one person's throughout
    _, _, named = shared(study, tmp_path / "named", named=True)
    assert {row["annotator"] for row in named} == set(PEOPLE)


def test_the_preferences_load_as_the_card_says(study: Path, tmp_path: Path) -> None:
    _, card, rows = shared(study, tmp_path / "out")
    (configuration,) = card.data.to_dict()["configs"]
    file = tmp_path / "out" / "dataset" / configuration["data_files"]
    loaded = datasets.load_dataset("json", data_files=str(file), split="train", cache_dir=str(tmp_path / "cache"))
    assert loaded.to_list() == rows


class Hub(BaseHTTPRequestHandler):
    """As much of the Hub's API as an upload of small files uses."""

    repos: dict[str, dict[str, Any]]
    refused: bool

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        assert self.headers["Authorization"] == "Bearer hf_stub"
        place = self.path.partition("?")[0]
        if type(self).refused:
            self.send_response(403)
            self.end_headers()
        elif place == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked.get('organization') or 'me'}/{asked['name']}" if "/" not in asked["name"] else asked["name"]
            self.repos[f"{asked.get('type', 'model')}s/{name}"] = {"visibility": asked["visibility"], "files": {}}
            self.answer({"url": f"{huggingface_hub.constants.ENDPOINT}/{name}", "name": name})
        elif place.endswith("/preupload/main"):
            files = [{**x, "uploadMode": "regular", "shouldIgnore": False} for x in json.loads(body)["files"]]
            self.answer({"files": files})
        elif place.endswith("/commit/main"):
            repo = self.repos[place.removeprefix("/api/").removesuffix("/commit/main")]
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    repo["files"][line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            url = f"{huggingface_hub.constants.ENDPOINT}/me/yes/commit/1"
            self.answer({"commitUrl": url, "commitOid": "1", "pullRequestUrl": None})
        elif place == "/api/validate-yaml":
            self.answer({})
        else:
            self.send_error(404)

    def do_GET(self) -> None:
        self.send_error(404)

    def answer(self, content: Any) -> None:
        text = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hub]]:
    """The stub, as HF_ENDPOINT."""
    kind = type("FreshHub", (Hub,), {"repos": {}, "refused": False})
    server = ThreadingHTTPServer(("127.0.0.1", 0), kind)
    thread = Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", "hf_stub")
    huggingface_hub.close_session()
    yield kind
    huggingface_hub.close_session()
    server.shutdown()
    thread.join()
    server.server_close()


def test_both_folders_arrive_at_the_hub(study: Path, tmp_path: Path, hub: type[Hub]) -> None:
    result = CliRunner().invoke(app, ["push", str(study), "--repo", "me/yes", "--license", "mit"])
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[-1].endswith("/datasets/me/yes-preferences")
    assert set(hub.repos) == {"models/me/yes", "datasets/me/yes-preferences"}
    assert all(repo["visibility"] == "private" for repo in hub.repos.values())
    write_publication(study, tmp_path / "dry", "me/yes", "me/yes-preferences", license="mit")
    for repo, place in (("models/me/yes", "model"), ("datasets/me/yes-preferences", "dataset")):
        files = {path.name: path.read_bytes() for path in (tmp_path / "dry" / place).iterdir()}
        assert hub.repos[repo]["files"] == files


def test_a_dry_run_uploads_nothing_and_needs_no_token(
    study: Path, tmp_path: Path, hub: type[Hub], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    result = CliRunner().invoke(app, ["push", str(study), "--repo", "me/yes", "--dry-run", str(tmp_path / "dry")])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "dry" / "model" / "README.md").is_file()
    assert hub.repos == {}


def test_what_cannot_be_pushed_is_said_with_the_remedy(
    study: Path, tmp_path: Path, hub: type[Hub], monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = CliRunner()
    hub.refused = True
    refused = runner.invoke(app, ["push", str(study), "--repo", "me/yes"])
    assert isinstance(refused.exception, StorageError)
    assert "The Hub must take me/yes, but did not: " in str(refused.exception)
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("duelist.sharing.hub.get_token", lambda: None)
    without = runner.invoke(app, ["push", str(study), "--repo", "me/yes"])
    assert isinstance(without.exception, RecipeError)
    assert "HF_TOKEN" in str(without.exception)
    unowned = runner.invoke(app, ["push", str(study), "--repo", "yes"])
    assert "OWNER/NAME" in str(unowned.exception) and ".." not in str(unowned.exception)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(StorageError, match="must be new or empty"):
        write_publication(study, tmp_path / "full", "me/yes", "me/yes-preferences")


def test_a_study_without_weights_or_preferences(tmp_path: Path) -> None:
    prompt = Prompt.of("Say yes.")
    made_by_hand.make_study(tmp_path / "study", made_by_hand.pairs_on(prompt, 2), [prompt])
    publication = write_publication(tmp_path / "study", tmp_path / "out", "me/m", "me/d")
    assert publication.dataset is None
    assert "Preferences: not shared." in (publication.model / "README.md").read_text()
    (tmp_path / "study" / "adapter" / "weights.bin").unlink()
    (tmp_path / "study" / "adapter" / "config.json").unlink()
    (tmp_path / "study" / "adapter").rmdir()
    with pytest.raises(StorageError, match="must have weights to be shared"):
        write_publication(tmp_path / "study", tmp_path / "other", "me/m", "me/d")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_that_is_not_here_is_no_data_set_of_the_hub(suffix: str, study: Path) -> None:
    arm = read_arm(study)
    recipe = {**arm.recipe, "prompts": {**arm.recipe["prompts"], "path": f"data{suffix}"}}
    assert facts_of(replace(arm, recipe=recipe)).prompts is None
