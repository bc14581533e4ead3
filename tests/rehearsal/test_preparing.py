"""The files of a rehearsal: a recipe that fits the file, vectors of the texts, and the folder of one rehearsal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from scipy.sparse import csr_array

from duelist import load_recipe
from duelist.errors import BudgetError, RecipeError, StorageError
from duelist.models.embeddings.config import EmbeddingConfig
from duelist.models.embeddings.files import embedding_id, write_embeddings
from duelist.progress import Silent
from duelist.rehearsal.preparing import prepare_rehearsal
from duelist.rehearsal.rows import Preferences
from duelist.rehearsal.text_vectors import COMPONENTS, _left_directions, text_vectors, with_length


def preferences(prompts: int = 10, pairs: int = 12, better: str = "kind words here") -> Preferences:
    rng = np.random.default_rng(0)
    rows: list[dict[str, Any]] = []
    for p in range(prompts):
        for i in range(pairs):
            texts = [f"{better} {rng.integers(9)} {i}", f"cold answer {rng.integers(9)} {i}"]
            rows.append({"prompt": f"p{p}", "response_a": texts[0], "response_b": texts[1], "n_a": 1, "n_b": 0})
    return Preferences(tuple(rows), 0, 0)


def test_the_recipe_fits_the_file(tmp_path: Path) -> None:
    path = prepare_rehearsal(tmp_path / "r", preferences(), None, None, Silent())
    recipe = load_recipe(path)
    # A quarter of 10 prompts is held out; half of the other 96 pairs is asked, in eight batches.
    assert (recipe.prompts.held_out, recipe.rounds, recipe.budget, recipe.initial_random) == (2, 8, 6, 6)
    before = path.read_bytes()
    assert prepare_rehearsal(tmp_path / "r", preferences(), None, None, Silent()) == path
    assert path.read_bytes() == before
    with pytest.raises(RecipeError, match="begun with others"):
        prepare_rehearsal(tmp_path / "r", preferences(better="other"), None, None, Silent())
    with pytest.raises(RecipeError, match="begun with others"):
        prepare_rehearsal(tmp_path / "r", preferences(), 40, None, Silent())
    assert load_recipe(prepare_rehearsal(tmp_path / "s", preferences(), 96, None, Silent())).budget == 12
    for labels in (97, 7):
        with pytest.raises(BudgetError, match=rf"got {labels} labels, and the 120 decided pairs may leave 96"):
            prepare_rehearsal(tmp_path / "t", preferences(), labels, None, Silent())
    (tmp_path / "u").mkdir()
    (tmp_path / "u/other.txt").touch()
    with pytest.raises(StorageError, match=r"holds other.txt"):
        prepare_rehearsal(tmp_path / "u", preferences(), None, None, Silent())


def test_vectors_of_texts_tell_kinds_apart_and_end_with_the_length() -> None:
    texts = [f"red apples are sweet {i}" for i in range(30)] + [f"cars need fuel to drive {i} far" for i in range(30)]
    vector_RH = text_vectors(texts, np.random.default_rng(0))
    assert (vector_RH == text_vectors(texts, np.random.default_rng(0))).all()
    assert vector_RH.shape[1] <= COMPONENTS + 1
    kinds = [vector_RH[:30, :-1], vector_RH[30:, :-1]]
    between = np.linalg.norm(kinds[0].mean(axis=0) - kinds[1].mean(axis=0))
    assert between > 1
    assert len(set(vector_RH[:30, -1].round(9))) == 1 and vector_RH[0, -1] < vector_RH[-1, -1]
    assert text_vectors(["a", "b b"], np.random.default_rng(0)).shape == (2, 1)  # no term in common


def test_the_directions_are_those_of_the_dense_decomposition() -> None:
    rng = np.random.default_rng(3)
    matrix = csr_array(rng.random((40, 30)) * (rng.random((40, 30)) < 0.2) * np.linspace(3, 0.1, 30))
    found_RH = _left_directions(matrix, 5, np.random.default_rng(0))
    exact_RH = np.linalg.svd(matrix.toarray())[0][:, :5]
    np.testing.assert_allclose(np.abs(found_RH.T @ exact_RH), np.eye(5), atol=1e-4)


def test_columns_are_centred_and_scaled() -> None:
    both = with_length(np.array([[1.0, 5.0], [3.0, 5.0]]), ["one", "one two"])
    np.testing.assert_allclose(both, [[-1, 0, -1], [1, 0, 1]])


def test_vectors_of_a_file_are_reduced(tmp_path: Path) -> None:
    data = preferences()
    rng = np.random.default_rng(0)
    texts = {(r["prompt"], r[name]) for r in data.rows for name in ("response_a", "response_b")}
    ids = [embedding_id(*x) for x in sorted(texts)]
    write_embeddings(tmp_path / "v.npz", ids, rng.normal(size=(len(ids), 60)))
    source = EmbeddingConfig(source="file", path=str(tmp_path / "v.npz"))
    prepare_rehearsal(tmp_path / "r", data, None, source, Silent())
    with np.load(tmp_path / "r/data/embeddings.npz") as arrays:
        assert sorted(arrays["id"]) == sorted(ids) and arrays["embedding"].shape[1] == COMPONENTS + 1
    kept = yaml.safe_load((tmp_path / "r/source.yaml").read_text())
    assert kept["embeddings"]["path"] == str(tmp_path / "v.npz")
