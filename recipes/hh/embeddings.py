"""HH-RLHF pairs with sentence embeddings that were made elsewhere."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np

from duelist.errors import DataError
from duelist.models.embeddings import embedding_id, write_embeddings


def embedded(folder: Path, data: str) -> None:
    """Write `train.jsonl` and `test.jsonl`, the pairs that have vectors, and `embeddings.npz`.

    Args:
        folder: where.
        data: the folder with `train.jsonl.gz` and `test.jsonl.gz` (rows `prompt`, `chosen`, `rejected`,
            `embedding_row`), and `train_minilm.npz` and `test_minilm.npz` (arrays `chosen` and `rejected`, a row each).

    Raises:
        DataError: if a file is missing.
    """
    place = Path(data).expanduser()
    names = [f"{split}{end}" for split in ("train", "test") for end in (".jsonl.gz", "_minilm.npz")]
    missing = [name for name in names if not (place / name).is_file()]
    if missing:
        raise DataError(
            f"HH-RLHF with embeddings must lie in a folder with {', '.join(names)}, but {place} lacks "
            f"{', '.join(missing)}: name the folder, `--set prepare.settings.data=FOLDER`."
        )
    ids: list[str] = []
    vectors = []
    for split in ("train", "test"):
        with np.load(place / f"{split}_minilm.npz") as arrays:
            by_column = {name: arrays[name] for name in ("chosen", "rejected")}
        with (
            gzip.open(place / f"{split}.jsonl.gz", "rt", encoding="utf-8") as lines,
            (folder / f"{split}.jsonl").open("w", encoding="utf-8") as file,
        ):
            for row in map(json.loads, lines):
                if row["embedding_row"] is None:
                    continue
                kept = {name: row[name] for name in ("prompt", "chosen", "rejected", "source")}
                file.write(json.dumps(kept, ensure_ascii=False) + "\n")
                for name, array in by_column.items():
                    ids.append(embedding_id(row["prompt"], row[name][0]["content"]))
                    vectors.append(array[row["embedding_row"]])
    write_embeddings(folder / "embeddings.npz", ids, np.stack(vectors))
