"""Synthetic environment without a language model: embedded responses with a known reward."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from duelist.errors import DataError, RecipeError
from duelist.seeding import generator

REWARDS = "rewards.json"
WORDS = ("amber", "birch", "cloud", "delta", "ember", "fjord", "grove", "heron", "inlet", "juniper", "karst", "lichen")


def prepare_embedded(
    folder: Path,
    *,
    seed: int = 0,
    prompts: int = 300,
    responses: int = 6,
    held_out: int = 40,
    held_out_responses: int = 32,
    latent: int = 6,
    dimension: int = 32,
    noise: float = 0.1,
    reward_spread: float = 2.0,
) -> None:
    """Write prompts, responses, embeddings and true rewards into an empty folder.

    A response has a position z in a latent space: its prompt's position plus its own offset, both drawn from N(0, I).
    Its embedding is z rotated into `dimension` dimensions, plus noise. Its reward is a smooth function of z: a random
    network of 16 tanh units, scaled to mean 0 and standard deviation `reward_spread` over all responses. The design
    favours no selection rule.

    The files are `prompts.jsonl` and `held_out.jsonl` (rows `prompt`, `responses`), `embeddings.npz`, and
    `rewards.json`, which `duelist.world.embedded:reward` reads.

    Args:
        folder: an existing folder.
        seed: the only source of randomness.
        prompts: number of training prompts.
        responses: responses per training prompt.
        held_out: number of held-out prompts.
        held_out_responses: responses per held-out prompt.
        latent: dimensions of the latent space.
        dimension: dimensions of an embedding, `latent` or more.
        noise: standard deviation of the noise in each dimension of an embedding.
        reward_spread: standard deviation of the true reward.

    Raises:
        RecipeError: if a number is out of range.
    """
    if min(prompts, responses - 1, held_out_responses - 1, latent) < 1 or held_out < 0 or dimension < latent:
        raise RecipeError(
            "An embedded world needs a prompt, two responses to each, and `dimension >= latent >= 1`, but got prompts="
            f"{prompts}, responses={responses}, held_out_responses={held_out_responses}, latent={latent}, dimension="
            f"{dimension}: correct them."
        )
    from duelist.models.embeddings.files import embedding_id, write_embeddings

    rng = generator(seed, "embedded world")
    turn_XH = np.linalg.qr(rng.normal(size=(dimension, latent)))[0].T
    first_XX, shift_X, last_X = (
        rng.normal(size=(latent, 16)) / np.sqrt(latent),
        rng.normal(size=16),
        rng.normal(size=16),
    )
    counts = [responses] * prompts + [held_out_responses] * held_out
    owner_R = np.repeat(np.arange(len(counts)), counts)
    z_RX = rng.normal(size=(len(counts), latent))[owner_R] + rng.normal(size=(len(owner_R), latent))
    reward_R = np.tanh(z_RX @ first_XX * 1.5 + shift_X) @ last_X
    reward_R = (reward_R - reward_R.mean()) / reward_R.std() * reward_spread
    vectors_RH = z_RX @ turn_XH + noise * rng.normal(size=(len(owner_R), dimension))
    rows: list[dict[str, Any]] = [
        {"prompt": f"Question {p} about {WORDS[p % 12]}.", "responses": []} for p in range(len(counts))
    ]
    for r, p in enumerate(owner_R.tolist()):
        words = [WORDS[i] for i in rng.integers(0, len(WORDS), size=int(rng.integers(4, 24)))]
        rows[p]["responses"].append(f"Answer {r}: {' '.join(words)}.")
    texts = [(row["prompt"], text) for row in rows for text in row["responses"]]
    write_embeddings(folder / "embeddings.npz", [embedding_id(*x) for x in texts], vectors_RH.astype(np.float32))
    for name, part in (("prompts.jsonl", rows[:prompts]), ("held_out.jsonl", rows[prompts:])):
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in part), encoding="utf-8")
    rewards = {text: float(value) for (_, text), value in zip(texts, reward_R, strict=True)}
    (folder / REWARDS).write_text(json.dumps(rewards) + "\n", encoding="utf-8")


def reward(
    prompts: Sequence[Any], completions: Sequence[str | Sequence[Mapping[str, Any]]], *, world: str, **columns: Any
) -> list[float]:
    """Return the true reward of each response; a reward function for TRL once `world` is bound.

    Args:
        prompts: not used; a response is identified by its text.
        completions: texts, or lists of one message.
        world: the folder that `prepare_embedded` filled.
        **columns: not used.

    Raises:
        DataError: if a response is not one of the environment's.
    """
    known = _rewards(str(world))
    texts = [c if isinstance(c, str) else str(c[0]["content"]) for c in completions]
    for text in texts:
        if text not in known:
            raise DataError(f"An embedded world knows the rewards of its own responses only, but got {text[:60]!r}.")
    return [known[text] for text in texts]


@lru_cache(maxsize=8)
def _rewards(world: str) -> dict[str, float]:
    content: dict[str, float] = json.loads((Path(world) / REWARDS).read_text(encoding="utf-8"))
    return content
