"""Known reward of a synthetic environment, as a reward function for TRL.

With u the kind's utilities, L the settings' `response_tokens`, and a response of n words w_1 ... w_n,

    reward = (u(w_1) + ... + u(w_min(n, L))) / max(n, L)          in [0, 1]

For a response of exactly L words this is the mean utility per word. Missing words and words after the L-th add nothing
but count in the denominator, so neither dropping words nor adding words after the L-th raises the reward. An empty
response has reward 0. A word outside the environment's response vocabulary has utility 0, the lowest value.
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
    """Return the true reward of each response; a reward function for TRL once `world` is bound.

    Args:
        prompts: text, or messages that end with the user's. The first word is the kind.
        completions: text, or a list of one assistant message; one per prompt.
        world: the folder that `prepare` filled.
        scale: multiplies every reward.
        **columns: the data set's other columns and TRL's other arguments; not used.

    Returns:
        One number in [0, scale] per response: the mean utility per word times `scale` for responses of L words. The
        formula above covers other lengths.

    Raises:
        DataError: if a prompt does not begin with the word of one of the environment's kinds, if a prompt or response
            is neither text nor messages, if the numbers of prompts and responses differ, or if `world` is not a
            folder that `prepare` filled.
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
    """Return the text of the last message if it has this role and is text, else None."""
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
    """Read the oracle from a file; `modified`, in ns, is part of the cache key, so a recreated file is read again."""
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
