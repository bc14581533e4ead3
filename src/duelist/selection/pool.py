"""Tokenised pairs from the rows of a pool, the candidates of `duelist.select`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

from duelist.data.rows import row_pair, row_prompt, row_responses
from duelist.data.sources import Row, RowSource
from duelist.errors import DataError
from duelist.models.policy.policy import Policy
from duelist.models.policy.tokenization import check_length, encode_responses, require_chat_template, require_own_tokens
from duelist.types import Prompt, Question, Response

Pool = str | Path | Iterable[Row]


@dataclass(frozen=True)
class PoolPair:
    """A pair, and the number of its row in the pool, counted from 0.

    The row itself is not kept: its other columns, such as embeddings, may be larger than the texts (see `rows_at`). Nor
    are they kept with the prompt.
    """

    pair: Question
    prompt: Prompt
    row_number: int

    @property
    def texts(self) -> tuple[str, str, str]:
        """Identity of the comparison across rows: a row's other responses may move the start of its response tokens."""
        return self.prompt.id, *sorted((self.pair.a.text, self.pair.b.text))  # type: ignore[return-value]


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


def read_pairs(source: Pool, policy: Policy, what: str) -> list[PoolPair]:
    """Return the distinct pairs of a source's rows, in the order of the rows.

    Args:
        source: a file, a data set on the Hub, or rows.
        policy: the policy whose tokenizer gives the token ids and whose context limits their number.
        what: name of the source in messages.

    Raises:
        DataError: if a row is not usable; the message names it.
    """
    found: dict[tuple[str, str, str], PoolPair] = {}
    # Share one integer object per token id: separate ones would take most of a large pool's memory.
    token: dict[int, int] = {}
    for number, (where, prompt, texts) in enumerate(_compared(source, what)):
        prompt = replace(prompt, columns={})
        for a, b in combinations(_responses(policy, prompt, texts, where, token), 2):
            pair = PoolPair(Question.pair(a, b, 0), prompt, number)
            found.setdefault(pair.texts, pair)
    return list(found.values())


def distinct_pairs(source: Pool, what: str) -> set[tuple[str, str, str]]:
    """Return the identities of a source's distinct pairs (`PoolPair.texts`), for which no tokenizer is needed.

    Raises:
        DataError: if a row is not usable; the message names it.
    """
    compared = _compared(source, what)
    return {(prompt.id, *sorted(two)) for _, prompt, texts in compared for two in combinations(texts, 2)}  # type: ignore[misc]


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


def read_some(source: Pool, policy: Policy, what: str) -> list[PoolPair]:
    """Return the pairs as `read_pairs` does, but raise an error for a source without rows.

    Raises:
        DataError: if a row is not usable, or there is no row.
    """
    pairs = read_pairs(source, policy, what)
    if not pairs:
        raise DataError(f"{what.capitalize()} must have at least one row, but has none.")
    return pairs


def _responses(
    policy: Policy, prompt: Prompt, texts: Sequence[str], where: str, token: dict[int, int]
) -> list[Response]:
    require_chat_template(policy.tokenizer, [prompt], policy.name)
    try:
        prompt_ids, ids = encode_responses(policy.tokenizer, prompt, texts)
        require_own_tokens(prompt, prompt_ids)
        for token_ids in ids:
            check_length(prompt, len(prompt_ids) + len(token_ids), policy.context_length, "a response")
        prompt_ids, *ids = ([token.setdefault(i, i) for i in some] for some in (prompt_ids, *ids))
        made = [Response.of(prompt, text, prompt_ids, token_ids, 0) for text, token_ids in zip(texts, ids, strict=True)]
        # One tuple for the prompt's tokens, which may be most of a row's.
        return [replace(response, prompt_token_ids=made[0].prompt_token_ids) for response in made]
    except DataError as error:  # add the row to the message
        raise DataError(f"In {where}: {error}") from error
