"""What a server can do, found out by asking it: servers differ, and some ignore in silence what they do not know.

transformers' own server takes `logprobs` and `n`, and gives neither. So nothing is believed that an answer does not
show: log-probabilities that are there, as many answers as asked for, and an answer from a list of choices to a request
that asks for something else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from duelist.errors import ModelError
from duelist.judges.cache import Kept
from duelist.judges.chat_answers import alternatives, letter_of, texts
from duelist.judges.chat_client import RequestRefused, UnusableAnswer
from duelist.judges.config import JudgeConfig

Ask = Callable[[str, Mapping[str, Any]], Kept]

ONE_TOKEN = 1
SAMPLE_TOKENS = 16
_LETTER = "Which letter comes first in the alphabet, A or B? Answer with one letter."
_RANDOM = "Write a random sentence with a random number of six digits in it."
_WORD = "Write the word hello."


@dataclass(frozen=True)
class Abilities:
    """What a server showed that it can do.

    Attributes:
        logprobs: it gives the log-probabilities of alternatives.
        several: it gives several answers to one request.
        varies: two sampled answers differ. If not, one answer says as much as many.
        constraint: the fields of a request that keep the answer to the choices; empty if it cannot.
        counts: it says how many tokens it read and wrote.
        notes: what to tell the user.
    """

    logprobs: bool
    several: bool = False
    varies: bool = True
    constraint: Mapping[str, Any] | None = None
    counts: bool = True
    notes: tuple[str, ...] = ()


def constraints(letters: Sequence[str]) -> list[dict[str, Any]]:
    """Return the ways in which servers take a list of choices: vLLM's present and former one, and OpenAI's."""
    answer = {"type": "string", "enum": list(letters)}
    schema = {
        "type": "object",
        "properties": {"answer": answer},
        "required": ["answer"],
        "additionalProperties": False,
    }
    described = {"name": "verdict", "strict": True, "schema": schema}
    return [
        {"structured_outputs": {"choice": list(letters)}},
        {"guided_choice": list(letters)},
        {"response_format": {"type": "json_schema", "json_schema": described}},
    ]


def probe(config: JudgeConfig, letters: Sequence[str], ask: Ask) -> Abilities:
    """Find out what a server can do, by one to six small requests.

    Args:
        config: the judge's settings.
        letters: the answers.
        ask: sends a prompt with settings.

    Raises:
        ModelError: if the server cannot do what the settings demand.
    """
    counts, reason = True, "it was not asked for them"
    if config.verdicts != "samples":
        kept, reason = _tried(
            ask, _LETTER, {"max_tokens": ONE_TOKEN, "logprobs": True, "top_logprobs": config.top_logprobs}
        )
        found = None if kept is None else alternatives(kept.answer)
        if kept is not None and found is not None and len(found) >= len(letters):
            return Abilities(logprobs=True, counts=_counts(kept))
        reason = reason or (
            f"it ignores `logprobs` and `top_logprobs`: its answer has "
            f"{'none' if found is None else f'{len(found)} alternatives'}"
        )
        if config.verdicts == "logprobs":
            raise ModelError(
                f"`verdicts: logprobs` needs a server that gives log-probabilities, but {config.base_url} does not "
                f"({reason}): use another server, or set `verdicts: auto` or `samples`."
            )
    sampled = {"max_tokens": SAMPLE_TOKENS, "temperature": config.temperature}
    kept, _ = _tried(ask, _RANDOM, {**sampled, "n": 2, "seed": 1})
    several = kept is not None and len(texts(kept.answer)) == 2
    if several and kept is not None:
        both = texts(kept.answer)
    else:  # the server's own words, if it refuses these too
        one, other = (_needed(config, ask, _RANDOM, {**sampled, "seed": seed}) for seed in (1, 2))
        kept, both = other, [*texts(one.answer), *texts(other.answer)]
    assert kept is not None
    counts = _counts(kept)
    varies = len(set(both)) > 1
    constraint = _constraint(letters, ask) if config.constrain else None
    how = "one request" if several else "single requests, because it gives one answer to a request"
    many = f"{config.samples} sampled answers per order, by {how}" if varies else "one answer per order"
    notes = [f"The judge at {config.base_url} is read by {many}. It gives no log-probabilities: {reason}."]
    if not varies:
        notes.append(
            "It gave the same answer to two samples of a random sentence, so it does not sample: its opinions are 0 or "
            "1, and say nothing of how sure it is."
        )
    return Abilities(False, several, varies, constraint, counts, tuple(notes))


def _constraint(letters: Sequence[str], ask: Ask) -> Mapping[str, Any] | None:
    for fields in constraints(letters):
        kept, _ = _tried(ask, _WORD, {"max_tokens": SAMPLE_TOKENS, "temperature": 1.0, "seed": 1, **fields})
        said = [] if kept is None else texts(kept.answer)
        if said and letter_of(said[0], letters) is not None:
            return fields
    return None


def _tried(ask: Ask, prompt: str, settings: Mapping[str, Any]) -> tuple[Kept | None, str]:
    """Return the answer, or why the server gives none."""
    try:
        return ask(prompt, settings), ""
    except (RequestRefused, UnusableAnswer) as error:
        return None, f"it refuses: {error}"


def _needed(config: JudgeConfig, ask: Ask, prompt: str, settings: Mapping[str, Any]) -> Kept:
    try:
        return ask(prompt, settings)
    except (RequestRefused, UnusableAnswer) as error:
        raise ModelError(
            f"The judge at {config.base_url} must answer a chat completion, but does not: {error}. Correct `model` "
            "and `extra_body`."
        ) from error


def _counts(kept: Kept) -> bool:
    return bool(kept.answer.get("counted"))
