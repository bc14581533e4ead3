"""The files of a rehearsal: a recipe that fits the file, vectors of the texts, and the folder of one rehearsal."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import duelist.rehearsal.text_vectors as module
from duelist import load_recipe
from duelist.errors import BudgetError, DataError, RecipeError, StorageError
from duelist.models.embeddings.config import EmbeddingConfig
from duelist.models.embeddings.files import embedding_id, write_embeddings
from duelist.progress import Silent
from duelist.rehearsal.preparing import prepare_rehearsal
from duelist.rehearsal.rows import Preferences
from duelist.rehearsal.text_vectors import COMPONENTS, text_vectors, with_length


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
    with pytest.raises(BudgetError, match=r"8 equal batches, but got 15 labels.*a multiple of 8 up to 96"):
        prepare_rehearsal(tmp_path / "t", preferences(), 15, None, Silent())
    one = Preferences(preferences(1, 58).rows + preferences(2, 2).rows[2:], 0, 0)
    for labels in (None, 8):
        with pytest.raises(BudgetError, match=r"60 decided pairs may leave 2, because 1 of 2 prompts.*more prompts"):
            prepare_rehearsal(tmp_path / "t", one, labels, None, Silent())
    few = Preferences(preferences(1, 51).rows + preferences(2, 9).rows[9:], 0, 0)
    assert load_recipe(prepare_rehearsal(tmp_path / "v", few, None, None, Silent())).budget == 1
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
    with pytest.raises(DataError, match=r"2 responses share 0: give features with --model or --embeddings"):
        text_vectors(["a", "b b"], np.random.default_rng(0))


def zipf_texts(count: int, seed: int = 0) -> list[str]:
    """Texts of 20 to 60 words whose frequencies fall like those of a language: a spectrum without gaps."""
    rng = np.random.default_rng(seed)
    share = 1.0 / np.arange(1, 2001)
    lengths = rng.integers(20, 60, size=count)
    return [" ".join(f"w{i}" for i in rng.choice(2000, size=n, p=share / share.sum())) for n in lengths]


@pytest.mark.parametrize("dense", [True, False])
def test_the_directions_are_those_of_the_dense_decomposition(dense: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of texts like those of a language, where neighbouring singular values are close."""
    monkeypatch.setattr(module, "DENSE", 1000 if dense else 10)
    texts = zipf_texts(300)
    counts = [Counter([*t.split(), *map(" ".join, pairwise(t.split()))]) for t in texts]
    documents = Counter(term for c in counts for term in c)
    terms = [t for t, n in documents.items() if n > 1]
    cell_RX = np.array(
        [[(1 + np.log(c[t])) * np.log(301 / (1 + documents[t])) if t in c else 0 for t in terms] for c in counts]
    )
    cell_RX /= np.linalg.norm(cell_RX, axis=1, keepdims=True)
    exact_RH = np.linalg.svd(cell_RX, full_matrices=False)[0][:, :COMPONENTS]
    found_RH = text_vectors(texts, np.random.default_rng(0))[:, :-1] / np.sqrt(300)
    assert np.linalg.svd(found_RH.T @ exact_RH)[1].min() > 0.999999  # cosines between the two spaces
    np.testing.assert_allclose(np.abs((found_RH * exact_RH).sum(axis=0)), 1, atol=1e-6)


@pytest.mark.parametrize("dense", [True, False])
def test_the_order_of_the_texts_does_not_matter(dense: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DENSE", 1000 if dense else 10)
    monkeypatch.setattr(module, "VOCABULARY", 100)  # many terms are equally frequent
    texts = zipf_texts(120)
    turned = np.random.default_rng(1).permutation(120)
    found = text_vectors(texts, np.random.default_rng(0))
    again = text_vectors([texts[i] for i in turned], np.random.default_rng(0))
    assert (found[turned] == again).all()


def test_scripts_without_spaces_have_vectors() -> None:
    texts = [f"苹果很甜，也很红{c}" for c in "甲乙丙丁"] + [f"汽车需要燃料{c}" for c in "甲乙丙丁"]
    vector_RH = text_vectors(texts, np.random.default_rng(0))
    assert np.linalg.norm(vector_RH[:4, :-1].mean(axis=0) - vector_RH[4:, :-1].mean(axis=0)) > 1
    assert vector_RH[0, -1] > vector_RH[4, -1]


def test_features_that_tell_nothing_are_refused(tmp_path: Path) -> None:
    data = preferences()
    source = EmbeddingConfig(source="file", path=str(tmp_path / "v.npz"))
    same = tuple({**r, "response_a": f"x{i} y", "response_b": f"z{i} y"} for i, r in enumerate(data.rows))
    ids = [embedding_id(r["prompt"], r[n]) for r in same for n in ("response_a", "response_b")]
    write_embeddings(tmp_path / "v.npz", ids, np.full((len(ids), 3), 0.1))
    with pytest.raises(DataError, match=r"tell responses apart, but those of all 240 are equal"):
        prepare_rehearsal(tmp_path / "r", Preferences(same, 0, 0), None, source, Silent())


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
