"""Tokenised pairs from the rows of a pool, the candidates of `duelist.select`."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import combinations
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from duelist.data.id_index import ById, IdIndex, id_number, id_text
from duelist.data.rows import row_pair, row_prompt, row_responses
from duelist.data.sources import Row, RowSource
from duelist.errors import DataError
from duelist.files.records import Records
from duelist.files.sequences import Computed, LazySequence
from duelist.models.policy.policy import Policy
from duelist.models.policy.tokenization import check_length, encode_responses, require_chat_template, require_own_tokens
from duelist.types import Prompt, Question, Response, content_id

Pool = str | Path | Iterable[Row]


_PAIR = np.dtype([("record", "<i8"), ("a", "<i4"), ("b", "<i4"), ("id", "<u8"), ("texts", "<u8")])


@dataclass(frozen=True)
class PoolPair:
    """A pair, its prompt, and the number of its row in the pool, counted from 0.

    The row itself is not kept: its other columns, such as embeddings, may be larger than the texts (see `rows_at`). Nor
    are they kept with the prompt.
    """

    pair: Question
    prompt: Prompt
    row_number: int


@dataclass(frozen=True)
class _PoolRow:
    """The responses of a row, and what `PoolPair` keeps of it."""

    responses: tuple[Response, ...]
    prompt: Prompt
    number: int


@final
class PoolPairs(LazySequence[PoolPair]):
    """Distinct pairs of a source's rows, in the order of the rows, read from a temporary file when they are asked for.

    Args:
        records: the rows.
        index: the records of each prompt.
        pair_N: of each pair, its record, the responses there, and the numbers of its id and of its texts.
    """

    def __init__(self, records: Records[_PoolRow], index: IdIndex, pair_N: NDArray[np.void]) -> None:
        self._records = records
        self._index = index
        self._pair_N = pair_N
        self._record = lru_cache(1)(records.__getitem__)  # a row's pairs follow one another

    def __len__(self) -> int:
        return len(self._pair_N)

    def item(self, position: int) -> PoolPair:
        record, a, b, number, _ = self._pair_N[position].item()
        row = self._record(record)
        return PoolPair(Question(id_text(number), (row.responses[a], row.responses[b]), 0), row.prompt, row.number)

    @property
    def ids(self) -> Sequence[str]:
        """The pairs' ids."""
        return Computed(len(self), lambda position: id_text(int(self._pair_N["id"][position])))

    @property
    def questions(self) -> Sequence[Question]:
        """The pairs alone."""
        return Computed(len(self), lambda position: self.item(position).pair)

    @property
    def prompts(self) -> Mapping[str, Prompt]:
        """Their prompts, by id."""
        return ById(self._index, lambda records: self._record(records[0]).prompt)

    def some(self, which_X: NDArray[np.int64] | NDArray[np.bool_]) -> PoolPairs:
        """Return the pairs at some positions, or those where a mask is true."""
        return PoolPairs(self._records, self._index, self._pair_N[which_X])

    def without(self, others: PoolPairs) -> PoolPairs:
        """Return the pairs whose comparison is not among others.

        Texts identify a comparison across rows: a row's other responses may move the start of its response tokens.
        """
        return self.some(~np.isin(self._pair_N["texts"], others._pair_N["texts"]))


def rereadable(source: Pool) -> Pool:
    """Return the source if its rows can be read again, else a list of them."""
    if isinstance(source, str | Path) or (hasattr(source, "__getitem__") and hasattr(source, "__len__")):
        return source
    return list(source)


def rows_at(source: Pool, pairs: Sequence[PoolPair], what: str) -> list[Row]:
    """Return the rows of some pairs, read again from their source, in the order of the pairs.

    Args:
        source: what `rereadable` returned.
        pairs: pairs that were read from it.
        what: name of the source in messages.

    Raises:
        DataError: if the source has changed since it was read.
    """
    found: dict[int, Row]
    if isinstance(source, str | Path):
        wanted = {pair.row_number for pair in pairs}
        rows = enumerate(_rows(source, what))
        found = {number: row for number, (_, row) in rows if number in wanted}
    else:
        found = {pair.row_number: source[pair.row_number] for pair in pairs}  # type: ignore[index]
    for pair in pairs:
        row = found.get(pair.row_number)
        if row is None or row_prompt(row, f"row {pair.row_number} of {what}").id != pair.prompt.id:
            raise DataError(
                f"A pool must not change while a selection is computed, but row {pair.row_number} of {what} is not "
                "what it was: select again."
            )
    return [found[pair.row_number] for pair in pairs]


