"""What a model embedded is kept: a study that is opened again goes on from the same numbers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from duelist import Study
from duelist.errors import StorageError
from duelist.models.embeddings import hidden_states as embeddings
from duelist.models.embeddings.cache import keep_vectors, kept_vectors
from duelist.recipe.reading import parse_recipe
from duelist.seeding import derived_seed
from duelist.types import Response
from outcomes import require_equal

PROMPTS, HELD_OUT = 12, 3


@pytest.fixture
def recipe(tiny_model: Path, tiny_reward: str, tmp_path: Path) -> dict[str, Any]:
    """A reward model on a tiny model's hidden states; every prompt has four responses of very different lengths."""
    rng = np.random.default_rng(0)
    rows = [
        {"prompt": f"w{i} w{i + 1}", "responses": [_words(rng, n) for n in rng.permutation([2, 7, 19, 33])]}
        for i in range(PROMPTS + HELD_OUT)
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {
        "name": "kept",
        "rounds": 4,
        "budget": 5,
        "initial_random": 5,
        "pool": "fixed",
        "prompts": {"path": str(tmp_path / "rows.jsonl"), "held_out": HELD_OUT},
        "sampler": "dataset",
        "pairing": "in_prompt",
        "featurizers": {"reward_head": {}, "embedding": {}},
        "acquisition": "pa_d_opt",
        "annotator": {"name": "reward_function", "function": tiny_reward},
        "trainer": {"name": "bradley_terry", "steps": 30},
        "reward_model": {"embedding": {"source": "hidden_states", "model": str(tiny_model)}, "hidden": [8, 8]},
    }


def _words(rng: np.random.Generator, n: int) -> str:
    return " ".join(f"w{i}" for i in rng.integers(0, 40, size=n))


@pytest.fixture
def embedded(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Ids of the responses that the model embeds; its rounding depends on how many it embeds together, as large
    models' does."""
    seen: list[str] = []
    original = embeddings.HiddenStates.embed

    def counting(self: Any, prompts: Any, responses: list[Response], progress: Any) -> Any:
        seen.extend(r.id for r in responses)
        return original(self, prompts, responses, progress) + np.float32(1e-4 * len(responses))

    monkeypatch.setattr(embeddings.HiddenStates, "embed", counting)
    yield seen


def run(folder: Path, recipe: dict[str, Any], *, reopened: bool) -> Path:
    with Study.create(folder, parse_recipe(recipe)) as study:
        annotator = study.stages.components.annotator
        if not reopened:
            study.run()
    while reopened:
        with Study.open(folder) as study:  # as after a kill: nothing is left but what is on disk
            if not study.rounds_left:
                break
            batch = study.ask()
        with Study.open(folder) as study:
            study.tell(annotator.annotate(batch, derived_seed(study.recipe.seed, "annotate"), study.progress))
            study.update()
    return folder


def test_a_reopened_study_equals_an_undisturbed_one(
    recipe: dict[str, Any], embedded: list[str], tmp_path: Path
) -> None:
    undisturbed = run(tmp_path / "undisturbed", recipe, reopened=False)
    first = sorted(embedded)
    embedded.clear()
    reopened = run(tmp_path / "reopened", recipe, reopened=True)
    require_equal(reopened, undisturbed)
    assert sorted(embedded) == first
    assert len(set(first)) == len(first)


def test_a_study_begun_anew_embeds_anew(recipe: dict[str, Any], embedded: list[str], tmp_path: Path) -> None:
    for pool in ("mean", "last"):
        recipe["reward_model"]["embedding"]["pool"] = pool
        with Study.create(tmp_path / "study", parse_recipe(recipe)) as study:
            study.stages.measure_initial_model()
    assert len(embedded) == 2 * len(set(embedded))


def test_a_policy_studys_own_embeddings_are_kept(
    tiny_recipe: dict[str, Any], embedded: list[str], tmp_path: Path
) -> None:
    changes = {"featurizers": {"margin": {}, "embedding": {}}, "pool": "fixed"}
    acquisition = {"name": "k_center", "features": "embedding"}
    content = tiny_recipe | changes | {"acquisition": acquisition, "initial_random": 0}
    run(tmp_path / "study", content, reopened=True)
    assert embedded
    assert len(embedded) == len(set(embedded))


def test_vectors_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    for i in range(3):
        keep_vectors(tmp_path, [f"r{i}"], np.full((1, 2), i, np.float32))
    (tmp_path / "000002.npz").unlink()
    keep_vectors(tmp_path, ["r9"], np.full((1, 2), 9, np.float32))
    assert {k: v.tolist() for k, v in kept_vectors(tmp_path).items()} == {"r0": [0, 0], "r2": [2, 2], "r9": [9, 9]}
    (tmp_path / "000001.npz").write_bytes(b"PK")
    with pytest.raises(StorageError, match=r"000001\.npz cannot be read .* delete it"):
        kept_vectors(tmp_path)
