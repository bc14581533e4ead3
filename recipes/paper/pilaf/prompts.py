"""HH's prompts, cut on the left to a number of tokens, as PILAF's experiments have them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from duelist.data import RowSource, row_prompt
from duelist.models.policy.loading import load_pretrained
from duelist.models.policy.tokenization import prompt_token_ids
from duelist.types import Prompt


def cut_prompts(folder: Path, *, model: str, data: str, max_tokens: int = 512) -> None:
    """Write `prompts.jsonl` and `held_out.jsonl` with every prompt of the training and test split, each once.

    A prompt of more than `max_tokens` tokens loses its earliest messages, two at a time so that it still begins with
    the user's; a last message that alone is too long loses its beginning.

    Args:
        folder: where the files go.
        model: whose tokenizer counts: a folder or a name on the hub.
        data: a data set on the hub with the splits `train` and `test`, or a folder with train.jsonl and test.jsonl.
        max_tokens: the limit, chat template included.

    Raises:
        DataError: if a row has no prompt.
        ModelError: if the tokenizer cannot be loaded.
    """
    from transformers import AutoTokenizer

    tokenizer = load_pretrained(AutoTokenizer, model, "prepare.settings.model")
    for split, name in (("train", "prompts.jsonl"), ("test", "held_out.jsonl")):
        local = Path(data) / f"{split}.jsonl"
        source = RowSource(str(local)) if local.is_file() else RowSource(data, split)
        prompts = {p.id: p for p in (_cut(tokenizer, row_prompt(row, where), max_tokens) for where, row in source)}
        rows = (json.dumps({"prompt": p.as_trl()}, ensure_ascii=False) + "\n" for p in prompts.values())
        (folder / name).write_text("".join(rows), encoding="utf-8")


def _cut(tokenizer: Any, prompt: Prompt, max_tokens: int) -> Prompt:
    while len(prompt_token_ids(tokenizer, prompt)) > max_tokens:
        if len(prompt.messages) > 2 and not prompt.plain:
            prompt = Prompt.of(prompt.messages[2:])
            continue
        text = str(prompt.messages[-1]["content"])
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        excess = len(prompt_token_ids(tokenizer, prompt)) - max_tokens
        shorter = tokenizer.decode(ids[max(1, excess) :])
        prompt = Prompt.of(shorter if prompt.plain else [{**prompt.messages[-1], "content": shorter}])
    return prompt
