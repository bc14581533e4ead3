"""Words of texts in scripts with and without spaces."""

from __future__ import annotations

import math

import pytest

from duelist.data.words import log_length, words


def test_words_are_characters_where_a_script_has_no_spaces() -> None:
    found = words("Ein Wort, 2 Wörter: 你好 abc你x ภาษา")
    assert found == ["ein", "wort", "2", "wörter", "你", "好", "abc", "你", "x", *"ภาษา"]
    assert words("") == words(" ,.") == []


def test_lengths_are_numbers_of_words() -> None:
    found = [log_length(text) for text in ("", "one", "one two", "你好")]
    assert found == pytest.approx([0.0, *map(math.log, (2, 3, 3))])
