"""What choosing costs, for every rule that a recipe can name: one command, one run, ratios.

    python benchmarks/acquisition.py
    python benchmarks/acquisition.py --rules d_opt,d_opt:optimizer=greedy,k_center --candidates 5000

One random pool (Gaussian features, margins, posterior draws ...) is drawn; every rule is given the fields that it
needs, and chooses from it with its default settings, or those written after its name. CPU seconds (user + system) of
this process with one thread, the median of the repeats, beside `random`'s and beside one reading of the pool (|δ|² of
every row). A rule that fails is listed with its reason.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time

os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))

import numpy as np

from duelist.acquisition.base import Acquisition, choose
from duelist.acquisition.numerics.pool_rows import row_square_norms
from duelist.errors import DuelistError
from duelist.recipe.component import Component
from duelist.recipe.components import COMPONENTS
from duelist.recipe.values import override
from duelist.types import Features

SAMPLES = 64  # K, posterior draws
VARIANTS = ["d_opt:optimizer=greedy", "pa_d_opt:optimizer=greedy", "xtx:optimizer=greedy", "v_opt:criterion=worst"]


def random_pool(n: int, d: int, past: int, rng: np.random.Generator) -> Features:
    """A pool with every field filled."""

    def drawn(count: int, label: str, past_pairs: Features | None) -> Features:
        prompt_N = np.array([f"p{i}" for i in rng.integers(max(1, n // 40), size=count)])
        number_N = np.arange(count).astype(np.str_)
        return Features(
            pair_id_N=np.char.add(label, number_N),
            prompt_ids_N2=np.stack([prompt_N, prompt_N], axis=1),
            response_ids_N2=np.stack([np.char.add(f"{label}a", number_N), np.char.add(f"{label}b", number_N)], axis=1),
            length_N2=rng.integers(1, 300, size=(count, 2)),
            margin_N=rng.normal(size=count) * 2,
            log_ratio_N2=rng.normal(size=(count, 2)),
            prompt_entropy_N=rng.uniform(1, 300, size=count),
            gradient_ND=rng.normal(size=(count, d)),
            embedding_ND=rng.normal(size=(count, d)),
            reward_N2K=rng.normal(size=(count, 2, SAMPLES)),
            cost_N=rng.uniform(5, 60, size=count),
            votes_N2=rng.integers(2, size=(count, 2)),
            asked_margin_N=rng.normal(size=count),
            target_MD=rng.normal(size=(256, d)),
            past=past_pairs,
        )

    return drawn(n, "candidate", drawn(past, "past", None))


def only_needed(features: Features, rule: Acquisition) -> Features:
    """What a study would hand over: the fields that the rule needs (and ids and lengths)."""
    always = {"pair_id_N", "prompt_ids_N2", "response_ids_N2", "length_N2"}
    kept = {name: getattr(features, name) for name in always | (set(rule.needs) - {"past"})}
    past = features.past if "past" in rule.needs else None
    return Features(**kept, past=None if past is None else only_needed(past, rule))


def seconds_of(rule: Acquisition, features: Features, budget: int, repeats: int) -> tuple[float, dict[str, float]]:
    """CPU seconds of a choice, and the rule's diagnostics."""
    taken = []
    for _ in range(repeats):
        began = time.process_time()
        selection = choose(rule, features, budget, np.random.default_rng(0))
        taken.append(time.process_time() - began)
    return statistics.median(taken), dict(selection.diagnostics)


def main() -> None:
    """Time every rule and print a row for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rules", default="", help="names, with commas between; NAME:KEY=VALUE:... sets settings")
    parser.add_argument("--candidates", type=int, default=20_000, help="N")
    parser.add_argument("--features", type=int, default=64, help="D")
    parser.add_argument("--budget", type=int, default=500, help="B")
    parser.add_argument("--past", type=int, default=500, help="P")
    parser.add_argument("--repeats", type=int, default=1, help="the median of so many is given")
    options = parser.parse_args()
    pool = random_pool(options.candidates, options.features, options.past, np.random.default_rng(0))
    began = time.process_time()
    row_square_norms(pool.gradient_ND)  # type: ignore[arg-type]
    reading = time.process_time() - began
    baseline, _ = seconds_of(Component.of(Acquisition, "random").build(), pool, options.budget, 3)
    print(f"N = {options.candidates:,}, D = {options.features}, B = {options.budget}, P = {options.past}; one thread")
    print(f"one reading of the pool {reading:.4f} s; random {baseline:.4f} s")
    print(f"{'rule':44}{'CPU s':>10}{'x random':>10}{'x reading':>11}  diagnostics", flush=True)
    names = options.rules.split(",") if options.rules else [*COMPONENTS["acquisition"], *VARIANTS]
    for name in names:
        component = {"name": name.partition(":")[0]}
        for setting in filter(None, name.split(":")[1:]):
            override(component, setting)
        try:
            rule = Component.of(Acquisition, component).build()
            taken, found = seconds_of(rule, only_needed(pool, rule), options.budget, options.repeats)
        except DuelistError as error:
            print(f"{name:44}  {error}", flush=True)
            continue
        shown = ", ".join(f"{k} {found[k]:.4g}" for k in ("logdet_nats", "within_percent_of_optimum") if k in found)
        print(f"{name:44}{taken:10.3f}{taken / baseline:10.1f}{taken / reading:11.1f}  {shown}", flush=True)


if __name__ == "__main__":
    main()
