"""Precomputed embeddings, read from a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from duelist.data.rows import EMBEDDING_COLUMNS, row_prompt, row_responses
from duelist.data.sources import SUFFIXES, Row, RowSource
from duelist.errors import DataError
from duelist.models.embeddings.embedder import Embedder, Vectors
from duelist.progress import Progress
from duelist.settings.validation import expanded
from duelist.types import Message, Prompt, Response, content_id


def embedding_id(prompt: str | Sequence[Message], response: str) -> str:
    """Return the id of a response's vector in a file: a hash of the prompt and the response.

    Args:
        prompt: text, or a list of messages, as in the data set's rows.
        response: the response's text.
    """
    return _id(Prompt.of(prompt).id, response)


def write_embeddings(path: Path, ids: Sequence[str], vectors_RH: Any) -> None:
    """Write an .npz for source `file`: `id` (see `embedding_id`) and `embedding`, one row per vector."""
    with path.open("wb") as file:  # an open file, because NumPy adds a suffix to a name
        np.savez(file, id=np.asarray(ids, dtype=np.str_), embedding=np.asarray(vectors_RH))


class FileEmbeddings(Embedder):
    """Vectors from an .npz, from an .npy with a list of ids, or from rows with vectors next to the responses.

    The columns of rows are `embeddings` (a list next to `responses`), `embedding_a` and `embedding_b`, or
    `embedding_chosen` and `embedding_rejected`.
    """

    exact: ClassVar[bool] = True

    def __init__(self, path: str, ids: str | None = None) -> None:
        """Read the file.

        Raises:
            DataError: if it is missing or does not have this format.
        """
        self.path = expanded(path)
        if not self.path.is_file():
            raise DataError(f"Embeddings are read from a file, but there is none at {self.path}: correct the path.")
        names, self._vectors_XH = (
            _from_rows(self.path) if self.path.name.endswith(SUFFIXES) else _from_arrays(self.path, ids)
        )
        self._position: dict[str, int] = {}
        for i, name in enumerate(names):
            first = self._position.setdefault(name, i)
            if first != i and not _same(self._vectors_XH[first], self._vectors_XH[i]):
                raise DataError(
                    f"A response must have one vector, but {self.path} has two that differ for the id {name}, numbers "
                    f"{first} and {i} in the file, from 0: drop one of them."
                )

    def embed(self, prompts: Sequence[Prompt], responses: Sequence[Response], progress: Progress) -> Vectors:
        positions = []
        for prompt, response in zip(prompts, responses, strict=True):
            position = self._position.get(_id(prompt.id, response.text))
            if position is None:
                raise DataError(
                    f"Every response must have a vector in {self.path}, but {response.text[:60]!r} (to "
                    f"{str(prompt.messages[-1]['content'])[:60]!r}) has none: ids are made by "
                    "duelist.models.embeddings.files.embedding_id from prompt and response. Add it, or drop the row."
                )
            positions.append(position)
        return np.asarray(self._vectors_XH[positions], dtype=np.float32)


def _id(prompt_id: str, response: str) -> str:
    return content_id("embedding", prompt_id, response)


def _same(one_H: Any, other_H: Any) -> bool:
    """Return whether two vectors are equal up to rounding; NaN is reported when it is used."""
    near = 1e-3 * max(float(np.abs(one_H).max()), float(np.abs(other_H).max()))
    return bool(np.allclose(one_H, other_H, rtol=0, atol=near, equal_nan=True))


def _from_arrays(path: Path, ids: str | None) -> tuple[list[str], Any]:
    try:
        with path.open("rb") as file:
            if path.suffix == ".npy":
                vectors = np.lib.format.read_array(file, allow_pickle=False)
                names = expanded(str(ids)).read_text(encoding="utf-8").split()
            else:
                with np.load(file) as arrays:
                    names, vectors = [str(name) for name in arrays["id"]], arrays["embedding"]
    except Exception as error:  # an invalid archive can raise many kinds of errors
        raise DataError(
            f"Embeddings must lie in an .npz with the arrays `id` and `embedding`, in an .npy beside a text file of "
            f"ids, or in rows ({', '.join(SUFFIXES)}), but {path} cannot be read so: {error}. Write it again "
            "(duelist.models.embeddings.files.write_embeddings)."
        ) from error
    if vectors.ndim != 2 or len(names) != len(vectors) or vectors.shape[1] == 0 or vectors.dtype.kind not in "fiu":
        raise DataError(
            f"There must be one vector of numbers for each id, but {path} has {len(names)} ids and an array of shape "
            f"{vectors.shape} and type {vectors.dtype}: write it again."
        )
    return names, vectors


def _from_rows(path: Path) -> tuple[list[str], Any]:
    names: list[str] = []
    vectors: list[Any] = []
    for where, row in RowSource(str(path)):
        texts = row_responses(row, where)
        prompt_id = row_prompt(row, where).id
        names += [_id(prompt_id, text) for text in texts]
        vectors += _row_vectors(row, where, len(texts))
    try:
        vectors_XH = np.array(vectors, dtype=np.float32)
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(
            f"All vectors of {path} must be numbers and of the same length, but they are not: {error}."
        ) from error
    if vectors_XH.ndim != 2 or vectors_XH.size == 0:
        raise DataError(
            f"There must be a vector of numbers for each response, but those of {path} make an array of shape "
            f"{vectors_XH.shape}: write it again."
        )
    return names, vectors_XH


def _row_vectors(row: Row, where: str, responses: int) -> list[Any]:
    """Return the vectors of a row's responses, in order."""
    given = row.get("embeddings")
    if given is None and row.get("responses") is None:
        names = EMBEDDING_COLUMNS[1:3] if row.get("chosen") is not None else EMBEDDING_COLUMNS[3:]
        given = [row.get(name) for name in names]
    if not isinstance(given, list) or len(given) != responses or not all(isinstance(v, list) for v in given):
        raise DataError(
            f"A row must have a vector, a list of numbers, for each of its responses: `embeddings` beside `responses`, "
            "`embedding_chosen` and `embedding_rejected` beside `chosen` and `rejected`, `embedding_a` and "
            f"`embedding_b` beside `response_a` and `response_b`. {where} has {responses} responses, and not that: "
            "correct it."
        )
    return given
