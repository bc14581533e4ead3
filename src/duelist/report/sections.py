"""A section of the report that another part of the package fills: a heading, paragraphs and a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """A table of text; every row has as many cells as the head, and the first cell names the row."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Section:
    """A section of the report.

    Attributes:
        name: its address within the page, unique, of letters, digits and hyphens.
        heading: its heading.
        paragraphs: its text. Plain text: the page escapes it.
        table: a table below the text, or None.
    """

    name: str
    heading: str
    paragraphs: Sequence[str] = ()
    table: Table | None = None
