"""Preferences as axolotl and LLaMA-Factory read them, with the part of their configuration that names the file.

axolotl: docs/rlhf.qmd, DPO, `chat_template.default`. LLaMA-Factory: data/README.md, preference data set in the sharegpt
format with the roles of OpenAI's, whose first message may be the system's.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from duelist.errors import DataError
from duelist.settings.validation import write_yaml
from duelist.store.artifacts import json_line

DATASET = "duelist"  # the data set's name in dataset_info.json
ROLES = ("system", "user", "assistant")


def training_files(trainer: str, rows: Iterable[Mapping[str, Any]], output: Path) -> dict[str, str]:
    """Return the files that a trainer needs, by name: the preferences, and how its configuration names them.

    Args:
        trainer: `axolotl` or `llama_factory`.
        rows: preferences in TRL's format (`trl_rows`).
        output: the folder that the files will be written into.

    Raises:
        DataError: if a prompt has a role that the trainers do not know.
    """
    converted = [_row(row) for row in rows]
    if trainer == "axolotl":
        lines = "".join(map(json_line, converted))
        dataset = {"path": str(output / "preferences.jsonl"), "ds_type": "json", "split": "train"}
        dataset |= {"type": "chat_template.default", "field_messages": "messages"}
        dataset |= {"field_chosen": "chosen", "field_rejected": "rejected"}
        return {"preferences.jsonl": lines, "axolotl.yaml": write_yaml({"rl": "dpo", "datasets": [dataset]})}
    info = {
        "file_name": "preferences.json",
        "formatting": "sharegpt",
        "ranking": True,
        "columns": {"messages": "messages", "chosen": "chosen", "rejected": "rejected"},
        "tags": {"role_tag": "role", "content_tag": "content"} | {f"{role}_tag": role for role in ROLES},
    }
    return {
        "preferences.json": json.dumps(converted, ensure_ascii=False, indent=2) + "\n",
        "dataset_info.json": json.dumps({DATASET: info}, indent=2) + "\n",
    }


def _row(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a preference as messages: a plain prompt is the user's one message."""
    prompt = row["prompt"]
    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    found: dict[str, Any] = {"messages": [{"role": m["role"], "content": m["content"]} for m in messages]}
    for name in ("chosen", "rejected"):
        text = row[name] if isinstance(row[name], str) else row[name][-1]["content"]
        found[name] = {"role": "assistant", "content": text}
    if odd := [m["role"] for m in messages if m["role"] not in ROLES]:
        raise DataError(
            f"These trainers know the roles {', '.join(ROLES)}, but a prompt has a message of {odd[0]!r}: export with "
            "`--format trl`."
        )
    return found
