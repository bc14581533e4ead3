"""Preparation of a synthetic environment in a folder."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from duelist.errors import StorageError, full_disk_as_storage_error
from duelist.world import model as world_model
from duelist.world.language import Language, Prompts, Rules, draw_demonstrations, draw_prompts
from duelist.world.oracle import WORLD_FILE
from duelist.world.settings import WorldSettings, settings_from


def prepare(folder: Path, **settings: Any) -> None:
    """Write a synthetic environment into an empty folder.

    The files are

    - `model/`: the fine-tuned model and its tokenizer, as `from_pretrained` reads them;
    - `prompts.jsonl`: the training prompts, rows `{"prompt": [a user message], "kind": number}`; with useless kinds,
      each row also has `useful` (1 or 0), and `useful.jsonl` holds those that are;
    - `held_out.jsonl`: held-out prompts, with the same keys and a `weight`. Each kind has the same number, so the plain
      mean of their rewards is the mean over kinds. A row's weight is `kinds` × its kind's frequency (mean 1), so the
      mean of weight × reward is the mean over prompts as they occur in training;
    - `world.json`: the settings, the response words, and for each kind its word, frequency, two styles and utilities.
      It is written last: a folder that contains it is complete.

    The same settings give the same files on the same machine with the same library versions. The process's random
    generators and number of torch threads are restored. The default settings take a few seconds.

    Args:
        folder: an existing, empty folder.
        **settings: fields of `WorldSettings`.

    Raises:
        RecipeError: if a setting is unknown or invalid.
        StorageError: if the folder does not exist, is not empty, or the disk is full.
    """
    chosen = settings_from(settings)
    folder = Path(folder)
    _require_empty(folder)
    language, rules = Language.of(chosen), Rules.of(chosen)
    training, held_out = draw_prompts(chosen, rules, language)
    demonstrations = draw_demonstrations(chosen, rules, language, frozenset(held_out.texts))
    with full_disk_as_storage_error(f"the world in {folder}"):
        with world_model.undisturbed():
            tokenizer = world_model.make_tokenizer(language)
            model = world_model.make_model(chosen, tokenizer)
            if chosen.sft_steps:
                world_model.fine_tune(chosen, model, tokenizer, demonstrations)
            model.save_pretrained(folder / "model")
            tokenizer.save_pretrained(folder / "model")
        weight_X = (chosen.kinds * rules.frequency_X).tolist()
        rows = list(_rows(training))
        if chosen.useless_kinds:
            rows = [row | {"useful": int(rules.frequency_X[row["kind"]] > 0)} for row in rows]
            _write_rows(folder / "useful.jsonl", (row for row in rows if row["useful"]))
        _write_rows(folder / "prompts.jsonl", rows)
        _write_rows(folder / "held_out.jsonl", (row | {"weight": weight_X[row["kind"]]} for row in _rows(held_out)))
        description = json.dumps(_description(chosen, language, rules), indent=1)
        (folder / WORLD_FILE).write_text(description + "\n", encoding="utf-8")


def _require_empty(folder: Path) -> None:
    if not folder.is_dir():
        raise StorageError(
            errno.ENOENT, f"A world needs an existing empty folder, but {folder} is no folder: make it first."
        )
    if found := sorted(entry.name for entry in folder.iterdir()):
        raise StorageError(
            errno.ENOTEMPTY,
            f"A world needs an empty folder, but {folder} holds {', '.join(found[:5])}: give another, or empty it.",
        )


def _rows(prompts: Prompts) -> Iterable[dict[str, Any]]:
    for text, kind in zip(prompts.texts, prompts.kind_N.tolist(), strict=True):
        yield {"prompt": [{"role": "user", "content": text}], "kind": kind}


def _write_rows(file: Path, rows: Iterable[dict[str, Any]]) -> None:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _description(settings: WorldSettings, language: Language, rules: Rules) -> dict[str, Any]:
    def names(numbers_S: Iterable[int]) -> list[str]:
        return [language.words[i] for i in numbers_S]

    return {
        "settings": settings.model_dump(),
        "words": list(language.words),
        "kinds": [
            {
                "word": language.kinds[kind],
                "frequency": float(rules.frequency_X[kind]),
                "preferred": names(rules.styles_X2X[kind, 0]),
                "other": names(rules.styles_X2X[kind, 1]),
                "utility": rules.utility_XV[kind].tolist(),
            }
            for kind in range(settings.kinds)
        ],
    }
