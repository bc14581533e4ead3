"""Characters that could hide or reorder text: shown as what they are, by their code.

Shown: control characters except tab and newline, format characters (zero-width, bidirectional, tags), line and
paragraph separators, private use, unassigned, lone surrogates, and letters that are drawn as nothing. Left alone,
because they belong to ordinary text: joiners between emoji or between letters of scripts that need them (Arabic,
Devanagari and their neighbours), and the variation selector of an emoji.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache

_HIDING = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
_BLANK = {0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0, *range(0x180B, 0x1810)}
_SELECTORS = {*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)}
_JOINERS = "\u200c\u200d"
_NEEDS_JOINERS = re.compile("[\u0600-\u0dff]")
# A run of characters that are plain in any case, or one other character.
_PIECES = re.compile(r"[\t\n\x20-\x7e\xa0-\xac\xae-\u02ff\u0370-\u05ff]+|[\s\S]")


@lru_cache(maxsize=4096)
def is_hidden(character: str) -> bool:
    """Return whether a character can hide or reorder text, apart from where it stands."""
    code = ord(character)
    if character in "\t\n":
        return False
    return unicodedata.category(character) in _HIDING or code in _BLANK or code in _SELECTORS


@lru_cache(maxsize=4096)
def code_of(character: str) -> str:
    """Return a character's code as Unicode writes it, `U+202E`."""
    return f"U+{ord(character):04X}"


def name_of(character: str) -> str:
    """Return a character's code and its name, if it has one."""
    return f"{code_of(character)} {unicodedata.name(character, '')}".strip()


def map_text(text: str, plain: Callable[[str], str], hidden: Callable[[str], str]) -> str:
    """Return a text whose hidden characters and whose other parts are mapped by two functions."""
    parts = []
    for match in _PIECES.finditer(text):
        piece = match.group()
        shown = len(piece) > 1 or not is_hidden(piece) or _belongs(text, match.start())
        parts.append(plain(piece) if shown else hidden(piece))
    return "".join(parts)


def visible(text: str) -> str:
    """Return a text that hides nothing: `⟦U+202E⟧` stands for what would not be seen."""
    return map_text(text, lambda piece: piece, lambda character: f"⟦{code_of(character)}⟧")


def _belongs(text: str, position: int) -> bool:
    """Return whether a joiner or selector stands where ordinary text has one."""
    character = text[position]
    before, after = text[position - 1 : position], text[position + 1 : position + 2]
    if not before:
        return False
    if character == "\ufe0f":
        return unicodedata.category(before) in ("So", "Sm", "Po", "Nd")
    if character == "\u200d" and _is_pictograph(before) and unicodedata.category(after or " ") == "So":
        return True
    return character in _JOINERS and bool(_NEEDS_JOINERS.match(before)) and bool(_NEEDS_JOINERS.match(after))


def _is_pictograph(character: str) -> bool:
    return unicodedata.category(character) in ("So", "Sk") or character == "\ufe0f"
