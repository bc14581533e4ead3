"""The known reward of a world, as a reward function of TRL's.

With u the kind's utilities, L the settings' `response_tokens`, and a response of n words w_1 ... w_n,

    reward = (u(w_1) + ... + u(w_min(n, L))) / max(n, L)          in [0, 1]

For a response of exactly L words this is the mean utility per word. Words that are missing and words after the L-th
earn nothing and still count in the denominator, so dropping words, or going on past the L-th, never raises the reward.
An empty response has reward 0. A word that is not one of the world's response words has utility 0, the lowest there is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from duelist.errors import DataError

WORLD_FILE = "world.json"


@dataclass(frozen=True)
class _Oracle:
    response_tokens: int
    utilities: Mapping[str, Mapping[str, float]]  # kind's word -> response word -> utility

    def reward(self, kind: str, text: str) -> float:
        utility = self.utilities[kind]
        words = text.split()
        earned = sum(utility.get(word, 0.0) for word in words[: self.response_tokens])
        return earned / max(len(words), self.response_tokens)


def reward(
    prompts: Sequence[str | Sequence[Mapping[str, Any]]],
    completions: Sequence[str | Sequence[Mapping[str, Any]]],
    *,
    world: str | Path,
    scale: float = 1.0,
    **columns: Any,
) -> list[float]:
    """The true reward of each response: a reward function as TRL calls them, once `world` is given.

    Args:
        prompts: text, or messages whose last is the user's. The first word says the kind.
        completions: text, or a list of one assistant message; one for each prompt.
        world: the folder that `prepare` filled.
        scale: multiplies every reward.
        **columns: the data set's other columns and whatever else TRL hands over; not used.

    Returns:
        One number in [0, scale] for each response: the mean utility per word times `scale`. See the formula above for
        other lengths.

    Raises:
        DataError: if a prompt does not begin with the word of one of the world's kinds, if a prompt or response is
            neither text nor messages, if there are not as many of one as of the other, or if `world` is no world.
    """
    oracle = _open(world)
    if len(prompts) != len(completions):
        raise DataError(
            f"Each response needs its prompt, but got {len(prompts)} prompts and {len(completions)} responses: "
            "pass one prompt for each response."
        )
    pairs = zip(prompts, completions, strict=True)
    return [scale * oracle.reward(_kind(oracle, p), _response_text(c)) for p, c in pairs]


def _kind(oracle: _Oracle, prompt: str | Sequence[Mapping[str, Any]]) -> str:
    text = _last_text(prompt, "user")
    words = text.split() if text is not None else []
    if not words or words[0] not in oracle.utilities:
        kinds = list(oracle.utilities)
        raise DataError(
            "A prompt of a world must be text, or messages whose last is the user's, and begin with a kind's word "
            f"({kinds[0]} to {kinds[-1]}), but got {prompt!r}: use the prompts that were prepared with this world."
        )
    return words[0]


def _response_text(completion: str | Sequence[Mapping[str, Any]]) -> str:
    text = _last_text(completion, "assistant") if isinstance(completion, str) or len(completion) == 1 else None
    if text is None:
        raise DataError(
            f"A response must be text or a list of one assistant message with text, but got {completion!r}."
        )
    return text


def _last_text(messages: str | Sequence[Mapping[str, Any]], role: str) -> str | None:
    """The text of the last message, if that is of the role and is text."""
    if isinstance(messages, str):
        return messages
    last = messages[-1] if len(messages) > 0 else None
    if not isinstance(last, Mapping) or last.get("role") != role or not isinstance(last.get("content"), str):
        return None
    return str(last["content"])


def _open(folder: str | Path) -> _Oracle:
    file = Path(folder) / WORLD_FILE
    try:
        modified = file.stat().st_mtime_ns
    except OSError as error:
        raise DataError(
            f"A world's folder must hold {WORLD_FILE}, but {file} cannot be read ({error.strerror}): give the folder "
            "that duelist.world.prepare filled."
        ) from error
    return _read(str(file.resolve()), modified)


@lru_cache(maxsize=16)
def _read(file: str, modified: int) -> _Oracle:
    """The oracle of a file; `modified`, in ns, is part of the key so that a world that was made anew is read anew."""
    try:
        content = json.loads(Path(file).read_text(encoding="utf-8"))
        words = content["words"]
        utilities = {k["word"]: dict(zip(words, k["utility"], strict=True)) for k in content["kinds"]}
        return _Oracle(int(content["settings"]["response_tokens"]), utilities)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"A world's {WORLD_FILE} must be as duelist.world.prepare wrote it, but {file} is not "
            f"({type(error).__name__}: {error}): prepare the world again in an empty folder."
        ) from error
