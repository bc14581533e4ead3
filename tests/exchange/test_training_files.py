"""Preferences for axolotl and LLaMA-Factory: loaded with datasets, and read as those trainers' documentation says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import pytest
import yaml
from typer.testing import CliRunner

import made_by_hand
from duelist.cli.app import app
from duelist.errors import DataError
from duelist.exchange.training_files import training_files
from duelist.store.opening import open_folder
from duelist.types import Label, Prompt

MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Say «yes»."}]


@pytest.fixture(params=["messages", "plain"])
def study(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, list[dict[str, str]]]:
    """A study of three answered pairs, and its prompt as messages."""
    prompt = Prompt.of(MESSAGES if request.param == "messages" else "Say «yes».")
    asked = made_by_hand.pairs_on(prompt, 3)
    made_by_hand.make_study(tmp_path / "study", asked, [prompt])
    folder = open_folder(tmp_path / "study")
    folder.store.add_answers([Label(x.question.id, "ann", "a") for x in asked])
    folder.close()
    return tmp_path / "study", MESSAGES if request.param == "messages" else MESSAGES[1:]


def exported(study: Path, format: str, output: Path) -> None:
    result = CliRunner().invoke(app, ["export", str(study), "--format", format, "-o", str(output)])
    assert result.exit_code == 0, result.output
    assert "3 preferences written" in result.output


def loaded(file: Path, tmp_path: Path) -> list[dict[str, Any]]:
    rows = datasets.load_dataset("json", data_files=str(file), split="train", cache_dir=str(tmp_path / "cache"))
    return list(rows.to_list())


def test_axolotl_reads_it_with_its_chat_template_strategy(study: Any, tmp_path: Path) -> None:
    path, messages = study
    exported(path, "axolotl", tmp_path / "out")
    config = yaml.safe_load((tmp_path / "out" / "axolotl.yaml").read_text())
    assert config["rl"] == "dpo"
    (dataset,) = config["datasets"]
    assert (dataset["type"], dataset["ds_type"]) == ("chat_template.default", "json")
    rows = loaded(Path(dataset["path"]), tmp_path)
    texts = set()
    for row in rows:  # the strategy reads roles and contents of these three fields
        assert row[dataset["field_messages"]] == messages
        chosen, rejected = row[dataset["field_chosen"]], row[dataset["field_rejected"]]
        assert chosen["role"] == rejected["role"] == "assistant"
        texts.add((chosen["content"], rejected["content"]))
    assert texts == decided(path)


def test_llama_factory_finds_it_in_dataset_info(study: Any, tmp_path: Path) -> None:
    path, messages = study
    exported(path, "llama_factory", tmp_path / "out")
    ((_, info),) = json.loads((tmp_path / "out" / "dataset_info.json").read_text()).items()
    assert (info["formatting"], info["ranking"]) == ("sharegpt", True)
    role, content = info["tags"]["role_tag"], info["tags"]["content_tag"]
    assert info["tags"] | {"role_tag": "", "content_tag": ""} == {
        **{"role_tag": "", "content_tag": ""},
        **{"system_tag": "system", "user_tag": "user", "assistant_tag": "assistant"},
    }
    texts = set()
    for row in loaded(tmp_path / "out" / info["file_name"], tmp_path):
        conversation = row[info["columns"]["messages"]]
        assert conversation == messages
        assert conversation[-1][role] == info["tags"]["user_tag"]  # an odd number of turns, as it requires
        chosen, rejected = row[info["columns"]["chosen"]], row[info["columns"]["rejected"]]
        assert chosen[role] == rejected[role] == info["tags"]["assistant_tag"]
        texts.add((chosen[content], rejected[content]))
    assert texts == decided(path)


def decided(study: Path) -> set[tuple[str, str]]:
    """(chosen, rejected) of every label, from the pairs: `a` was chosen."""
    folder = open_folder(study)
    pairs = {(x.question.a.text, x.question.b.text) for x in folder.store.asked()}
    folder.close()
    return pairs


def test_a_role_that_the_trainers_do_not_know_is_refused(tmp_path: Path) -> None:
    row = {"prompt": [{"role": "tool", "content": "4"}], "chosen": "a", "rejected": "b"}
    with pytest.raises(DataError, match="has a message of 'tool'"):
        training_files("axolotl", [row], tmp_path)
