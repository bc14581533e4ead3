"""UKPConvArg1 as Duelist reads it: prompts (a topic and a side), arguments, vote counts, embeddings."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np

from duelist.errors import DataError
from duelist.models.embeddings import embedding_id, write_embeddings

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
    place = Path(data).expanduser()
    missing = [name for name in (ITEMS, PAIRS, VECTORS) if not (place / name).is_file()]
    if missing:
        raise DataError(
            f"UKPConvArg1 must lie in a folder with {ITEMS}, {PAIRS} and {VECTORS}, but {place} lacks "
            f"{', '.join(missing)}: name the folder, `--set prepare.settings.data=FOLDER`."
        )
    items = {item["id"]: item for item in _rows(place / ITEMS)}
    prompts = {i: f"{x['title']}\n{x['stance']}\n\nGive an argument." for i, x in items.items()}
    with (folder / "pairs.jsonl").open("w", encoding="utf-8") as file:
        for pair in _rows(place / PAIRS):
            a, b = pair["a"], pair["b"]
            row = {"prompt": prompts[a], "response_a": items[a]["text"], "response_b": items[b]["text"]}
            if row["response_a"] != row["response_b"]:
                file.write(json.dumps({**row, **{k: pair[k] for k in ("n_a", "n_b", "n_eq")}}) + "\n")
    with np.load(place / VECTORS) as vectors:
        ids, embedding = vectors["id"].tolist(), vectors["embedding"]
    write_embeddings(folder / "embeddings.npz", [embedding_id(prompts[i], items[i]["text"]) for i in ids], embedding)


def _rows(file: Path) -> list[dict[str, Any]]:
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]
