"""Comparisons for the chat server of these tests, and the opinions that are right about them."""

from __future__ import annotations

import math

import pytest
from chat_server import ChatServer

from duelist.judgement import Judgement
from duelist.judges.base import Comparison
from duelist.progress import Silent
from duelist.types import Prompt


class Notes(Silent):
    """Progress that keeps its notes and counts what is done."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def comparisons(n: int = 5) -> list[Comparison]:
    """Pairs with differences of quality from −2 to 2, equal quality included."""
    return [Comparison(Prompt.of(f"Question {i}"), f"a quality={i % 3}", f"b quality={i // 3 % 3}") for i in range(n)]


def expected(server: ChatServer, c: Comparison) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The opinions in both orders, in the pair's own terms, computed from the judge's definition alone."""
    a, b = (int(text.partition("=")[2]) for text in (c.a, c.b))
    found = []
    for odds in (server.scale * (a - b) + server.position, server.scale * (a - b) - server.position):
        p = 1 / (1 + math.exp(-odds))
        found.append((0.95 * p, 0.95 * (1 - p), 0.05))
    return found[0], found[1]


def assert_right(server: ChatServer, asked: list[Comparison], found: list[Judgement]) -> None:
    assert len(found) == len(asked)
    for c, x in zip(asked, found, strict=True):
        a_first, b_first = expected(server, c)
        assert x.a_first == pytest.approx(a_first)
        assert x.b_first == pytest.approx(b_first)
