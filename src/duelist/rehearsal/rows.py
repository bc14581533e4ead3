"""Preferences of a file as rows with votes: TRL's format, rows with labels or votes, and `duelist export`'s files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from duelist.data.rows import row_decision, row_pair, row_prompt
from duelist.data.sources import RowSource
from duelist.errors import DataError
from duelist.exchange.files import csv_items
from duelist.settings.validation import expanded
from duelist.types import Prompt

FEWEST = 60  # decided pairs; with fewer, no rule can be told from chance
VOTES = ("n_a", "n_b")
NEITHER = ("tie", "both_bad", "both_good")
JSON_COLUMNS = ("responses", "labels", "votes")  # of a CSV file
CONVERSATIONS = ("prompt", "messages", "chosen", "rejected", "response_a", "response_b")  # text, or messages in JSON


@dataclass(frozen=True)
class Preferences:
    """Decided pairs, one row each.

    Attributes:
        rows: `prompt`, `response_a`, `response_b`, `n_a` and `n_b`, sorted: the order of the file does not matter.
        undecided: number of pairs left out: ties, skips, even votes, or more votes for a tie than for either response.
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
        DataError: if a row is not usable, some prompts are text and others messages, there are fewer than 60 decided
            pairs, or fewer than two prompts.
    """
    votes: dict[tuple[str, str, str], list[Any]] = {}
    single, plain = 0, None
    for where, given in _rows(source):
        row = _answers_alone(given)
        texts = row_pair(row, where)
        prompt = row_prompt(row, where)
        said = list(_votes(row, where)) if len(texts) == 2 and texts[0] != texts[1] else []
        if not said:
            single += 1
            continue
        plain = _same_kind(prompt, plain, where)
        first, second = sorted(texts)
        known = votes.setdefault((prompt.id, first, second), [prompt.as_trl(), first, second, 0, 0, 0])
        for n_a, n_b, n_eq in said:
            n_first, n_second = (n_a, n_b) if texts[0] == first else (n_b, n_a)
            known[3] += n_first
            known[4] += n_second
            known[5] += n_eq
    names = ("prompt", "response_a", "response_b", *VOTES)
    decided = [x for x in votes.values() if x[3] != x[4] and x[5] <= max(x[3:5])]
    rows = tuple(sorted((dict(zip(names, x[:5], strict=True)) for x in decided), key=json.dumps))
    found = Preferences(rows, len(votes) - len(rows), single)
    if len(rows) < FEWEST or len(found.pairs_of_prompt) < 2:
        raise DataError(
            f"A rehearsal needs {FEWEST} decided pairs on two prompts or more, but {source} has {len(rows)} on "
            f"{len(found.pairs_of_prompt)} ({found.undecided} undecided, {single} without two different responses and "
            "a label): give a file with more preferences."
        )
    return found


def _same_kind(prompt: Prompt, plain: bool | None, where: str) -> bool:
    """Return whether a prompt is text; it must be if earlier prompts were, and not if they were not."""
    found = isinstance(prompt.as_trl(), str)
    if plain is not None and plain != found:
        kinds = ("text", "a list of messages") if found else ("a list of messages", "text")
        raise DataError(
            f"All prompts of a rehearsal must be text, or all lists of messages, but that of {where} is {kinds[0]}, "
            f"and those before it are {kinds[1]}: rewrite them alike, or give each kind its own file."
        )
    return found


def _answers_alone(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a row whose `chosen` and `rejected` hold the answer alone, if they repeat the row's prompt before it."""
    prompt = row.get("prompt")
    asked = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    if not asked or not isinstance(asked, list):
        return row
    answers = {
        name: value[len(asked) :]
        for name in ("chosen", "rejected")
        if isinstance(value := row.get(name), list) and len(value) > len(asked) and value[: len(asked)] == asked
    }
    return {**row, **answers}


def _rows(source: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the rows; those of a CSV file that `duelist export` wrote in the form of the others."""
    if not source.lower().endswith(".csv"):
        yield from RowSource(source)
        return
    path = expanded(source)
    if not path.is_file():
        raise DataError(f"Preferences are read from a file, but there is none at {path}: correct the path.")
    for where, item in csv_items(path):
        if isinstance(item, DataError):
            raise DataError(f"In {where}: {item}")
        row = {name: _parsed(name, value, "question_id" in item) for name, value in item.items()}
        responses = row.pop("responses", None)
        if isinstance(responses, list) and len(responses) == 2:
            row |= dict(zip(("response_a", "response_b"), (_text(r) for r in responses), strict=True))
        yield where, row


def _votes(row: Mapping[str, Any], where: str) -> Iterator[tuple[int, int, int]]:
    """Yield the votes for a, for b and for neither of each decision of a row; a skip is no vote."""
    acts: Sequence[Any] = row["labels"] if isinstance(row.get("labels"), list) else [row]
    for act in acts:
        if not isinstance(act, Mapping):
            raise DataError(
                f"`labels` must be a list of labels, but that of {where} has {str(act)[:80]!r}: correct it."
            )
        counts = act.get("votes") or {name: act.get(name) for name in (*VOTES, "n_eq") if act.get(name) is not None}
        if not isinstance(counts, Mapping):
            raise DataError(
                f"`votes` must be an object with `n_a`, `n_b` and `n_eq`, but that of {where} is {str(counts)[:80]!r}: "
                "correct it."
            )
        own = {k: v for k, v in row.items() if k in ("chosen", "rejected")} if act is row else {}
        decision = row_decision({**own, **counts, "label": act.get("label") or act.get("outcome")}, where)
        if decision is None:
            continue
        outcome, counted = decision
        if counted is not None:
            yield counted.n_a, counted.n_b, counted.n_eq
        else:
            yield int(outcome == "a"), int(outcome == "b"), int(outcome in NEITHER)


def _parsed(name: str, value: str, exported: bool) -> Any:
    """Return the value of a CSV cell: JSON in the columns that hold it, a number of votes, else text.

    Args:
        name: the column.
        value: the cell.
        exported: whether `duelist export` wrote the file: then every prompt is JSON.
    """
    if name in (*VOTES, "n_eq"):
        try:
            return float(value)
        except ValueError:
            return value  # `row_decision` says what is wrong with it
    if name in JSON_COLUMNS or (name in CONVERSATIONS and (value.startswith("[") or (exported and name == "prompt"))):
        try:
            found = json.loads(value)
        except (ValueError, RecursionError):
            return value
        if name in JSON_COLUMNS or (exported and name == "prompt") or _is_conversation(found):
            return found
    return value


def _is_conversation(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(m, Mapping) and "role" in m for m in value)


def _text(response: Any) -> Any:
    return response["text"] if isinstance(response, Mapping) and "text" in response else response
