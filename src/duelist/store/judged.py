"""Artifact of the judge stage: the judgements of a round's asked pairs, and of others of its pool."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from duelist.judgement import Judgement
from duelist.store.artifacts import read_jsonl, write_jsonl
from duelist.store.codecs import Codec


@dataclass(frozen=True)
class JudgedPair:
    """A pair of a round's pool, what the judge said of it, and whether it was asked in that round."""

    pair_id: str
    judgement: Judgement
    asked: bool


@dataclass(frozen=True)
class JudgedRound:
    """A round's judged pairs.

    Attributes:
        size: the number of candidates in the round's pool.
        judge: the judge's name.
        pairs: the asked pairs in pick order, then a random sample of the others.
    """

    size: int
    judge: str
    pairs: tuple[JudgedPair, ...]


def _write(path: Path, judged: JudgedRound) -> None:
    head = {"pool": judged.size, "judge": judged.judge}
    rows = [{"pair_id": x.pair_id, "asked": x.asked, **x.judgement.as_json()} for x in judged.pairs]
    write_jsonl(path, [head, *rows])


def _read(path: Path) -> JudgedRound:
    head, *rows = read_jsonl(path)
    pairs = (JudgedPair(row.pop("pair_id"), asked=row.pop("asked"), judgement=Judgement.from_json(row)) for row in rows)
    return JudgedRound(head["pool"], head["judge"], tuple(pairs))


JUDGED = Codec("judged.jsonl", _write, _read)
