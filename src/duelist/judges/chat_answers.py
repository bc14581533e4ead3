"""Reading of chat completions: the probabilities of the choices, or which choice an answer is. Nothing is guessed."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

_LEAST = -1e300  # log-probability; an integer below it may have no float
_AROUND = r"[\s\"'`*()\[\].:,]*"  # what may stand around the letter: spaces, quotes, brackets, a full stop


def alternatives(content: Mapping[str, Any], choice: int = 0) -> dict[str, float] | None:
    """Return the log-probability of each alternative of the answer's first token.

    Returns:
        Natural logarithms by token; None if the server gave none, or they are no log-probabilities.
    """
    match _choices(content)[choice : choice + 1]:
        case [{"logprobs": {"content": [{"top_logprobs": [*rows]}, *_]}}]:
            pass
        case _:
            return None
    found: dict[str, float] = {}
    for row in rows:
        match row:
            case {"token": str(token), "logprob": int() | float() as value} if value <= 1e-6:
                least = -math.inf if value < _LEAST else float(value)
                found[token] = max(found.get(token, -math.inf), min(least, 0.0))
            case _:
                return None
    # The probabilities of different tokens cannot add up to more than 1.
    return found if found and sum(map(math.exp, found.values())) <= 1 + 1e-3 else None


def log_prob_of_choices(found: Mapping[str, float], letters: Sequence[str]) -> list[float]:
    """Return the log-probability of each letter: of all alternatives that are the letter, with or without spaces."""
    return [
        float(np.logaddexp.reduce([lp for token, lp in found.items() if token.strip() == letter] or [-math.inf]))
        for letter in letters
    ]


def texts(content: Mapping[str, Any]) -> list[str | None]:
    """Return the text of each choice of an answer; None for a choice that has none."""
    found: list[str | None] = []
    for choice in _choices(content):
        match choice:
            case {"message": {"content": str(text)}}:
                found.append(text)
            case _:
                found.append(None)
    return found


def letter_of(text: str | None, letters: Sequence[str]) -> str | None:
    """Return the letter that an answer consists of, alone or as `{"answer": ...}`; None if it says anything else."""
    if text is None:
        return None
    try:
        match json.loads(text):
            case {"answer": str(inner), **others} if not others:
                text = inner
    except (ValueError, RecursionError):
        pass
    whole = re.fullmatch(f"{_AROUND}({'|'.join(map(re.escape, letters))}){_AROUND}", text)
    return whole[1] if whole else None


def shares(answers: Sequence[str | None], letters: Sequence[str]) -> list[float]:
    """Return the natural logarithm of each letter's share of the answers; unreadable answers count in the total."""
    said = [letter_of(text, letters) for text in answers]
    counts = [said.count(letter) for letter in letters]
    return [math.log(n / len(answers)) if n else -math.inf for n in counts]


def _choices(content: Mapping[str, Any]) -> list[Any]:
    choices = content.get("choices")
    return choices if isinstance(choices, list) else []
