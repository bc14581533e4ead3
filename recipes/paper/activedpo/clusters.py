"""Figure 2's data: demonstrations and preferences, each split into clusters of their embeddings by k-means."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from duelist import world
from duelist.acquisition.coreset import cluster
from duelist.data import RowSource, row_pair, row_prompt
from duelist.data.rows import response_text
from duelist.errors import DataError
from duelist.models.embeddings.config import EmbeddingConfig
from duelist.models.embeddings.sources import make_embedder
from duelist.models.policy.loading import load_pretrained
from duelist.models.policy.plain_tokens import plain_token_ids
from duelist.models.policy.tokenization import encode_responses
from duelist.progress import Silent
from duelist.seeding import generator, hash_keys
from duelist.types import Prompt, Response

Rows = Sequence[Mapping[str, Any]]


def split(
    folder: Path,
    *,
    demonstrations: str,
    preferences: str,
    embedding: dict[str, Any],
    models: int = 2,
    subsets: int = 3,
    size: int | None = None,
    seed: int = 0,
) -> None:
    """Write `sft-1.jsonl` ... (a cluster of the demonstrations each) and `preferences-1.jsonl` ... likewise.

    A demonstration is embedded with its prompt, a preference by its preferred response with its prompt.

    Args:
        folder: where the files go.
        demonstrations: rows with `prompt` and `completion`: a file, or a data set on the hub.
        preferences: rows in TRL's preference format, likewise.
        embedding: source of the vectors, as the recipes' `featurizers.embedding` has it.
        models: number of clusters of the demonstrations.
        subsets: number of clusters of the preferences.
        size: number of preferences kept of each cluster, drawn at random; None: all.
        seed: the only source of randomness.

    Raises:
        DataError: if a row cannot be read, or a cluster has fewer preferences than `size`.
    """
    config = EmbeddingConfig.model_validate(embedding)
    for name, source, k in (("sft", demonstrations, models), ("preferences", preferences, subsets)):
        rows = [dict(row) for _, row in RowSource(source)]
        cluster_R = cluster(_vectors(rows, config), k, generator(seed, "clusters", name))
        for i in range(k):
            own = [rows[r] for r in np.flatnonzero(cluster_R == i)]
            kept = _sample(own, size, generator(seed, "subset", i)) if name == "preferences" and size else own
            _write(folder / f"{name}-{i + 1}.jsonl", kept)


def prepare_small(
    folder: Path, *, seed: int, demonstrations: int = 1200, preferences: int = 400, size: int = 48, **settings: Any
) -> None:
    """Write a synthetic environment, demonstrations and preferences on its prompts, and their clusters.

    The environment's model is fine-tuned for fewer steps than usual: enough to write words, so that which
    demonstrations follow matters. Responses are drawn as in the environment's own demonstrations; the one with the
    higher true reward is preferred.

    Args:
        folder: an empty folder.
        seed: the only source of randomness.
        demonstrations: number of demonstrations.
        preferences: number of preferences.
        size: number of preferences kept of each cluster.
        **settings: further settings of the environment (`duelist.world.WorldSettings`).
    """
    world.prepare(folder, **{"seed": seed, "prompts": demonstrations + preferences, "sft_steps": 200, **settings})
    about = json.loads((folder / "world.json").read_text(encoding="utf-8"))
    prompts = [json.loads(line) for line in (folder / "prompts.jsonl").read_text(encoding="utf-8").splitlines()]
    rng = generator(seed, "figure 2")
    order = rng.permutation(len(prompts))

    def said(kind: int) -> str:
        style = about["kinds"][kind][("preferred", "other")[int(rng.integers(2))]]
        return " ".join(str(rng.choice(style)) for _ in range(about["settings"]["response_tokens"]))

    def message(text: str) -> list[dict[str, str]]:
        return [{"role": "assistant", "content": text}]

    shown, compared = [], []
    for i, row in enumerate(prompts[r] for r in order):
        if i < demonstrations:
            shown.append({"prompt": row["prompt"], "completion": message(said(row["kind"]))})
            continue
        first, second = 0.0, 0.0
        while first == second:
            texts = [said(row["kind"]) for _ in range(2)]
            first, second = world.reward([row["prompt"]] * 2, texts, world=folder)
        chosen, rejected = texts if first > second else texts[::-1]
        compared.append({"prompt": row["prompt"], "chosen": message(chosen), "rejected": message(rejected)})
    _write(folder / "demonstrations.jsonl", shown)
    _write(folder / "preferences.jsonl", compared)
    split(
        folder,
        demonstrations=str(folder / "demonstrations.jsonl"),
        preferences=str(folder / "preferences.jsonl"),
        embedding={"source": "hidden_states", "model": str(folder / "model"), "device": "cpu"},
        size=size,
        seed=seed,
    )


def _vectors(rows: Rows, config: EmbeddingConfig) -> NDArray[np.float64]:
    """Return the vector of each row's response to its prompt, `[R, H]`."""
    tokenizer: Any = None
    if config.source == "hidden_states":
        from transformers import AutoTokenizer

        tokenizer = load_pretrained(AutoTokenizer, config.model or "", "embedding.model", config.revision)
    prompts: list[Prompt] = []
    responses = []
    for i, row in enumerate(rows):
        where = f"row {i}"
        prompt = row_prompt(row, where)
        text = response_text(row["completion"], where) if "completion" in row else row_pair(row, where)[0]
        prompts.append(prompt)
        if tokenizer is None:
            prompt_ids, ids = plain_token_ids(str(prompt.messages[-1]["content"])), plain_token_ids(text)
        else:
            prompt_ids, (ids,) = encode_responses(tokenizer, prompt, [text])
        responses.append(Response.of(prompt, text, prompt_ids, ids, 0))
    vectors = make_embedder(config).embed(prompts, responses, Silent())
    return np.asarray(vectors, dtype=np.float64)


def _sample(rows: Rows, size: int, rng: np.random.Generator) -> Rows:
    if len(rows) < size:
        raise DataError(f"Every cluster must have {size} preferences, but one has {len(rows)}: lower `size`.")
    order = hash_keys(rng, [json.dumps(row, sort_keys=True) for row in rows]).argsort(kind="stable")[:size]
    return [rows[i] for i in sorted(order.tolist())]


def _write(path: Path, rows: Rows) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
