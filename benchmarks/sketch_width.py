"""What width of sketch is enough: the picks' log-determinant and the picks themselves, against the width D.

OMP_NUM_THREADS=1 python benchmarks/sketch_width.py [--rows 2000] [--budget 50] [--seeds 3]

Whole features of P dimensions are projected by the package's own sketch to each width. The greedy batch is chosen in
the sketch, and judged in the whole features: log det(λI + Σ φφᵀ) of its picks, relative to the batch chosen in the
whole features (1) and to random batches (0), and the share of its picks that are the same. λ = 0.01 × mean |φ|².

Pools: `low-rank`, P = 20,000: rows that are combinations of 200 directions whose weights fall as 1/i, with noise of
norm 0.4 relative to the signal; `flat`, P = 20,000: Gaussian rows, where no direction is stronger than another;
`quickstart`: the whole LoRA gradients of the pairs of `duelist run quickstart` after a round of 16 random labels, one
seed each.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from duelist import Study, load_recipe
from duelist.acquisition.numerics.greedy import pick_greedily
from duelist.models.gradients.sketch import SparseSketch
from duelist.progress import Silent
from duelist.recipe.reading import WITHOUT_ARMS

P = 20_000
POOLS = ("low-rank", "flat", "quickstart")
WIDTHS = (64, 128, 256, 512, 1024, 2048, 4096, 8192)
Floats = NDArray[np.float32]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--budget", type=int, default=50)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--pools", nargs="+", default=list(POOLS), choices=POOLS)
    arguments = parser.parse_args()
    n, budget = arguments.rows, arguments.budget
    print("| pool | D | gain in log det, of the whole features' | same picks | CPU s of the choice |")
    print("|---|---|---|---|---|", flush=True)
    for kind in arguments.pools:
        found: dict[int, list[tuple[float, float, float]]] = {width: [] for width in WIDTHS}
        for seed in range(arguments.seeds):
            rng = np.random.default_rng(seed)
            whole_NP = gradients(seed) if kind == "quickstart" else pool(kind, n, rng)
            best = picks(whole_NP, budget)
            rows = len(whole_NP)
            at_random = float(np.mean([log_det(whole_NP, rng.choice(rows, budget, False)) for _ in range(5)]))
            gain = log_det(whole_NP, best) - at_random
            for width in WIDTHS:
                sketch_ND = projected(whole_NP, width, seed)
                began = time.process_time()
                chosen = picks(sketch_ND, budget)
                spent = time.process_time() - began
                share = (log_det(whole_NP, chosen) - at_random) / gain
                found[width].append((share, len(set(chosen) & set(best)) / budget, spent))
        for width, of_seeds in found.items():
            share, same, spent = np.mean(of_seeds, axis=0)
            print(f"| {kind} | {width:,} | {share:.3f} | {same:.2f} | {spent:.2f} |", flush=True)


def pool(kind: str, n: int, rng: np.random.Generator) -> Floats:
    """Return n rows of P dimensions."""
    noise_NP = rng.standard_normal((n, P), dtype=np.float32) / np.float32(np.sqrt(P))
    if kind == "flat":
        return noise_NP
    basis_RP = np.linalg.qr(rng.standard_normal((P, 200), dtype=np.float32))[0].T
    share_NR = rng.standard_normal((n, 200), dtype=np.float32) / np.arange(1, 201, dtype=np.float32)
    share_NR /= np.linalg.norm(share_NR, axis=1).mean()
    length_N1 = np.exp(0.3 * rng.standard_normal((n, 1), dtype=np.float32))
    return np.asarray(share_NR @ basis_RP * length_N1 + np.float32(0.4) * noise_NP)


def gradients(seed: int) -> Floats:
    """Return the whole gradients of the quickstart's second round."""
    settings = ["initial_random=16", "rounds=2", "featurizers.gradient.dimension=null", f"seed={seed}"]
    recipe = load_recipe("quickstart", settings).model_copy(update=WITHOUT_ARMS)
    with tempfile.TemporaryDirectory() as folder, Study.create(Path(folder) / "study", recipe) as study:
        batch = study.ask()
        study.tell(study.stages.components.annotator.annotate(batch, 0, Silent()))
        study.update()
        past, prompts = [x.question for x in study.store.asked()], study.stages.prompts(2)
        candidates = study.stages.pair(2, study.stages.sample(2, prompts), past)
        gradient_ND = study.stages.featurize(2, candidates, past).gradient_ND
    assert gradient_ND is not None
    return np.asarray(gradient_ND, np.float32)


def projected(whole_NP: Floats, width: int, seed: int) -> Floats:
    """Return the rows in the package's sketch, as a single block of parameters."""
    sketch = SparseSketch([whole_NP.shape[1]], width, seed)
    sum_NW = sketch.accumulator(len(whole_NP), torch.float32, torch.device("cpu"))
    sketch.add_(sum_NW, 0, torch.from_numpy(whole_NP.copy()))
    return np.asarray(sketch.finish(sum_NW).numpy())


def ridge(rows_ND: Floats) -> float:
    return 0.01 * float(np.square(rows_ND, dtype=np.float64).sum(axis=1).mean())


def picks(rows_ND: Floats, budget: int) -> list[int]:
    """Return the greedy batch."""
    found = pick_greedily(rows_ND, rows_ND[:0], ridge(rows_ND), budget)
    return [int(i) for i in found.indices_B]


def log_det(whole_NP: Floats, chosen: object) -> float:
    """Return log det(I + Φ Φᵀ / λ) of some rows, by their inner products."""
    rows_BP = whole_NP[np.asarray(chosen)].astype(np.float64)
    return float(np.linalg.slogdet(np.eye(len(rows_BP)) + rows_BP @ rows_BP.T / ridge(whole_NP))[1])


if __name__ == "__main__":
    main()
