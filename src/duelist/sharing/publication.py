"""What is published of a study, as two folders: the weights and the preferences, each with its card."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from duelist.errors import StorageError, unwritable_as_storage_error
from duelist.exchange.trl import dataset_rows
from duelist.report.record import read_arm
from duelist.settings.lookups import is_local
from duelist.sharing.cards import dataset_card, model_card
from duelist.sharing.facts import facts_of
from duelist.store.artifacts import write_jsonl
from duelist.store.layout import METRICS, PREFERENCES
from duelist.store.store import Store

CARD = "README.md"
# Keys in which PEFT and transformers keep where the base model was loaded from.
LOADED_FROM = ("base_model_name_or_path", "_name_or_path", "name_or_path")


@dataclass(frozen=True)
class Publication:
    """A study ready to be shared.

    Attributes:
        model: folder of the weights and their card.
        dataset: folder of the preferences and their card; None if the study has no preference.
        repo: name of the model's repository.
        dataset_repo: name of the data set's repository.
    """

    model: Path
    dataset: Path | None
    repo: str
    dataset_repo: str


def write_publication(
    study: Path, output: Path, repo: str, dataset_repo: str, *, license: str | None = None, named: bool = False
) -> Publication:
    """Write what is shared of a study: `model/` and `dataset/`.

    Only weights, metrics, preferences and cards are written: no recipe, which names paths, no times and no ledger.

    Args:
        study: the study's folder; another process may run it.
        output: the folder to write into.
        repo: name of the model's repository, such as `me/model`.
        dataset_repo: name of the data set's repository.
        license: identifier of the license, as the Hub has it.
        named: keep the annotators' names; otherwise they are pseudonyms.

    Raises:
        StorageError: if there is no study, it has no weights yet, or the output folder is not empty or not writable.
    """
    arm = read_arm(study)
    f = facts_of(arm)
    weights = study / f.trains
    if not weights.is_dir():
        raise StorageError(
            f"A study must have weights to be shared, but {weights} is not there: run it up to its first evaluation."
        )
    with unwritable_as_storage_error(output):
        if output.is_dir() and any(output.iterdir()):
            raise StorageError(f"The folder to write into must be new or empty, but {output} is not: give another one.")
        rows = list(_rows(study, named))
        shared = dataset_repo if rows else None
        model = output / "model"
        shutil.copytree(weights, model, ignore=shutil.ignore_patterns(CARD))
        _remove_paths(model)
        shutil.copyfile(study / METRICS, model / METRICS)
        model_card(f, repo, shared, license).save(model / CARD)
        if not rows:
            return Publication(model, None, repo, dataset_repo)
        dataset = output / "dataset"
        dataset.mkdir(parents=True)
        write_jsonl(dataset / PREFERENCES, rows)
        dataset_card(f, repo, dataset_repo, license, len(rows), named=named).save(dataset / CARD)
    return Publication(model, dataset, repo, dataset_repo)


def _rows(study: Path, named: bool) -> Iterator[dict[str, Any]]:
    """Yield the preferences; annotators are numbered in the order of their first one, unless they are named."""
    pseudonyms: dict[str, str] = {}
    with closing(Store(study, migrate=False)) as store:
        for row in dataset_rows(store, "every", ties=False, implied="all", one_prompt=False):
            who = str(row["annotator"])
            pseudonym = pseudonyms.setdefault(who, f"annotator-{len(pseudonyms) + 1}")
            yield row if named else {**row, "annotator": pseudonym}


def _remove_paths(weights: Path) -> None:
    """Replace paths of this machine in the configurations of the weights by their last part."""
    for path in weights.glob("*.json"):
        content = json.loads(path.read_text("utf-8"))
        named = {k: content[k] for k in LOADED_FROM if isinstance(content, dict) and isinstance(content.get(k), str)}
        local = {k: Path(v).name for k, v in named.items() if is_local(v)}
        if local:
            path.write_text(json.dumps({**content, **local}, indent=2, sort_keys=True) + "\n", encoding="utf-8")
