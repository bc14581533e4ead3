"""The data of the margin paper in miniature: a world, and labelled pairs on prompts that the iterations never use."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from duelist import world
from duelist.seeding import generator

FILES = ("labelled.jsonl", "prompts.jsonl")


def prepare(folder: Path, *, seed: int, labelled: int, prompts: int, noise: float = 0.1, **settings: Any) -> None:
    """Write a synthetic environment whose prompts are split in two: labelled pairs for the start, and all others.

    A labelled prompt has two responses as others might have written them, each in one of the kind's two styles, drawn
    at random; the one with the higher true reward is preferred. Pairs of equal reward are drawn again.

    Args:
        folder: an empty folder.
        seed: the only source of randomness.
        labelled: number of labelled pairs, each on its own prompt.
        prompts: number of prompts that are left.
        noise: probability that a word is replaced by any other.
        **settings: further settings of the environment (`duelist.world.WorldSettings`).
    """
    world.prepare(folder, seed=seed, prompts=labelled + prompts, **settings)
    description = json.loads((folder / "world.json").read_text(encoding="utf-8"))
    rows = [json.loads(line) for line in (folder / "prompts.jsonl").read_text(encoding="utf-8").splitlines()]
    rng = generator(seed, "labelled pairs")
    kinds, words = description["kinds"], description["words"]
    length = description["settings"]["response_tokens"]

    def written(kind: int) -> str:
        style = kinds[kind][("preferred", "other")[int(rng.integers(2))]]
        chosen = [str(rng.choice(words if rng.random() < noise else style)) for _ in range(length)]
        return " ".join(chosen)

    pairs = []
    order = rng.permutation(len(rows))
    for row in (rows[i] for i in np.sort(order[:labelled])):
        while True:
            texts = [written(row["kind"]) for _ in range(2)]
            first, second = world.reward([row["prompt"]] * 2, texts, world=folder)
            if first != second:
                break
        said = [[{"role": "assistant", "content": text}] for text in (texts if first > second else texts[::-1])]
        pairs.append({"prompt": row["prompt"], "chosen": said[0], "rejected": said[1]})
    left = [rows[i] for i in np.sort(order[labelled:])]
    for name, content in zip(FILES, (pairs, left), strict=True):
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in content), encoding="utf-8")
