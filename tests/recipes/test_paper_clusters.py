"""recipes/paper/activedpo/clusters.py: Figure 2's subsets are the clusters of the embeddings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from recipe_files import RECIPES

from duelist.errors import DataError
from duelist.models.embeddings.files import embedding_id, write_embeddings
from duelist.settings.importing import import_object
from duelist.store.artifacts import read_jsonl

split = import_object(f"{RECIPES / 'paper' / 'activedpo' / 'clusters.py'}:split")


@pytest.fixture
def data(tmp_path: Path) -> dict[str, Any]:
    """Twelve demonstrations around two points, and thirty preferences around three others."""
    rng = np.random.default_rng(0)
    centre_XH = {"demonstration": 50 * np.eye(8)[:2], "preference": -50 * np.eye(8)[2:5]}
    ids, vectors = [], []
    for name, n in (("demonstration", 12), ("preference", 30)):
        rows = []
        for i in range(n):
            text = f"{name} {i}"
            rows.append({"prompt": f"about {i}", "completion" if n == 12 else "chosen": text})
            if n == 30:
                rows[-1]["rejected"] = "worse"
            ids.append(embedding_id(f"about {i}", text))
            vectors.append(centre_XH[name][i % len(centre_XH[name])] + rng.normal(size=8))
        content = "".join(json.dumps(row) + "\n" for row in rows)
        (tmp_path / f"{name}s.jsonl").write_text(content, encoding="utf-8")
    write_embeddings(tmp_path / "vectors.npz", ids, np.array(vectors, dtype=np.float32))
    files = {f"{name}s": str(tmp_path / f"{name}s.jsonl") for name in ("demonstration", "preference")}
    return {**files, "embedding": {"source": "file", "path": str(tmp_path / "vectors.npz")}}


def numbers(file: Path, column: str) -> set[int]:
    return {int(row[column].split()[1]) for row in read_jsonl(file)}


def test_each_subset_is_a_cluster(data: dict[str, Any], tmp_path: Path) -> None:
    split(tmp_path, **data)
    models = [numbers(tmp_path / f"sft-{i}.jsonl", "completion") for i in (1, 2)]
    subsets = [numbers(tmp_path / f"preferences-{i}.jsonl", "chosen") for i in (1, 2, 3)]
    planted = [{frozenset(range(g, n, k)) for g in range(k)} for n, k in ((12, 2), (30, 3))]
    assert [{frozenset(x) for x in found} for found in (models, subsets)] == planted


def test_subsets_of_one_size_are_drawn_by_the_seed(data: dict[str, Any], tmp_path: Path) -> None:
    found = []
    for name, seed in (("one", 0), ("again", 0), ("other", 1)):
        (tmp_path / name).mkdir()
        split(tmp_path / name, **data, size=6, seed=seed)
        found.append({frozenset(numbers(tmp_path / name / f"preferences-{i}.jsonl", "chosen")) for i in (1, 2, 3)})
    assert found[0] == found[1] != found[2] and all(len(subset) == 6 for subset in found[0])
    assert all(len({i % 3 for i in subset}) == 1 for subset in found[0])
    with pytest.raises(DataError, match="must have 11 preferences, but one has 10"):
        split(tmp_path / "one", **data, size=11)
