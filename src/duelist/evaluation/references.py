"""Fixed outputs that a judge compares a policy's responses with, from a file in AlpacaEval's format."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from duelist.data.sources import Row, RowSource
from duelist.errors import DataError
from duelist.settings.validation import expanded
from duelist.types import Message, Prompt, content_id


def reference_outputs(path: str, prompts: Sequence[Prompt]) -> list[str]:
    """Return the output that a file has for each prompt.

    A row has `output`, and `instruction` (AlpacaEval) or `prompt` (text, or messages). Text matches a prompt of that
    text, plain or as the only message. Rows for other prompts are ignored.

    Args:
        path: a JSON file with a list of rows, or a file ending in .jsonl, .jsonl.gz or .parquet.
        prompts: the held-out prompts.

    Raises:
        DataError: if the file cannot be read, a row is not usable, a prompt has two different outputs, or prompts have
            none.
    """
    wanted = {_key(p.messages) for p in prompts}
    found: dict[str, tuple[str, str]] = {}
    for where, row in _rows(path):
        key = _row_key(row, where)
        if key not in wanted:
            continue
        output = row.get("output")
        if not isinstance(output, str):
            raise DataError(f"A reference `output` must be text, but that of {where} is {output!r:.80}: correct it.")
        if key in found and found[key][0] != output:
            raise DataError(
                f"A prompt must have one reference output, but {found[key][1]} and {where} have different ones for the "
                "same prompt: drop one of them."
            )
        found.setdefault(key, (output, where))
    missing = [p for p in prompts if _key(p.messages) not in found]
    if missing:
        text = str(missing[0].messages[-1]["content"])
        raise DataError(
            f"`evaluation.judge.against` must have an output for every held-out prompt, but {path} has none for "
            f"{len(missing)} of {len(prompts)} (the first is {missing[0].id}, {text!r:.80}): add rows with `prompt` "
            "(or `instruction`) and `output`, or hold out only prompts that the file has."
        )
    return [found[_key(p.messages)][0] for p in prompts]


def _rows(path: str) -> Iterator[tuple[str, Row]]:
    file = expanded(path)
    if file.suffix != ".json" and not file.is_file():
        raise DataError(f"`evaluation.judge.against` must be `initial` or a file, but {path} is neither: correct it.")
    return iter(RowSource(path)) if file.suffix != ".json" else _json_rows(file)


def _json_rows(file: Path) -> Iterator[tuple[str, Row]]:
    try:
        rows = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(
            f"`evaluation.judge.against` must be a readable JSON file, but {file} is not: {error}. Correct it."
        ) from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataError(
            f"A JSON file of outputs must be a list of objects, but {file} is not: write it so, or use .jsonl."
        )
    for i, row in enumerate(rows):
        yield f"row {i} of {file}", row


def _row_key(row: Row, where: str) -> str:
    content: Any = row.get("prompt") if row.get("prompt") is not None else row.get("instruction")
    if isinstance(content, str):
        return content
    if isinstance(content, list) and content and all(isinstance(m, dict) and "content" in m for m in content):
        return _key(content)
    raise DataError(
        f"A row of reference outputs must have `prompt` or `instruction`, text or a list of messages, but {where} has "
        f"{content!r:.80}: correct it."
    )


def _key(messages: Sequence[Message]) -> str:
    """Return a prompt's text if it is one user message, else a hash of its messages."""
    if len(messages) == 1 and messages[0].get("role") == "user":
        return str(messages[0]["content"])
    return content_id("messages", [dict(m) for m in messages])
