"""Embeddings by a real, tiny sentence-transformers model, against the library itself and a plain forward pass."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from duelist import Study
from duelist.errors import ModelError
from duelist.models.embeddings.config import EmbeddingConfig
from duelist.models.embeddings.sentence_encoder import read_encoder
from duelist.models.embeddings.sources import make_embedder
from duelist.models.policy.fixed_model import fingerprint
from duelist.models.rewards.network import RewardModel
from duelist.preflight.examination import examine
from duelist.progress import Advance, Progress, Silent
from duelist.recipe.reading import parse_recipe
from duelist.store.artifacts import read_jsonl
from duelist.types import Prompt, Response
from pickled_workers import PickledWorkers

INSTALLED = importlib.util.find_spec("sentence_transformers") is not None
needs_library = pytest.mark.skipif(not INSTALLED, reason="sentence-transformers is not installed (extra `embeddings`)")
LIMIT = 24  # tokens that the tiny model reads


@pytest.fixture(scope="session")
def tiny_encoder(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tiny Llama's body under mean pooling, as the library saves models."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    plain = tmp_path_factory.mktemp("without-template") / "model"
    shutil.copytree(tiny_model, plain, ignore=shutil.ignore_patterns("*.jinja"))  # with one, the library would use it
    body = Transformer(str(plain), max_seq_length=LIMIT)
    folder = tmp_path_factory.mktemp("tiny-encoder")
    SentenceTransformer(modules=[body, Pooling(32, "mean")], device="cpu").save(str(folder))
    return folder


@pytest.fixture(scope="session")
def static_encoder(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of the library that is no model of transformers: a table of vectors, averaged over words."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer

    table = np.random.default_rng(0).normal(size=(46, 5)).astype(np.float32)
    module = StaticEmbedding(Tokenizer.from_file(str(tiny_model / "tokenizer.json")), embedding_weights=table)
    folder = tmp_path_factory.mktemp("static-encoder")
    SentenceTransformer(modules=[module], device="cpu").save(str(folder))
    return folder


def answers(*texts: tuple[str, str]) -> tuple[list[Prompt], list[Response]]:
    prompts = [Prompt.of(prompt) for prompt, _ in texts]
    return prompts, [Response.of(p, t, [], [1], 1) for p, (_, t) in zip(prompts, texts, strict=True)]


def encoder_of(folder: Path, **settings: Any) -> Any:
    return make_embedder(EmbeddingConfig(source="sentence_transformers", model=str(folder), device="cpu", **settings))


class Notes(Progress):
    def __init__(self) -> None:
        self.notes: list[str] = []

    @contextmanager
    def stage(self, description: str, total: int) -> Iterator[Advance]:
        yield lambda steps: None

    def note(self, text: str) -> None:
        self.notes.append(text)


@needs_library
def test_vectors_are_the_librarys_and_those_of_a_plain_pass(tiny_encoder: Path, tiny_model: Path) -> None:
    from sentence_transformers import SentenceTransformer

    pairs = [("w1 w2", "w3"), ("w4", "w5 w6 w7 w8"), ("w1 w2", "w9"), ("w0", "w9 w9")]
    vectors = encoder_of(tiny_encoder, batch_size=3).embed(*answers(*pairs), Silent())
    texts = [f"{prompt}\n\n{response}" for prompt, response in pairs]
    encoded = SentenceTransformer(str(tiny_encoder), device="cpu").encode(texts)
    np.testing.assert_allclose(vectors, encoded, atol=1e-6)
    tokenizer, body = AutoTokenizer.from_pretrained(tiny_model), AutoModel.from_pretrained(tiny_model)
    for vector, text in zip(vectors, texts, strict=True):
        with torch.no_grad():
            states = body(**tokenizer(text, return_tensors="pt", return_token_type_ids=False)).last_hidden_state[0]
        np.testing.assert_allclose(vector, states.mean(dim=0).numpy(), atol=1e-5)
    assert vectors.dtype == np.float32


@needs_library
def test_workers_give_the_vectors_of_one_process(tiny_encoder: Path, static_encoder: Path) -> None:
    long = " ".join(f"w{i % 40}" for i in range(LIMIT))
    some = answers(("w1 w2", "w3"), (long, "w1"), ("w4", "w5 w6 w7 w8"), ("w1 w2", "w9"), (long, "w2"))
    for folder in (tiny_encoder, static_encoder):
        here, there, workers = Notes(), Notes(), PickledWorkers()
        expected = encoder_of(folder, batch_size=2).embed(*some, here)
        config = EmbeddingConfig(source="sentence_transformers", model=str(folder), device="cpu", batch_size=2)
        np.testing.assert_array_equal(make_embedder(config, engine=workers).embed(*some, there), expected)
        assert workers.batches == [2, 1] and there.notes == here.notes


@needs_library
def test_an_encoder_that_reads_or_pools_otherwise_is_another_model(tiny_encoder: Path, tmp_path: Path) -> None:
    """Workers read texts: the weights alone do not decide their vectors."""

    def changed(file: str, before: str, after: str) -> Any:
        folder = tmp_path / file.replace("/", "-")
        shutil.copytree(tiny_encoder, folder)
        content = (folder / file).read_text(encoding="utf-8")
        assert before in content
        (folder / file).write_text(content.replace(before, after), encoding="utf-8")
        return read_encoder(EmbeddingConfig(source="sentence_transformers", model=str(folder), device="cpu"))

    whole = read_encoder(EmbeddingConfig(source="sentence_transformers", model=str(tiny_encoder), device="cpu"))
    expected = fingerprint(whole)
    whole.encode(["w1 w2", "w3"])
    assert fingerprint(whole) == expected == fingerprint(changed("README.md", "---", "----"))
    others = [
        changed("1_Pooling/config.json", '"mean"', '"max"'),
        changed("tokenizer.json", '"w1"', '"w1x"'),
        changed(
            "config_sentence_transformers.json", '"default_prompt_name": null', '"default_prompt_name": "document"'
        ),
    ]
    assert expected not in {fingerprint(x) for x in others}


@needs_library
def test_weights_have_the_type_that_was_asked_for(tiny_encoder: Path) -> None:
    plain, coarse = encoder_of(tiny_encoder), encoder_of(tiny_encoder, dtype="bfloat16")
    assert next(coarse._model.parameters()).dtype == torch.bfloat16
    assert next(plain._model.parameters()).dtype == torch.float32
    some = answers(("w1 w2", "w3 w4"))
    difference = np.abs(plain.embed(*some, Silent()) - coarse.embed(*some, Silent()))
    assert 0 < difference.max() < 0.1


@needs_library
def test_a_text_that_is_cut_is_told_of(tiny_encoder: Path, static_encoder: Path) -> None:
    long = " ".join(f"w{i % 40}" for i in range(LIMIT))
    told = Notes()
    vectors = encoder_of(tiny_encoder).embed(*answers((long, "w1"), (long, "w2"), ("w1", long[:-7])), told)
    assert (vectors[0] == vectors[1]).all()  # the answers are cut off
    assert len(told.notes) == 1
    assert told.notes[0].startswith(f"2 of 3 texts (prompt, then response) fill the {LIMIT} tokens")
    told = Notes()
    encoder_of(static_encoder).embed(*answers((long, "w1")), told)
    assert not told.notes


def recipe(folder: Path, tiny_reward: str, model: str, **embedding: Any) -> dict[str, Any]:
    rows = [{"prompt": f"w{i}", "responses": [f"w{i} w{j * 9}" for j in range(4)]} for i in range(12)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = {"source": "sentence_transformers", "model": model, "device": "cpu", **embedding}
    return {
        "name": "sentences",
        "rounds": 2,
        "budget": 6,
        "initial_random": 6,
        "pool": "fixed",
        "prompts": {"path": str(folder / "rows.jsonl"), "held_out": 3},
        "sampler": "dataset",
        "annotator": {"name": "reward_function", "function": tiny_reward},
        "acquisition": "pa_d_opt",
        "trainer": "bradley_terry",
        "reward_model": {"embedding": source, "hidden": [8]},
    }


@needs_library
@pytest.mark.parametrize("kind", ["tiny_encoder", "static_encoder"])
def test_a_study_runs_on_any_model_of_the_library(
    kind: str, tiny_reward: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    content = parse_recipe(recipe(tmp_path, tiny_reward, str(request.getfixturevalue(kind))))
    examine(content)
    with Study.create(tmp_path / "study", content) as study:
        study.run()
    samples = read_jsonl(tmp_path / "study" / "rounds" / "002" / "evaluation.jsonl")[1:]
    scores = RewardModel.load(tmp_path / "study" / "reward_model").score(
        [s["prompt"] for s in samples], [s["response"] for s in samples]
    )
    np.testing.assert_allclose(scores, [s["score"] for s in samples], atol=1e-5)


@needs_library
def test_what_is_no_model_is_refused_before_the_study(tiny_encoder: Path, tiny_reward: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    key = r"reward_model\.embedding\.model must be a folder"
    for model in (str(tmp_path / "empty"), str(tmp_path / "missing"), "no-such-model"):
        with pytest.raises(ModelError, match=key):
            examine(parse_recipe(recipe(tmp_path, tiny_reward, model)))
    with pytest.raises(ModelError, match="must be a sentence-transformers model, but"):
        encoder_of(tmp_path / "empty")
    content = recipe(tmp_path, tiny_reward, str(tiny_encoder))
    own = {"embedding": {"source": "sentence_transformers", "model": str(tmp_path / "missing")}}
    with pytest.raises(ModelError, match=r"featurizers\.embedding\.model must be a folder"):
        examine(parse_recipe(content | {"featurizers": {"reward_head": {}, **own}}))


def test_a_device_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("duelist.models.embeddings.sentence_encoder._require_library", lambda: None)
    config = EmbeddingConfig(source="sentence_transformers", model=str(tmp_path), device="nonsense")
    with pytest.raises(ModelError, match="The device 'nonsense' must exist"):
        make_embedder(config)


def test_a_library_that_is_missing_is_named_before_the_study(
    tiny_reward: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("duelist.models.embeddings.sentence_encoder.find_spec", lambda name: None)
    content = recipe(tmp_path, tiny_reward, "all-MiniLM-L6-v2")
    for attempt in (lambda: examine(parse_recipe(content)), lambda: encoder_of(tmp_path)):
        with pytest.raises(ModelError, match="pip install sentence-transformers"):
            attempt()
