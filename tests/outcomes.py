"""What a study leaves, to be compared with what another one left."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from duelist.store.layout import DATABASE
from duelist.store.row_codecs import Stage
from duelist.store.store import Store


def smaller(tiny_recipe: dict[str, Any]) -> dict[str, Any]:
    """The tests' tiny recipe cut down once more, for tests that run it many times; with steps inside every stage."""
    prompts = {**tiny_recipe["prompts"], "per_round": 6, "held_out": 4}
    train = {**tiny_recipe["trainer"]["train"], "per_device_train_batch_size": 2}
    sampler = {**tiny_recipe["sampler"], "batch_size": 6}
    trainer = {"name": "dpo", "train": train}
    return {**tiny_recipe, "budget": 4, "prompts": prompts, "sampler": sampler, "trainer": trainer}


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def outcome(folder: Path) -> dict[str, Any]:
    """All that a study leaves, apart from how long things took."""
    metrics = [json.loads(line) for line in lines(folder / "metrics.jsonl")]
    store = Store(folder, migrate=False)
    found = {
        "stages": [(s.round, s.name, s.artifact, _digest(s), dict(s.info)) for s in store.stages()],
        "asked": store.asked(),
        "answers": store.answers(),
        "metrics": [{k: v for k, v in m.items() if k != "seconds"} for m in metrics],
        "timed": [sorted(m["seconds"]) for m in metrics],
    }
    store.close()
    files = {p.relative_to(folder): p for p in folder.rglob("*") if p.is_file()}
    timed = (DATABASE, "metrics.jsonl")
    return {**found, "files": {name: _content(p) for name, p in files.items() if not name.name.startswith(timed)}}


def _digest(stage: Stage) -> str:
    # An adapter's folder holds a set, in another order in each interpreter: its files are compared, not the digest.
    return "" if stage.name == "train" else stage.digest


def _content(path: Path) -> Any:
    if path.name == "adapter_config.json":
        config = json.loads(path.read_text(encoding="utf-8"))
        return {**config, "target_modules": sorted(config["target_modules"])}
    return path.read_bytes()


def require_equal(folder: Path, undisturbed: Path) -> None:
    found, expected = outcome(folder), outcome(undisturbed)
    assert sorted(found["files"]) == sorted(expected["files"])
    names = {n.as_posix() for n in found["files"]}
    assert "preferences.jsonl" in names
    ends = ("adapter/adapter_model.safetensors", "model/model.safetensors", "reward_model/model.safetensors")
    assert names & set(ends)
    for part, value in expected.items():
        assert found[part] == value, part
