"""Seconds that each acquisition rule takes on a large pool, by itself: `python benchmarks/rules.py [RULE ...]`.

20,000 candidate pairs of 500 prompts (11 responses each, some pairs missing), 64 features, 500 past pairs, 500 picks,
K = 32; and the same of one prompt with 210 responses, which is the worst for rules that go prompt by prompt.
"""

from __future__ import annotations

import dataclasses
import sys
import time

import numpy as np

from duelist.acquisition.base import choose
from duelist.components import COMPONENTS
from duelist.recipes import build, parse_component
from duelist.types import Features

N, D, K, P, BUDGET = 20_000, 64, 32, 500, 500


def pool(prompts: int, responses: int, seed: int = 0) -> Features:
    """N pairs of `prompts` prompts and P past pairs, all fields filled but costs and votes."""
    rng = np.random.default_rng(seed)
    a, b = np.triu_indices(responses, 1)
    every = np.stack([np.tile(a, prompts), np.tile(b, prompts)], axis=1)
    every += np.repeat(np.arange(prompts), len(a))[:, None] * responses
    index_N2 = every[rng.permutation(len(every))[: N + P]]
    r = prompts * responses
    gradient_RD, log_ratio_R = rng.normal(size=(r, D)), rng.normal(size=r)
    reward_RK = log_ratio_R[:, None] + rng.normal(size=(r, K))

    def part(rows: slice, label: str) -> Features:
        side = index_N2[rows]
        names = np.char.add("response", side.astype(str))
        return Features(
            pair_id_N=np.array([f"{label}{i}" for i in range(len(side))]),
            prompt_ids_N2=np.char.add("prompt", (side // responses).astype(str)),
            response_ids_N2=names,
            length_N2=np.full(side.shape, 20),
            margin_N=log_ratio_R[side[:, 0]] - log_ratio_R[side[:, 1]],
            log_ratio_N2=log_ratio_R[side],
            prompt_entropy_N=(side[:, 0] // responses * 7919 % 101).astype(float),
            gradient_ND=gradient_RD[side[:, 0]] - gradient_RD[side[:, 1]],
            embedding_ND=gradient_RD[side[:, 0]] - gradient_RD[side[:, 1]],
            reward_N2K=reward_RK[side],
        )

    return dataclasses.replace(part(slice(0, N), "candidate"), past=part(slice(N, N + P), "past"))


def main() -> None:
    names = sys.argv[1:] or list(COMPONENTS["acquisition"])
    pools = {"500 prompts": pool(500, 11), "1 prompt": pool(1, 210)}
    for name in names:
        settings = [{}]
        if "posterior" in parse_component("acquisition", name):
            settings = [{"posterior": "laplace"}, {"posterior": "samples"}]
        for extra in settings:
            took = []
            for features in pools.values():
                rule = build("acquisition", parse_component("acquisition", {"name": name, **extra}))
                began = time.perf_counter()
                choose(rule, features, BUDGET, np.random.default_rng(0))
                took.append(f"{time.perf_counter() - began:8.2f}")
            label = " ".join([name, *extra.values()])
            print(f"{label:24} " + "  ".join(f"{t} s ({p})" for t, p in zip(took, pools, strict=True)), flush=True)


if __name__ == "__main__":
    main()
