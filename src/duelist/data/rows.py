"""Columns of a data set's rows.

The formats are TRL's (https://huggingface.co/docs/trl/dataset_formats): `prompt` is text or a list of messages, and a
response is text or a list of one assistant message. Without a `prompt`, it is the conversation in `messages` up to the
user's last message. Two responses are given as `chosen` and `rejected`, as `response_a` and `response_b`, or as a list
`responses`. If a row has both a list and two named responses, as the rows have that `duelist select` picks from lists,
the named responses form the pair (`row_pair`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from duelist.data.sources import Row
from duelist.errors import DataError
from duelist.labels import PEOPLE_OUTCOMES
from duelist.types import Outcome, Prompt, Votes

RESPONSE_COLUMNS = ("chosen", "rejected", "response_a", "response_b", "responses")
# Vectors stored next to the responses: too large to keep with a prompt.
EMBEDDING_COLUMNS = ("embeddings", "embedding_chosen", "embedding_rejected", "embedding_a", "embedding_b")
DEEPEST = 32  # maximum nesting levels of a value
Decision = tuple[Outcome, Votes | None]


def row_prompt(row: Row, where: str) -> Prompt:
    """Return the prompt of a row, with the row's other columns except the responses.

    Raises:
        DataError: if the row has no prompt, or a prompt without text.
    """
    told = explicit_prompt(row, where)
    aside = {"prompt", *RESPONSE_COLUMNS, *EMBEDDING_COLUMNS}
    if _asks_by_messages(row):
        aside |= {"messages"}
    columns = as_json({k: v for k, v in row.items() if k not in aside}, where)
    content = as_json(told.get("prompt"), where)
    if content is None:
        found = ", ".join(k for k, v in row.items() if v is not None) or "no column"
        raise DataError(
            f"Every row must have a `prompt` (or `messages`), but {where} has only {found}: give the column with the "
            "prompt that name."
        )
    if isinstance(content, str):
        if not content.strip():
            raise DataError(f"Every prompt must hold text, but that of {where} is empty: fill it in or drop the row.")
        return Prompt.of(content, columns)
    if not isinstance(content, list) or not content or not all(_is_message(m) for m in content):
        raise DataError(
            f"A prompt must be text or a list of messages with `role` and `content`, but that of {where} is "
            f"{str(content)[:80]!r}: rewrite it or drop the row."
        )
    if content[-1]["role"] != "user":
        raise DataError(
            f"A conversational prompt must end with the user's message, but that of {where} ends with the role "
            f"{content[-1]['role']!r}: drop what comes after the user's last message."
        )
    if not str(content[-1]["content"]).strip():
        raise DataError(
            f"Every prompt must hold text, but the last message of {where} is empty: fill it in or drop the row."
        )
    return Prompt.of(content, columns)


def _asks_by_messages(row: Row) -> bool:
    """Return whether a row's prompt is in `messages`: it has no `prompt`, and no pair that begins with one."""
    pair = row.get("chosen") is not None and row.get("rejected") is not None
    return row.get("prompt") is None and not pair and row.get("messages") is not None


def _asked(messages: Any, where: str) -> Any:
    """Return a conversation up to the user's last message: what an answer would answer.

    Raises:
        DataError: if it is no list of messages, or no message is the user's.
    """
    if not isinstance(messages, list) or not all(_is_message(m) for m in messages):
        raise DataError(
            f"`messages` must be a list of messages with `role` and `content`, but that of {where} is "
            f"{str(messages)[:80]!r}: rewrite it, or give the row a `prompt`."
        )
    last = max((i for i, m in enumerate(messages) if m["role"] == "user"), default=None)
    if last is None:
        raise DataError(f"`messages` must hold a message of the user, but that of {where} has none: drop the row.")
    return messages[: last + 1]


def row_responses(row: Row, where: str) -> list[str]:
    """Return the texts of all responses of a row: those of its list, else its two named responses; [] if none.

    Raises:
        DataError: if a response is neither text nor one assistant message, or one of the two named ones is missing.
    """
    if row.get("responses") is None:
        return row_pair(row, where)
    if not isinstance(row["responses"], list):
        raise DataError(
            f"`responses` must be a list, but that of {where} is {str(row['responses'])[:80]!r}: put it in a list."
        )
    return [response_text(r, where) for r in row["responses"]]


def row_pair(row: Row, where: str) -> list[str]:
    """Return the texts of a row's two named responses: chosen then rejected, or a then b; [] if none.

    Raises:
        DataError: if a response is neither text nor one assistant message, or one of the two is missing.
    """
    row = explicit_prompt(row, where)
    for first, second in (("chosen", "rejected"), ("response_a", "response_b")):
        if row.get(first) is not None or row.get(second) is not None:
            if row.get(first) is None or row.get(second) is None:
                raise DataError(
                    f"A row with `{first}` must have `{second}` as well and the reverse, but {where} has only one of "
                    "them: fill in the other, or drop the row."
                )
            return [response_text(row[first], where), response_text(row[second], where)]
    return []


def response_text(value: Any, where: str) -> str:
    """Return a response's text, from text or from a list of one assistant message."""
    if isinstance(value, str):
        text = value
    elif isinstance(value, list) and len(value) == 1 and _is_message(value[0]) and value[0]["role"] == "assistant":
        text = str(value[0]["content"])
    else:
        raise DataError(
            f"A response must be text or a list of one assistant message, but that of {where} is {str(value)[:80]!r}: "
            "give the answer alone, without the prompt's messages, or drop the row."
        )
    if not text.strip():
        raise DataError(f"Every response must hold text, but one of {where} is empty: fill it in or drop the row.")
    return _unicode(text, where)


