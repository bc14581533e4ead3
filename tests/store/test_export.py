"""What a study leaves behind is used by other tools as it is: TRL's own command, and plain PEFT."""

from __future__ import annotations

import json
import os
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import load_dataset
from peft import PeftModel
from transformers import AutoModelForCausalLM
from trl import DPOConfig, DPOTrainer

from duelist import Label, Study, parse_recipe
from duelist.models.policy.config import PolicyConfig
from duelist.models.policy.policy import Policy
from duelist.store.export import label_rows, trl_rows
from duelist.store.store import Store
from duelist.types import Batch, Votes


class Everyone:
    """Answers a batch with every kind of outcome, by two annotators."""

    outcomes = ("a", "b", "tie", "skip", "both_bad", "a")

    def annotate(self, batch: Batch, seed: int, progress: object) -> list[Label]:
        labels = [
            Label(p.id, "Ann", o, seconds=2.5, shown="ba", time="2026-01-31T12:00:00+00:00")  # type: ignore[arg-type]
            for p, o in zip(batch.pairs, self.outcomes, strict=True)
        ]
        return [
            *labels,
            Label(batch.pairs[0].id, "Bob", "b"),
            Label(batch.pairs[1].id, "crowd", "b", votes=Votes(1, 4)),
        ]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory, tiny_content: dict[str, Any]) -> Path:
    """A study of one round with every kind of outcome; only to be read."""
    folder = tmp_path_factory.mktemp("export") / "study"
    recipe = tiny_content | {"rounds": 1, "acquisition": "random"}
    with Study.create(folder, parse_recipe(recipe)) as study:
        study.run(Everyone())  # type: ignore[arg-type]
    return folder


def test_only_preferences_are_exported_as_preferences(study: Path) -> None:
    store = Store(study, migrate=False)
    rows, asked = list(trl_rows(store)), [x.question for x in store.asked()]
    prompts = {x["pair_id"]: x["prompt"] for x in label_rows(store)}
    store.close()
    won = [(0, "a"), (0, "b"), (1, "b"), (1, "b"), (5, "a")]  # Ann's, Bob's, and the crowd's
    expected = []
    for i, outcome in won:
        texts = (asked[i].a.text, asked[i].b.text)
        chosen, rejected = texts if outcome == "a" else reversed(texts)
        said = {"chosen": chosen, "rejected": rejected}
        messages = {k: [{"role": "assistant", "content": text}] for k, text in said.items()}
        expected.append({"prompt": prompts[asked[i].id], **messages})
    key = json.dumps
    assert sorted(rows, key=key) == sorted(expected, key=key)
    assert [json.loads(line) for line in (study / "preferences.jsonl").read_text().splitlines()] == rows


def test_every_label_is_exported_as_it_is(study: Path) -> None:
    store = Store(study, migrate=False)
    rows = list(label_rows(store))
    recorded = store.labels()
    store.close()
    assert [row["position"] for row in rows] == list(range(6))
    assert [row["labels"][0]["outcome"] for row in rows] == list(Everyone.outcomes)
    labels = [label for row in rows for label in row["labels"]]
    assert {label["id"] for label in labels} == {label.id for label in recorded}
    first = rows[0]["labels"][0]
    told = {"annotator": "Ann", "seconds": 2.5, "shown": "ba", "time": "2026-01-31T12:00:00+00:00", "votes": None}
    assert {k: first[k] for k in told} == told
    assert rows[1]["labels"][1]["votes"] == {"n_a": 1, "n_b": 4, "n_eq": 0}
    json.dumps(rows, allow_nan=False)


def test_the_adapter_loads_with_plain_peft(study: Path, tiny_model: Path, tiny_recipe: dict[str, Any]) -> None:
    base = AutoModelForCausalLM.from_pretrained(tiny_model, dtype="float32")
    model = PeftModel.from_pretrained(base, study / "adapter").eval()
    policy = Policy.load(PolicyConfig.model_validate(tiny_recipe["policy"] | {"device": "cpu"}), seed=99)
    policy.load_weights(study / "rounds" / "001" / "adapter")
    ids = torch.arange(6, 26)[None]
    with torch.no_grad():
        plain, own = model(input_ids=ids).logits, policy.model(input_ids=ids).logits
        with policy.model.disable_adapter():
            untrained = policy.model(input_ids=ids).logits
    assert torch.equal(plain, own)
    assert not torch.allclose(plain, untrained, atol=1e-4)


def exported(folder: Path, recipe: dict[str, Any]) -> Path:
    """A folder with nothing but the preferences of a study of one round."""
    with Study.create(folder / "study", parse_recipe(recipe | {"rounds": 1, "acquisition": "random"})) as study:
        study.run()
    data = folder / "data"
    data.mkdir()
    (data / "preferences.jsonl").write_bytes((folder / "study" / "preferences.jsonl").read_bytes())
    return data


@pytest.mark.full
def test_the_export_trains_with_trl_s_own_command(
    tmp_path: Path, tiny_model: Path, tiny_recipe: dict[str, Any]
) -> None:
    """The command that docs/cli.md gives, on a tiny model."""
    data = exported(tmp_path, tiny_recipe)
    docs = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")
    command = next(line for line in docs.splitlines() if line.startswith("trl dpo "))
    places = {"my-data": str(data), "MODEL": str(tiny_model), "my-model": str(tmp_path / "model")}
    words = [places.get(word, word) for word in command.split()]
    assert set(places.values()) <= set(words)
    here = ["--max_steps", "2", "--per_device_train_batch_size", "2", "--use_cpu", "--bf16", "false"]
    trl = str(Path(sysconfig.get_path("scripts")) / "trl")
    env = os.environ | {"HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([trl, *words[1:], *here], env=env, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    before = AutoModelForCausalLM.from_pretrained(tiny_model).get_input_embeddings().weight
    after = AutoModelForCausalLM.from_pretrained(tmp_path / "model").get_input_embeddings().weight
    assert not torch.equal(before, after)


def test_plain_prompts_export_as_plain_text_that_trl_trains_on(
    tmp_path: Path, tiny_model: Path, tiny_recipe: dict[str, Any]
) -> None:
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"prompt": f"w{i} "}) + "\n" for i in range(20)))
    data = exported(tmp_path, tiny_recipe | {"prompts": {"path": str(prompts)}, "evaluation": {}})
    rows = load_dataset(str(data), split="train", cache_dir=str(tmp_path / "cache"))
    assert {type(value) for row in rows for value in row.values()} == {str}
    options: dict[str, Any] = {"use_cpu": True, "bf16": False, "gradient_checkpointing": False, "report_to": []}
    config = DPOConfig(output_dir=str(tmp_path / "model"), max_steps=1, save_strategy="no", **options)
    DPOTrainer(str(tiny_model), args=config, train_dataset=rows).train()
