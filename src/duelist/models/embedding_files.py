"""Embeddings that were made elsewhere, read from a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from duelist.errors import DataError
from duelist.models.embeddings import Embedder, Vectors
from duelist.progress import Progress
from duelist.rows import EMBEDDING_COLUMNS, SUFFIXES, RowSource, row_prompt, row_responses
from duelist.types import Message, Prompt, Response, content_id


def embedding_id(prompt: str | Sequence[Message], response: str) -> str:
    """The id by which a file names the vector of a response to a prompt: a hash of the two texts.

    Args:
        prompt: text, or a list of messages, as in the data set's rows.
        response: the response's text.
    """
    return _id(Prompt.of(prompt).id, response)


def write_embeddings(path: Path, ids: Sequence[str], vectors_RE: Any) -> None:
    """Write an .npz that source `file` reads: `id` (see `embedding_id`) and `embedding`, a row each."""
    with path.open("wb") as file:  # an open file: given a name, NumPy would add a suffix to it
        np.savez(file, id=np.asarray(ids, dtype=np.str_), embedding=np.asarray(vectors_RE))


class FileEmbeddings(Embedder):
    """Looks vectors up in an .npz, in an .npy beside a list of ids, or in rows with vectors beside the responses.

    Rows name them `embeddings` (a list beside `responses`), `embedding_a` and `embedding_b`, or `embedding_chosen` and
    `embedding_rejected`.
    """

    exact: ClassVar[bool] = True

    def __init__(self, path: str, ids: str | None = None) -> None:
        """Read the file.

        Raises:
            DataError: if it is missing, or not as described.
        """
        self.path = Path(path).expanduser()
        if not self.path.is_file():
            raise DataError(f"Embeddings are read from a file, but there is none at {self.path}: correct the path.")
        found = _from_rows(self.path) if self.path.name.endswith(SUFFIXES) else _from_arrays(self.path, ids)
        self._position: Mapping[str, int] = {key: i for i, key in enumerate(found[0])}
        self._vectors_XE = found[1]

    def embed(self, prompts: Sequence[Prompt], responses: Sequence[Response], progress: Progress) -> Vectors:
        positions = []
        for prompt, response in zip(prompts, responses, strict=True):
            position = self._position.get(_id(prompt.id, response.text))
            if position is None:
                raise DataError(
                    f"Every response must have a vector in {self.path}, but {response.text[:60]!r} (to "
                    f"{str(prompt.messages[-1]['content'])[:60]!r}) has none: ids are made by "
                    "duelist.models.embedding_files.embedding_id from prompt and response. Add it, or drop the row."
                )
            positions.append(position)
        return np.asarray(self._vectors_XE[positions], dtype=np.float32)


def _id(prompt_id: str, response: str) -> str:
    return content_id("embedding", prompt_id, response)


def _from_arrays(path: Path, ids: str | None) -> tuple[list[str], Any]:
    try:
        loaded = np.load(path)
        if path.suffix == ".npy":
            names = Path(str(ids)).expanduser().read_text(encoding="utf-8").split()
            vectors = loaded
        else:
            names, vectors = [str(name) for name in loaded["id"]], loaded["embedding"]
    except (OSError, ValueError, KeyError) as error:
        raise DataError(
            f"Embeddings must lie in an .npz with the arrays `id` and `embedding`, in an .npy beside a text file of "
            f"ids, or in rows ({', '.join(SUFFIXES)}), but {path} cannot be read so: {error}. Write it again "
            "(duelist.models.embedding_files.write_embeddings)."
        ) from error
    if vectors.ndim != 2 or len(names) != len(vectors):
        raise DataError(
            f"There must be one vector for each id, but {path} has {len(names)} ids and an array of shape "
            f"{vectors.shape}: write it again."
        )
    return names, vectors


def _from_rows(path: Path) -> tuple[list[str], Any]:
    names: list[str] = []
    vectors: list[Any] = []
    for where, row in RowSource(str(path)):
        texts = row_responses(row, where)
        given = row.get("embeddings")
        if given is None:
            given = [row[name] for name in EMBEDDING_COLUMNS[1:] if row.get(name) is not None]
        if len(given) != len(texts):
            raise DataError(
                f"A row must have a vector for each response ({', '.join(EMBEDDING_COLUMNS)}), but {where} has "
                f"{len(texts)} responses and {len(given)} vectors: add them."
            )
        prompt_id = row_prompt(row, where).id
        names += [_id(prompt_id, text) for text in texts]
        vectors += list(given)
    try:
        return names, np.array(vectors, dtype=np.float32).reshape(len(vectors), -1)
    except ValueError as error:
        raise DataError(f"All vectors of {path} must have the same length, but they have not: {error}.") from error
