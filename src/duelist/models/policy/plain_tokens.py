"""Token ids without a tokenizer: words and punctuation marks, for studies that have no language model.

Only their number and their equality matter: lengths in tokens, reading time, the overlap of two texts.
"""

from __future__ import annotations

import re
from zlib import crc32

VOCABULARY = 2**16
_PIECES = re.compile(r"\w+|[^\w\s]")


def plain_token_ids(text: str) -> list[int]:
    """One id below 65,536 for each word and each punctuation mark: a hash of it, the same on every machine.

    A text of nothing but spaces is one token.
    """
    return [crc32(piece.encode()) % VOCABULARY for piece in _PIECES.findall(text)] or [0]
