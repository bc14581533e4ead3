"""Sources of embeddings, against plain forward passes and the files as written."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from duelist.errors import DataError, ModelError, NumericalError, RecipeError
from duelist.models.embeddings.cache import EmbeddingCache
from duelist.models.embeddings.config import EmbeddingConfig
from duelist.models.embeddings.embedder import Embedder
from duelist.models.embeddings.files import embedding_id, write_embeddings
from duelist.models.embeddings.sources import make_embedder
from duelist.models.policy.config import PolicyConfig
from duelist.models.policy.kept import KeptPolicy
from duelist.models.policy.policy import Policy
from duelist.models.policy.tokenization import encode_responses
from duelist.progress import Silent
from duelist.types import Prompt, Response
from pickled_workers import PickledWorkers
from tiny_models import tiny_model as random_model


def answers(tokenizer: object | None = None) -> tuple[list[Prompt], list[Response]]:
    prompts = [Prompt.of([{"role": "user", "content": t}]) for t in ("w1 w2", "w3", "w3")]
    responses = []
    for prompt, text in zip(prompts, ("w4", "w5 w6 w7", "w8 w9"), strict=True):
        ids = ([1], [[2]]) if tokenizer is None else encode_responses(tokenizer, prompt, [text])
        responses.append(Response.of(prompt, text, ids[0], ids[1][0], 1))
    return prompts, responses


@pytest.mark.parametrize(("pool", "layer"), [("mean", None), ("last", 1), ("both", 1), ("both", None)])
def test_hidden_states_equal_one_pass_each(tiny_model: Path, pool: str, layer: int | None) -> None:
    tokenizer, model = AutoTokenizer.from_pretrained(tiny_model), AutoModelForCausalLM.from_pretrained(tiny_model)
    prompts, responses = answers(tokenizer)
    config = EmbeddingConfig.model_validate({"model": str(tiny_model), "pool": pool, "layer": layer, "max_tokens": 20})
    vectors = make_embedder(config).embed(prompts, responses, Silent())
    for vector, response in zip(vectors, responses, strict=True):
        whole = torch.tensor([[*response.prompt_token_ids, *response.token_ids]])
        with torch.no_grad():
            found = model(whole, output_hidden_states=True).hidden_states[2 if layer is None else layer]
        states = found[0, len(response.prompt_token_ids) :]
        pools = {"mean": [states.mean(dim=0)], "last": [states[-1]], "both": [states.mean(dim=0), states[-1]]}
        np.testing.assert_allclose(vector, torch.cat(pools[pool]).numpy(), atol=1e-5)


def test_a_layer_that_the_model_lacks_is_refused(tiny_model: Path) -> None:
    with pytest.raises(ModelError, match=r"one of the 2 layers of .*, but got 3: lower it"):
        make_embedder(EmbeddingConfig(model=str(tiny_model), layer=3))


def test_long_rope_embeds_a_response_alike_alone_and_in_company(tiny_model: Path, tmp_path: Path) -> None:
    random_model("phi3", torch.float32).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(tmp_path)
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    embedder = make_embedder(EmbeddingConfig(model=str(tmp_path), device="cpu"))
    prompt = Prompt.of("w1 w2 w3")
    responses = [Response.of(prompt, " ".join(["w4"] * n), [1], [n], 1) for n in (1, 4, 5, 12)]
    vectors = embedder.embed([prompt] * 4, responses, Silent())
    for vector, response in zip(vectors, responses, strict=True):
        ids, (answer,) = encode_responses(AutoTokenizer.from_pretrained(tiny_model), prompt, [response.text])
        with torch.no_grad():
            states = model(torch.tensor([[*ids, *answer]]), output_hidden_states=True).hidden_states[-1][0, len(ids) :]
        np.testing.assert_allclose(vector, states.mean(dim=0).numpy(), atol=1e-5)


def test_the_policys_hidden_states_are_those_of_its_base_model(tiny_model: Path) -> None:
    policy = Policy.load(PolicyConfig(model=str(tiny_model), device="cpu"), 0)
    prompts, responses = answers(policy.tokenizer)
    embedder = make_embedder(EmbeddingConfig(), policy)
    before = embedder.embed(prompts, responses, Silent())
    with torch.no_grad():
        for name, weight in policy.model.named_parameters():
            if "lora_B" in name:
                weight.fill_(0.5)
    np.testing.assert_allclose(embedder.embed(prompts, responses, Silent()), before, atol=1e-6)
    base = make_embedder(EmbeddingConfig(model=str(tiny_model), device="cpu")).embed(prompts, responses, Silent())
    np.testing.assert_allclose(before, base, atol=1e-5)
    with pytest.raises(ModelError, match="Hidden states need a causal language model"):
        make_embedder(EmbeddingConfig())


def test_workers_give_the_vectors_of_one_process(tiny_model: Path) -> None:
    policy_config = PolicyConfig(model=str(tiny_model), device="cpu")
    policy = Policy.load(policy_config, 0)
    prompts, responses = answers(policy.tokenizer)
    kept, workers = KeptPolicy(policy_config, 0, None, None, torch.get_num_threads(), policy), PickledWorkers()
    own = EmbeddingConfig(model=str(tiny_model), device="cpu", max_tokens=7)
    for config in (own, EmbeddingConfig(max_tokens=7)):
        expected = make_embedder(config, policy).embed(prompts, responses, Silent())
        spread = make_embedder(config, policy, workers, kept)
        np.testing.assert_array_equal(spread.embed(prompts, responses, Silent()), expected)
    assert workers.batches == [4, 2]  # three for each
    assert [type(x).__name__ for x in workers.held(0)] == ["LlamaForCausalLM", "Policy"]
    with torch.no_grad():  # trained, which the base model is not
        for name, weight in policy.model.named_parameters():
            if "lora_B" in name:
                weight.fill_(0.5)
    np.testing.assert_array_equal(spread.embed(prompts, responses, Silent()), expected)
    without = make_embedder(EmbeddingConfig(), policy, workers)
    with pytest.raises(RecipeError, match="only in memory: use the engine `local`"):
        without.embed(prompts, responses, Silent())


def test_vectors_come_from_every_kind_of_file(tmp_path: Path) -> None:
    prompts, responses = answers()
    vectors = np.arange(12.0).reshape(3, 4)
    ids = [embedding_id(p.as_trl(), r.text) for p, r in zip(prompts, responses, strict=True)]
    write_embeddings(tmp_path / "v.npz", ids[::-1], vectors[::-1])
    np.save(tmp_path / "v.npy", vectors)
    (tmp_path / "ids.txt").write_text("\n".join(ids) + "\n")
    rows = [
        {"prompt": prompts[0].as_trl(), "responses": ["w4"], "embeddings": [vectors[0].tolist()]},
        {
            "prompt": prompts[1].as_trl(),
            "chosen": "w5 w6 w7",
            "rejected": "w8 w9",
            "embedding_chosen": vectors[1].tolist(),
            "embedding_rejected": vectors[2].tolist(),
        },
    ]
    (tmp_path / "v.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name in ("v.npz", "v.npy", "v.jsonl"):
        ids_file = str(tmp_path / "ids.txt") if name == "v.npy" else None
        config = EmbeddingConfig(source="file", path=str(tmp_path / name), ids=ids_file)
        np.testing.assert_array_equal(make_embedder(config).embed(prompts, responses, Silent()), vectors)
    other = Response.of(prompts[0], "w9", [1], [2], 1)
    with pytest.raises(DataError, match=r"Every response must have a vector in .*v\.jsonl, but 'w9'"):
        make_embedder(config).embed([prompts[0]], [other], Silent())
    with pytest.raises(DataError, match="there is none at"):
        make_embedder(EmbeddingConfig(source="file", path=str(tmp_path / "x.npz")))


VECTORS = np.arange(8.0).reshape(2, 4)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "cannot be read so"),
        (b"PK\x03\x04 but no archive", "cannot be read so"),
        ({"a": VECTORS}, "cannot be read so"),
        (VECTORS, "cannot be read so"),  # an .npy under another name
        ({"id": ["x", "y", "z"], "embedding": VECTORS}, "has 3 ids and an array of shape"),
        ({"id": ["x", "y"], "embedding": VECTORS[:, :0]}, r"array of shape \(2, 0\)"),
        ({"id": ["x", "y"], "embedding": VECTORS[:, 0]}, r"array of shape \(2,\)"),
        ({"id": ["x", "y"], "embedding": VECTORS.astype(str)}, "and type <U"),
        ({"id": ["x", "y"], "embedding": VECTORS + 1j}, "and type complex128"),
        ({"id": ["x", "x"], "embedding": VECTORS}, "two that differ for the id x, numbers 0 and 1"),
    ],
)
def test_a_file_of_vectors_that_is_none_is_refused(content: object, said: str, tmp_path: Path) -> None:
    path = tmp_path / "v.npz"
    with path.open("wb") as file:
        if isinstance(content, bytes):
            file.write(content)
        elif isinstance(content, dict):
            np.savez(file, **content)
        else:
            np.save(file, np.asarray(content))
    with pytest.raises(DataError, match=said):
        make_embedder(EmbeddingConfig(source="file", path=str(path)))


def test_a_vector_may_stand_twice(tmp_path: Path) -> None:
    rounded = VECTORS[1] * (1 + 1e-6)  # as another batch of the same model would have it
    write_embeddings(tmp_path / "v.npz", ["x", embedding_id("w", "y"), "x", embedding_id("w", "y")],
                     np.stack([VECTORS[0], VECTORS[1], VECTORS[0], rounded]))  # fmt: skip
    prompt = Prompt.of("w")
    source = make_embedder(EmbeddingConfig(source="file", path=str(tmp_path / "v.npz")))
    found = source.embed([prompt], [Response.of(prompt, "y", [1], [2], 1)], Silent())
    np.testing.assert_array_equal(found, VECTORS[1:])


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"responses": ["a", "b"], "embeddings": [[1, 2], None]}, "a list of numbers, for each of its responses"),
        ({"responses": ["a", "b"], "embeddings": [1, 2]}, "a list of numbers, for each of its responses"),
        ({"responses": ["a", "b"], "embeddings": 5}, "a list of numbers, for each of its responses"),
        ({"responses": ["a", "b"], "embedding_a": [1], "embedding_b": [2]}, "for each of its responses"),
        # Which is chosen, the label says: these vectors could be of either.
        ({"response_a": "a", "response_b": "b", "embedding_chosen": [1], "embedding_rejected": [2]}, "has 2 responses"),
        ({"response_a": "a", "response_b": "b", "embedding_a": [1]}, "has 2 responses"),
        ({"responses": ["a", "b"], "embeddings": [[1, 2], [1]]}, "of the same length"),
        ({"responses": ["a", "b"], "embeddings": [["x"], ["y"]]}, "must be numbers"),
        ({"responses": ["a", "b"], "embeddings": [[[1]], [[2]]]}, r"array of shape \(2, 1, 1\)"),
        ({"responses": []}, "for each of its responses"),
    ],
)
def test_rows_without_a_vector_for_each_response_are_refused(row: dict[str, object], said: str, tmp_path: Path) -> None:
    (tmp_path / "v.jsonl").write_text(json.dumps({"prompt": "w", **row}) + "\n")
    with pytest.raises(DataError, match=said):
        make_embedder(EmbeddingConfig(source="file", path=str(tmp_path / "v.jsonl")))


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"source": "file"}, "needs a `path`"), ({"source": "file", "path": "x.npy"}, "needs `ids`")],
)
def test_a_source_without_what_it_needs_is_refused(settings: dict[str, str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        EmbeddingConfig.model_validate(settings)


class Counting(Embedder):
    def __init__(self, value: float) -> None:
        self.seen: list[str] = []
        self.value = value

    def embed(self, prompts: object, responses: list[Response], progress: object) -> np.ndarray:
        self.seen += [r.id for r in responses]
        return np.array([[len(r.text), self.value] for r in responses], dtype=np.float32)


def test_each_response_is_embedded_once() -> None:
    prompts, responses = answers()
    source = Counting(1.0)
    cache, by_id = EmbeddingCache(source), {p.id: p for p in prompts}
    cache(by_id, [responses[0], responses[0], responses[1]], Silent())
    vectors = cache(by_id, [responses[2], responses[0]], Silent())
    np.testing.assert_array_equal(vectors, [[5, 1], [2, 1]])
    assert source.seen == [r.id for r in responses]
    with pytest.raises(NumericalError, match="An embedding must be finite"):
        EmbeddingCache(Counting(np.nan))(by_id, responses, Silent())