def row_ranking(row: Row, where: str) -> tuple[list[str], list[list[str]]] | None:
    """Return the texts of a row's list of responses, and its `ranking` of them, best first; None if it has none.

    A ranking names responses by their position in the list, from 0; equally good ones share an inner list. Responses
    that it leaves out are below the others, in no known order.

    Raises:
        DataError: if the ranking is no such list, names a response that is not there, or one twice, or orders equal
            texts.
    """
    ranking = row.get("ranking")
    if ranking is None or row.get("responses") is None:
        return None
    texts = row_responses(row, where)
    groups = [g if isinstance(g, list) else [g] for g in ranking] if isinstance(ranking, list) else []
    named = [i for group in groups for i in group]
    valid = all(type(i) is int and 0 <= i < len(texts) for i in named) and len(set(named)) == len(named)
    if not groups or not all(groups) or not valid:
        raise DataError(
            f"A `ranking` must list positions of the row's {len(texts)} responses from 0, best first, each at most "
            f"once, but that of {where} is {str(ranking)[:80]}: correct it."
        )
    by_text = [list(dict.fromkeys(texts[i] for i in group)) for group in groups]
    every = [text for group in by_text for text in group]
    repeated = next((text for i, text in enumerate(every) if text in every[:i]), None)
    if repeated is not None:
        raise DataError(
            f"A `ranking` cannot order equal texts, but that of {where} places {repeated[:80]!r} twice: drop one of "
            "the two responses, or the row."
        )
    return texts, by_text


def _unicode(text: str, where: str) -> str:
    """Return the text; reject half a surrogate pair (possible in JSON escapes), which no tokenizer or file accepts."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"Texts must be Unicode, but one of {where} has half a surrogate pair ({text[error.start]!r}) at position "
            f"{error.start}: rewrite it or drop the row."
        ) from error
    return text


def _is_message(value: Any) -> bool:
    """Return whether a value is a message; its content may be a list of parts, as for multimodal models."""
    return (
        isinstance(value, Mapping)
        and isinstance(value.get("role"), str)
        and isinstance(value.get("content"), str | list)
    )


def as_json(value: Any, where: str = "the row", levels: int = DEEPEST) -> Any:
    """Return the value in JSON types: NaN and infinities become null, and other types (such as dates) become text.

    Args:
        value: the value.
        where: the location of the value, for error messages.
        levels: maximum nesting levels.

    Raises:
        DataError: if the value is nested deeper, or a text is not Unicode.
    """
    if isinstance(value, str):
        return _unicode(value, where)
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if levels == 0:
        raise DataError(
            f"Values must be nested {DEEPEST} levels deep at most, but one of {where} is deeper: rewrite it."
        )
    if isinstance(value, Mapping):
        return {_unicode(str(k), where): as_json(v, where, levels - 1) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(v, where, levels - 1) for v in value]
    # NumPy's and torch's numbers and arrays
    return as_json(value.tolist(), where, levels - 1) if hasattr(value, "tolist") else _unicode(str(value), where)


def explicit_prompt(row: Row, where: str) -> Row:
    """Add the prompt to a row without one: the common beginning of chosen and rejected, or what `messages` asks.

    Raises:
        DataError: if the two responses have no common beginning, or the messages ask nothing.
    """
    if _asks_by_messages(row):
        return {**row, "prompt": _asked(row["messages"], where)}
    if row.get("prompt") is not None or row.get("chosen") is None or row.get("rejected") is None:
        return row
    from trl.data_utils import extract_prompt

    chosen, rejected = row["chosen"], row["rejected"]
    sequences = isinstance(chosen, str | list) and type(chosen) is type(rejected)
    if not sequences or not chosen or not rejected or chosen[0] != rejected[0]:
        raise DataError(
            f"A row without `prompt` must have a `chosen` and a `rejected` that begin with the same prompt, but those "
            f"of {where} begin with nothing in common: add a `prompt`."
        )
    return {**row, **extract_prompt({"chosen": row["chosen"], "rejected": row["rejected"]})}


def row_decision(row: Row, where: str) -> Decision | None:
    """Return a row's decision on its two responses, and the votes behind it; None if there is none.

    Raises:
        DataError: if the label or the votes are not valid.
    """
    if row.get("chosen") is not None:
        return "a", None  # row_pair lists chosen first
    if row.get("n_a") is not None and row.get("n_b") is not None:
        counts = [row["n_a"], row["n_b"], row.get("n_eq") or 0]
        if any(not isinstance(n, int | float) or n < 0 or n % 1 != 0 for n in counts):
            raise DataError(
                f"Votes must be counts of people, but those of {where} are n_a, n_b, n_eq = {counts}: correct them."
            )
        votes = Votes(*map(int, counts))
        if not any(counts):
            return None  # no votes: neither a label nor a tie
        if votes.n_a == votes.n_b or votes.n_eq > max(votes.n_a, votes.n_b):
            return "tie", votes
        return ("a" if votes.n_a > votes.n_b else "b"), votes
    label: Any = row.get("label")
    if label is None:
        return None
    if label not in PEOPLE_OUTCOMES:
        known = ", ".join(PEOPLE_OUTCOMES)
        raise DataError(f"A label must be one of {known}, but that of {where} is {label!r}: rewrite it.")
    outcome: Outcome = label
    return outcome, None
