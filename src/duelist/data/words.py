"""Words of a text, and its length: what features count where there is no model."""

from __future__ import annotations

import re

import numpy as np

# Scripts written without spaces: Thai to Myanmar, Khmer, kana, and Chinese characters. Each character is a word.
_WITHOUT_SPACES = "\u0e00-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_WORD = re.compile(rf"[{_WITHOUT_SPACES}]|[^\W{_WITHOUT_SPACES}]+")


def words(text: str) -> list[str]:
    """Return the words of a text in lower case; in a script without spaces, its characters."""
    return _WORD.findall(text.lower())


def log_length(text: str) -> float:
    """Return log(1 + number of words)."""
    return float(np.log1p(len(words(text))))
