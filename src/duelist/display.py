"""What a notebook shows of a record: escaped HTML, for prompts and responses are people's and models' words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

SHOWN = 20  # rows of a table
LONGEST = 400  # characters of a cell
_CELL = "text-align:left;vertical-align:top;white-space:pre-wrap;padding:.3em .6em"


def table(title: str, head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a table of the first rows; long texts are cut, with an ellipsis."""
    rows = list(rows)
    cells = "".join("<tr>" + "".join(_cell("td", _text(value)) for value in row) + "</tr>" for row in rows[:SHOWN])
    more = f"<p>… and {len(rows) - SHOWN} more</p>" if len(rows) > SHOWN else ""
    heads = "".join(_cell("th", name) for name in head)
    return (
        f"<div><p><b>{escape(title)}</b></p><table><thead><tr>{heads}</tr></thead><tbody>{cells}</tbody></table>{more}"
        "</div>"
    )


def numbers(title: str, values: Iterable[tuple[str, Any]]) -> str:
    """Return a table of names and values."""
    return table(title, ("", ""), [(name, f"{v:.4g}" if isinstance(v, float) else v) for name, v in values])


def _cell(tag: str, text: str) -> str:
    return f'<{tag} style="{_CELL}">{escape(text)}</{tag}>'


def _text(value: Any) -> str:
    """Return a value as text; a conversation as one line for each message."""
    if isinstance(value, list) and all(isinstance(m, dict) and "role" in m for m in value):
        value = "\n".join(f"{m['role']}: {m.get('content')}" for m in value)
    text = "–" if value is None else str(value)
    return text if len(text) <= LONGEST else text[:LONGEST] + "…"