def all_rows(source: Pool) -> list[Row]:
    """Return the rows of a source."""
    return [row for _, row in _rows(source, "")]


def _rows(source: Pool, what: str) -> Iterable[tuple[str, Row]]:
    if isinstance(source, str | Path):
        return RowSource(str(source))
    return ((f"row {i} of {what}", row) for i, row in enumerate(source))


def read_pairs(source: Pool, policy: Policy, what: str) -> PoolPairs:
    """Return the distinct pairs of a source's rows, in the order of the rows.

    Args:
        source: a file, a data set on the Hub, or rows.
        policy: the policy whose tokenizer gives the token ids and whose context limits their number.
        what: name of the source in messages.

    Raises:
        DataError: if a row is not usable; the message names it.
        StorageError: if the disk has no room for the tokenized rows.
    """
    records: Records[_PoolRow] = Records()
    prompt_X, pair_N = array("Q"), bytearray()
    tokenizer, context, name = policy.tokenizer, policy.context_length, policy.name
    for number, (where, prompt, texts) in enumerate(_compared(source, what)):
        prompt = replace(prompt, columns={})
        require_chat_template(tokenizer, [prompt], name)
        responses = _responses(tokenizer, context, prompt, texts, where)
        for (i, a), (j, b) in combinations(enumerate(responses), 2):
            pair = Question.pair(a, b, 0)
            places = (i, j) if pair.a is a else (j, i)
            of_pair = (len(records), *places, id_number(pair.id), _texts(prompt, a.text, b.text))
            pair_N += np.array(of_pair, _PAIR).tobytes()
        prompt_X.append(id_number(prompt.id))
        records.append(_PoolRow(responses, prompt, number))
    of_all_N = np.frombuffer(pair_N, _PAIR)
    index = IdIndex(np.frombuffer(prompt_X, np.uint64))
    return PoolPairs(records, index, of_all_N[IdIndex(of_all_N["texts"]).first_rows])


def distinct_pairs(source: Pool, what: str) -> NDArray[np.uint64]:
    """Return the numbers of a source's distinct pairs, equal for equal texts; no tokenizer is needed for them.

    Raises:
        DataError: if a row is not usable; the message names it.
    """
    found = array("Q")
    for _, prompt, texts in _compared(source, what):
        found.extend(_texts(prompt, a, b) for a, b in combinations(texts, 2))
    return np.unique(np.frombuffer(found, np.uint64))


def _texts(prompt: Prompt, a: str, b: str) -> int:
    """Return the number of a comparison's texts, in any order."""
    return id_number(content_id(prompt.id, *sorted((a, b))))


def _compared(source: Pool, what: str) -> Iterator[tuple[str, Prompt, list[str]]]:
    """Return for each row where it is, its prompt, and the different texts whose pairs are candidates."""
    for where, row in _rows(source, what):
        if not isinstance(row, Mapping):
            raise DataError(
                f"Every row must be a mapping of columns to values, but {where} is a {type(row).__name__}: give a list "
                "of dictionaries (of a pandas table, `table.to_dict('records')`) or a data set."
            )
        prompt = row_prompt(row, where)
        texts = list(dict.fromkeys(row_pair(row, where) or row_responses(row, where)))
        if len(texts) < 2:
            raise DataError(
                f"Every row of {what} must have two different responses or more, but {where} has {len(texts)}: give "
                "`response_a` and `response_b`, `chosen` and `rejected`, or a list `responses`, or drop the row."
            )
        yield where, prompt, texts


def read_some(source: Pool, policy: Policy, what: str) -> PoolPairs:
    """Return the pairs as `read_pairs` does, but raise an error for a source without rows.

    Raises:
        DataError: if a row is not usable, or there is no row.
    """
    pairs = read_pairs(source, policy, what)
    if not pairs:
        raise DataError(f"{what.capitalize()} must have at least one row, but has none.")
    return pairs


def _responses(
    tokenizer: Any, context: int | None, prompt: Prompt, texts: Sequence[str], where: str
) -> tuple[Response, ...]:
    try:
        prompt_ids, ids = encode_responses(tokenizer, prompt, texts)
        require_own_tokens(prompt, prompt_ids)
        for token_ids in ids:
            check_length(prompt, len(prompt_ids) + len(token_ids), context, "a response")
        made = [Response.of(prompt, text, prompt_ids, token_ids, 0) for text, token_ids in zip(texts, ids, strict=True)]
        # One tuple for the prompt's tokens, which may be most of a row's.
        return tuple(replace(response, prompt_token_ids=made[0].prompt_token_ids) for response in made)
    except DataError as error:  # add the row to the message
        raise DataError(f"In {where}: {error}") from error
