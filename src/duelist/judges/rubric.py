"""Rubrics: Jinja files that say what a language model is asked about two responses.

A template sees `prompt` (the messages, each with `role` and `content`), `first` and `second` (the responses in the
order displayed), `choices` (the letters of the answer: `choices.first`, `choices.second`, and `choices.equal`, empty
without ties) and `fence` (a code that the responses cannot contain, for marks around them).

Prompts and responses are not trusted. They are inserted as they are and never read as a template. The templates run in
Jinja's sandbox. Text that a model's chat template uses to begin or end a turn is broken up by a space, so that a
response cannot end the judge's turn and go on in its name.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined, Template, TemplateError, meta
from jinja2.sandbox import ImmutableSandboxedEnvironment

from duelist.errors import DataError, RecipeError
from duelist.settings.validation import expanded, nearest
from duelist.types import Prompt

FIRST, SECOND, EQUAL = "A", "B", "C"  # the answers
_FOLDER = Path(__file__).parent / "rubrics"
_VARIABLES = {"prompt", "first", "second", "choices", "fence"}
# What the chat templates of widely used models put around turns.
_TURNS = re.compile(r"<[|｜][^\n<>]{1,40}[|｜]>|</?s>|<(?:start|end)_of_turn>|\[/?INST\]|<</?SYS>>")


def choices(ties: bool) -> tuple[str, ...]:
    """Return the letters that answer a rubric: the first is better, the second, and with ties: they are equal."""
    return (FIRST, SECOND, EQUAL) if ties else (FIRST, SECOND)


@dataclass(frozen=True)
class Rubric:
    """What a judge is asked.

    Attributes:
        name: `helpfulness`, `harmlessness`, or the name of a file without its ending.
        source: the Jinja template.
    """

    name: str
    source: str

    @staticmethod
    def read(name: str) -> Rubric:
        """Return a shipped rubric by its name, or the rubric in a file.

        Raises:
            RecipeError: if it does not exist, is no template, uses unknown variables, or does not show the responses.
        """
        shipped = sorted(path.stem for path in _FOLDER.glob("*.jinja"))
        path = _FOLDER / f"{name}.jinja" if name in shipped else expanded(name)
        try:
            source = path.read_text(encoding="utf-8")
            used = meta.find_undeclared_variables(_environment().parse(source))
        except (OSError, UnicodeDecodeError) as error:
            raise RecipeError(
                f"`rubric` must be one of {', '.join(shipped)} or a readable Jinja file, but {name} is not ({error}): "
                f"correct it.{nearest(name, shipped)}"
            ) from error
        except TemplateError as error:
            raise RecipeError(f"A rubric must be a Jinja template, but {name} is not: {error}. Correct it.") from error
        unknown = sorted(used - _VARIABLES)
        if unknown:
            raise RecipeError(
                f"A rubric may use {', '.join(sorted(_VARIABLES))}, but {name} uses `{unknown[0]}`: correct it."
                f"{nearest(unknown[0], _VARIABLES)}"
            )
        missing = sorted({"first", "second", "choices"} - used)
        if missing:
            raise RecipeError(
                f"A rubric must show both responses and say how to answer, but {name} does not use `{missing[0]}`: add "
                f"it."
            )
        return Rubric(path.stem, source)

    def render(self, prompt: Prompt, first: str, second: str, ties: bool, special: Collection[str] = ()) -> str:
        """Return what to ask about two responses in the order displayed.

        Args:
            prompt: the prompt.
            first: the text of the response displayed first.
            second: the text of the other.
            ties: whether the answer may be that they are equal.
            special: the tokenizer's special tokens, which the texts must not contain as such.

        Raises:
            DataError: if the template fails on this prompt.
        """
        tokens = re.compile("|".join(map(re.escape, sorted(special, key=len, reverse=True)))) if special else None
        letters = dict(zip(("first", "second", "equal"), (*choices(ties), ""), strict=False))
        messages = [_defused(dict(m), tokens) for m in prompt.messages]
        try:
            return self._template.render(
                prompt=messages,
                first=_defused(first, tokens),
                second=_defused(second, tokens),
                choices=letters,
                fence=_fence(prompt, first, second),
            )
        except TemplateError as error:
            raise DataError(
                f"A rubric must suit every prompt, but {self.name} fails on prompt {prompt.id}: {error}. Correct it."
            ) from error

    @cached_property
    def _template(self) -> Template:
        return _environment().from_string(self.source)


def _environment() -> Environment:
    # The output is text for a model, not HTML: nothing is escaped.
    return ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False
    )


def _fence(prompt: Prompt, first: str, second: str) -> str:
    """Return a code that depends on all the texts, so that none of them can contain it; the same for both orders."""
    content = json.dumps([prompt.messages, sorted([first, second])], sort_keys=True, default=str)
    return hashlib.blake2b(content.encode(), digest_size=6).hexdigest()


def _defused(value: Any, special: re.Pattern[str] | None) -> Any:
    """Return a text, or the texts in a value, with the marks of turns broken up by a space."""
    if isinstance(value, str):
        text = _TURNS.sub(lambda found: f"{found[0][0]} {found[0][1:]}", value)
        return text if special is None else special.sub(lambda found: f"{found[0][0]} {found[0][1:]}", text)
    if isinstance(value, Mapping):
        return {key: _defused(part, special) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_defused(part, special) for part in value]
    return value
