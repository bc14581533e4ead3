"""UltraFeedback in two: labelled pairs for the start, and the instructions that are left for the iterations.

python recipes/paper/margin/ultrafeedback.py FOLDER    # the recipe's own split, for `trl sft`
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from duelist.data import RowSource, row_pair, row_prompt
from duelist.errors import DataError
from duelist.models.policy.loading import load_pretrained
from duelist.recipe.reading import load_recipe, preparation_settings
from duelist.seeding import generator, hash_keys
from duelist.types import Prompt


def split(folder: Path, *, model: str, data: str, labelled: int = 10_000, max_tokens: int = 512, seed: int = 0) -> None:
    """Write `labelled.jsonl`, `sft/train.jsonl` and `prompts.jsonl`.

    The first has `labelled` rows in TRL's preference format, drawn at random; the second the same prompts with the
    preferred responses, for `trl sft`; the third all other prompts. Each prompt is there once. Prompts of more than
    `max_tokens` tokens are left out, and so are rows with an empty response or two equal ones.

    Args:
        folder: where the files go.
        model: whose tokenizer counts, chat template not included: a folder or a name on the hub.
        data: rows with `chosen` and `rejected`: a data set on the hub, or a file.
        labelled: how many rows are for the start.
        max_tokens: the limit of a prompt.
        seed: draws those rows.

    Raises:
        DataError: if there are no more rows than `labelled`.
        ModelError: if the tokenizer cannot be loaded.
    """
    from transformers import AutoTokenizer

    tokenizer = load_pretrained(AutoTokenizer, model, "prepare.settings.model")
    rows: dict[str, tuple[Prompt, list[str]]] = {}
    for where, row in RowSource(data):
        try:
            prompt, texts = row_prompt(row, where), row_pair(row, where)
        except DataError:
            continue
        text = "\n".join(str(m["content"]) for m in prompt.messages)
        if len(set(texts)) == 2 and len(tokenizer(text)["input_ids"]) <= max_tokens:
            rows.setdefault(prompt.id, (prompt, texts))
    if len(rows) <= labelled:
        raise DataError(
            f"`labelled < rows` must hold, but labelled={labelled} and {data} has {len(rows)} usable rows: lower it."
        )
    ids = list(rows)
    first = hash_keys(generator(seed, "labelled"), ids).argsort(kind="stable")[:labelled].tolist()
    start = [rows[ids[i]] for i in sorted(first)]
    aside = {ids[i] for i in first}
    (folder / "sft").mkdir(parents=True, exist_ok=True)
    _write(folder / "labelled.jsonl", [_row(p, chosen=c, rejected=r) for p, (c, r) in start])
    _write(folder / "sft" / "train.jsonl", [_row(p, completion=c) for p, (c, _) in start])
    _write(folder / "prompts.jsonl", [_row(p) for i, (p, _) in rows.items() if i not in aside])


def _row(prompt: Prompt, **texts: str) -> dict[str, Any]:
    """A row as TRL has it: text beside text, messages beside messages."""
    said = {k: t if prompt.plain else [{"role": "assistant", "content": t}] for k, t in texts.items()}
    return {"prompt": prompt.as_trl(), **said}


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


if __name__ == "__main__":
    split(Path(sys.argv[1]), **preparation_settings(load_recipe(Path(__file__).with_name("recipe.yaml"))))
