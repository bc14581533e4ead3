"""Preferences of a file as rows with votes: TRL's format, rows with labels or votes, and `duelist export`'s files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from duelist.data.rows import row_decision, row_pair, row_prompt
from duelist.data.sources import RowSource
from duelist.errors import DataError
from duelist.exchange.files import csv_items

FEWEST = 60  # decided pairs; with fewer, no rule can be told from chance
VOTES = ("n_a", "n_b")


@dataclass(frozen=True)
class Preferences:
    """Decided pairs, one row each.

    Attributes:
        rows: `prompt`, `response_a`, `response_b`, `n_a` and `n_b`, in the order of the file.
        undecided: number of pairs left out: ties, skips, even votes.
        single: number of rows left out because they have no two different responses or no label.
    """

    rows: tuple[dict[str, Any], ...]
    undecided: int
    single: int

    @property
    def pairs_of_prompt(self) -> list[int]:
        """The number of pairs of each prompt, largest first."""
        counts: dict[str, int] = {}
        for row in self.rows:
            key = json.dumps(row["prompt"])
            counts[key] = counts.get(key, 0) + 1
        return sorted(counts.values(), reverse=True)


def read_preferences(source: str) -> Preferences:
    """Read the preferences of a file, or of a data set on the Hub. Labels of one pair are added up as votes.

    Raises:
        DataError: if a row is not usable, there are fewer than 60 decided pairs, or fewer than two prompts.
    """
    votes: dict[tuple[str, str, str], list[Any]] = {}
    single = 0
    for where, row in _rows(source):
        texts = row_pair(row, where)
        prompt = row_prompt(row, where)
        said = list(_votes(row, where)) if len(texts) == 2 and texts[0] != texts[1] else []
        if not said:
            single += 1
            continue
        first, second = sorted(texts)
        known = votes.setdefault((prompt.id, first, second), [prompt.as_trl(), first, second, 0, 0])
        for n_a, n_b in said:
            n_first, n_second = (n_a, n_b) if texts[0] == first else (n_b, n_a)
            known[3] += n_first
            known[4] += n_second
    names = ("prompt", "response_a", "response_b", *VOTES)
    rows = tuple(dict(zip(names, values, strict=True)) for values in votes.values() if values[3] != values[4])
    found = Preferences(rows, len(votes) - len(rows), single)
    if len(rows) < FEWEST or len(found.pairs_of_prompt) < 2:
        raise DataError(
            f"A rehearsal needs {FEWEST} decided pairs on two prompts or more, but {source} has {len(rows)} on "
            f"{len(found.pairs_of_prompt)} ({found.undecided} undecided, {single} without two different responses and "
            "a label): give a file with more preferences."
        )
    return found


def _rows(source: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the rows; those of a CSV file that `duelist export` wrote in the form of the others."""
    if not source.endswith(".csv"):
        yield from RowSource(source)
        return
    for where, item in csv_items(Path(source)):
        if isinstance(item, DataError):
            raise DataError(f"In {where}: {item}")
        row = {name: _parsed(value) for name, value in item.items()}
        responses = row.pop("responses", None)
        if isinstance(responses, list) and len(responses) == 2:
            row |= dict(zip(("response_a", "response_b"), (_text(r) for r in responses), strict=True))
        yield where, row


def _votes(row: Mapping[str, Any], where: str) -> Iterator[tuple[int, int]]:
    """Yield the votes for a and b of each decision of a row."""
    acts: Sequence[Any] = row["labels"] if isinstance(row.get("labels"), list) else [row]
    for act in acts:
        if not isinstance(act, Mapping):
            raise DataError(
                f"`labels` must be a list of labels, but that of {where} has {str(act)[:80]!r}: correct it."
            )
        counts = act.get("votes") or {name: act.get(name) for name in (*VOTES, "n_eq") if act.get(name) is not None}
        own = {k: v for k, v in row.items() if k in ("chosen", "rejected")} if act is row else {}
        decision = row_decision({**own, **counts, "label": act.get("label") or act.get("outcome")}, where)
        if decision is None:
            continue
        outcome, counted = decision
        if outcome == "tie":  # also if most called the two equal
            yield 0, 0
        elif counted is not None:
            yield counted.n_a, counted.n_b
        else:
            yield int(outcome == "a"), int(outcome == "b")


def _parsed(value: Any) -> Any:
    """Return a cell's value: JSON where it is a list or an object in JSON, a number where it is one, else text."""
    if isinstance(value, str) and (value.isdigit() or value[:1] in ('"', "[", "{")):
        try:
            return json.loads(value)
        except ValueError:
            return value  # a text that begins like JSON
    return value


def _text(response: Any) -> Any:
    return response["text"] if isinstance(response, Mapping) and "text" in response else response
