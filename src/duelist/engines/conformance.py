"""Conformance kit of engines: trivial work, whose results are known."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from duelist.engines.base import Engine, Source
from duelist.errors import NumericalError
from duelist.progress import Silent


@final
@dataclass(frozen=True)
class Word(Source[list[str]]):
    """Source of a list that holds one word; what is held already is overwritten."""

    word: str

    def load(self, held: list[str] | None) -> list[str]:
        found = [] if held is None else held
        found[:] = [self.word]
        return found


@final
@dataclass(frozen=True)
class Capital(Source[list[str]]):
    """Source of another kind than `Word`, which a worker holds beside it."""

    word: str

    def load(self, held: list[str] | None) -> list[str]:
        if held not in (None, [self.word.upper()]):
            raise NumericalError(
                f"A source must be given what one of its kind loaded, but got {held}: keep kinds apart."
            )
        return [self.word.upper()]


def digest(held: list[str], batch: Sequence[int]) -> str:
    """Return a hash of the word and the batch; a larger batch takes longer."""
    total = hashlib.sha256()
    for number in batch:
        total.update(f"{held[0]}/{number}".encode())
    return total.hexdigest()


def refuse_sevens(held: list[str], batch: Sequence[int]) -> int:
    """Return the sum of a batch without sevens.

    Raises:
        NumericalError: if it has one.
    """
    if 7 in batch:
        raise NumericalError(f"There must be no sevens, but {held[0]} has one: take eight.")
    return sum(batch)


def check_engine(engine: Engine) -> None:
    """Check that an engine keeps its contract.

    The contract: results come in the order of the batches, from the right source, as one process computes them; no
    batches give no results; a `DuelistError` of a task arrives as it is; the engine can be used again after an error,
    after a caller that stopped early, and after `close`.

    Raises:
        AssertionError: if the engine breaks the contract; the message says how.
    """
    # Of very different sizes, so that workers finish in another order.
    batches = [list(range(start, start + 1 + 3000 * (start % 5 == 0))) for start in range(23)]

    def expected(word: str) -> list[str]:
        return [digest([word], batch) for batch in batches]

    for word in ("a", "b", "a"):
        found = list(engine.map(Word(word), digest, batches, Silent()))
        assert found == expected(word), f"results must be those of {word!r}, in the order of the batches"
    for source, word in ((Capital("a"), "A"), (Word("a"), "a"), (Capital("a"), "A"), (Word("b"), "b")):
        found = list(engine.map(source, digest, batches, Silent()))
        assert found == expected(word), f"results must be those of {word!r}, whatever other kind of source was used"
    assert list(engine.map(Word("a"), digest, [], Silent())) == [], "no batches must give no results"
    try:
        list(engine.map(Word("a"), refuse_sevens, batches, Silent()))
        raise AssertionError("an error of a task must not be lost")
    except NumericalError as error:
        assert "no sevens" in str(error), "an error of a task must keep its message"
    begun = engine.map(Word("a"), digest, batches, Silent())
    assert next(begun) == expected("a")[0], "the first result must be that of the first batch"
    del begun
    assert list(engine.map(Word("b"), digest, batches, Silent())) == expected("b"), "an engine must work again"
    engine.close()
    assert list(engine.map(Word("a"), digest, batches[:2], Silent())) == expected("a")[:2], "also after it was closed"
    engine.close()
