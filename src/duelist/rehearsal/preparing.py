"""Files of a rehearsal: the preferences, a vector of each response, and the recipe of its studies."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from duelist.audit.head import principal_components
from duelist.errors import BudgetError, DataError, RecipeError, StorageError
from duelist.files.atomic import atomic_path
from duelist.models.embeddings.cache import EmbeddingCache
from duelist.models.embeddings.config import EmbeddingConfig
from duelist.models.embeddings.files import embedding_id, write_embeddings
from duelist.models.embeddings.sources import make_embedder
from duelist.progress import Progress
from duelist.rehearsal.rows import Preferences
from duelist.rehearsal.text_vectors import centred, text_vectors, with_length
from duelist.seeding import generator
from duelist.settings.validation import read_yaml, write_yaml
from duelist.store.artifacts import write_jsonl, write_text
from duelist.types import Prompt, Response, content_id

ROUNDS = 8
MOST_LABELS = 800  # by default: enough for a curve, and a minute or two of computing
RECIPE, SOURCE, DATA = "recipe.yaml", "source.yaml", "data"
ROWS, VECTORS = "preferences.jsonl", "embeddings.npz"  # in the folder `data`

Floats = NDArray[np.float64]


def prepare_rehearsal(
    folder: Path,
    preferences: Preferences,
    labels: int | None,
    embeddings: EmbeddingConfig | None,
    progress: Progress,
) -> Path:
    """Write the files of a rehearsal, or find those of the same rehearsal; return the recipe's path.

    Args:
        folder: the rehearsal's folder.
        preferences: the decided pairs.
        labels: labels of each study; None for as many as the file allows, 800 at most.
        embeddings: the source of the responses' vectors; None for words and lengths alone (`text_vectors`).
        progress: receives the number of embedded responses.

    Raises:
        RecipeError: if the folder has another rehearsal.
        StorageError: if it has something else.
        BudgetError: if there are fewer pairs than labels.
    """
    recipe = rehearsal_recipe(folder, preferences, labels)
    source = {
        "preferences": content_id(*preferences.rows),
        "embeddings": None if embeddings is None else embeddings.model_dump(mode="json"),
        "recipe": recipe,
    }
    if _is_prepared(folder, source):
        return folder / RECIPE
    (folder / DATA).mkdir(parents=True, exist_ok=True)
    write_jsonl(folder / DATA / ROWS, preferences.rows)
    responses = _responses(preferences)
    vectors_RH = _vectors(responses, embeddings, progress)
    ids = [embedding_id(prompt.as_trl(), response.text) for prompt, response in responses]
    with atomic_path(folder / DATA / VECTORS) as temporary:
        write_embeddings(temporary, ids, vectors_RH.astype(np.float32))
    write_text(folder / RECIPE, write_yaml(recipe))
    write_text(folder / SOURCE, write_yaml(source))  # last: everything else is there
    return folder / RECIPE


def rehearsal_recipe(folder: Path, preferences: Preferences, labels: int | None) -> dict[str, Any]:
    """Return the recipe of a rehearsal's studies, with a quarter of the prompts held out.

    By default half of the pairs are asked that are left whatever prompts are held out, so that there is something left
    to choose from.

    Raises:
        BudgetError: if there are fewer pairs than labels, whatever prompts are held out, or the labels do not make
            eight equal batches.
    """
    counts = preferences.pairs_of_prompt
    held_out = max(1, round(len(counts) / 4))
    pool = sum(counts[held_out:])  # if the prompts with most pairs are held out
    if pool < ROUNDS:
        raise BudgetError(
            f"A rehearsal chooses {ROUNDS} pairs or more on prompts that are not held out, but the "
            f"{len(preferences.rows)} decided pairs may leave {pool}, because {held_out} of {len(counts)} prompts are "
            "held out and few prompts have most pairs: give a file with pairs on more prompts."
        )
    total = min(MOST_LABELS, pool // 2) // ROUNDS * ROUNDS or ROUNDS if labels is None else labels
    if not ROUNDS <= total <= pool or total % ROUNDS:
        raise BudgetError(
            f"`{ROUNDS} <= labels <= pairs on prompts that are not held out` must hold, in {ROUNDS} equal batches, but "
            f"got {total} labels, and the {len(preferences.rows)} decided pairs may leave {pool} for choosing: give "
            f"--labels a multiple of {ROUNDS} up to {pool // ROUNDS * ROUNDS}."
        )
    return recipe_of_studies(folder.resolve() / DATA, total // ROUNDS, held_out)


def recipe_of_studies(data: Path, budget: int, held_out: int) -> dict[str, Any]:
    """Return a recipe of a linear reward model on fixed vectors; the first of eight batches is random for every rule.

    Args:
        data: the folder of the preferences and the vectors.
        budget: pairs in each batch.
        held_out: number of prompts held out, others for each seed.
    """
    return {
        "name": "rehearsal",
        "description": "Rules replayed on existing preferences.",
        "rounds": ROUNDS,
        "budget": budget,
        "initial_random": budget,
        "pool": "fixed",
        "prompts": {"path": str(data / ROWS), "held_out": held_out},
        "sampler": "dataset",
        "pairing": "as_given",
        "featurizers": {"reward_head": {}, "embedding": {}},
        "acquisition": "random",
        "annotator": {"name": "dataset_labels", "path": str(data / ROWS)},
        "trainer": {"name": "bradley_terry", "votes": "majority", "learning_rate": 0.02, "steps": 200},
        "reward_model": {
            "embedding": {"source": "file", "path": str(data / VECTORS)},
            "hidden": [],
            "normalize": False,
            "prior_precision": 30.0,
        },
    }


def _is_prepared(folder: Path, source: Mapping[str, Any]) -> bool:
    if (folder / SOURCE).is_file():
        if read_yaml((folder / SOURCE).read_text(encoding="utf-8")) != source:
            raise RecipeError(
                f"A rehearsal goes on with the preferences and settings that it began with, but {folder} was begun "
                "with others: give another folder with -o."
            )
        return True
    strange = [p.name for p in folder.iterdir() if p.name not in (DATA, RECIPE)] if folder.is_dir() else []
    if strange:
        raise StorageError(
            f"A rehearsal needs a new or empty folder, but {folder} holds {', '.join(sorted(strange)[:3])}: give "
            "another one with -o."
        )
    return False


def _responses(preferences: Preferences) -> list[tuple[Prompt, Response]]:
    """Return the distinct responses with their prompts."""
    found: dict[str, tuple[Prompt, Response]] = {}
    for row in preferences.rows:
        prompt = Prompt.of(row["prompt"])
        for name in ("response_a", "response_b"):
            response = Response.of(prompt, row[name], [], [0], 0)
            found.setdefault(response.id, (prompt, response))
    return list(found.values())


def _vectors(
    responses: list[tuple[Prompt, Response]], embeddings: EmbeddingConfig | None, progress: Progress
) -> Floats:
    """Return the vectors of the responses: leading principal components, and the length, each of mean square 1.

    Raises:
        DataError: if they are all equal.
    """
    texts = [response.text for _, response in responses]
    if embeddings is None:
        vectors_RH = text_vectors(texts, generator(0, "text vectors"))
    else:
        embed = EmbeddingCache(make_embedder(embeddings))
        found_RH = embed({p.id: p for p, _ in responses}, [r for _, r in responses], progress).astype(np.float64)
        vectors_RH = with_length(principal_components(centred(found_RH)), texts)
    if not vectors_RH.any():
        raise DataError(
            f"A rehearsal needs features that tell responses apart, but those of all {len(texts)} are equal: give "
            "others with --model or --embeddings."
        )
    return vectors_RH
