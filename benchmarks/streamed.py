"""Choosing from a pool that is larger than memory: readings, CPU time, memory, and what two levels lose.

    python benchmarks/streamed.py --rows 100000 --folder SCRATCH    # 1.6 GB of disk for a while
    python benchmarks/streamed.py --rows 1000000 --folder SCRATCH   # 16.4 GB

Writes a pool of rows x 8,192 float16 into a file (low-rank gradients with uneven lengths and noise, as in
`selection.py`), chooses 1,000 of them in two readings, and deletes the file. Each part is a process of its own with one
thread. Of the steps, some are checked against the definition: all residuals of all rows at these steps, from a float64
Cholesky factorisation of its own. Memory is the peak of the process (VmHWM), which counts the mapped pages in use.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from scipy.linalg import cholesky, solve_triangular

from duelist.acquisition.numerics.greedy import pick_greedily
from duelist.acquisition.numerics.streamed import SHARD_BYTES, pick_streamed

D = 8192
RANK = 64
RELATIVE_LAMBDA = 0.01
TIE = 1e-6  # of the largest |φ|²: rows nearer than this count as equal


def make(path: str, rows: int, noise: float) -> dict[str, Any]:
    """Write the pool in blocks; return λ, from the mean |φ|² that writing gives for free."""
    rng = np.random.default_rng(0)
    basis_RD = rng.standard_normal((RANK, D), dtype=np.float32)
    stored = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=(rows, D))
    square = 0.0
    for start in range(0, rows, 4096):
        n = min(4096, rows - start)
        share_NR = rng.standard_normal((n, RANK), dtype=np.float32) / np.arange(1, RANK + 1, dtype=np.float32)
        block_ND = share_NR @ basis_RD + np.float32(noise) * rng.standard_normal((n, D), dtype=np.float32)
        block_ND *= np.exp(0.3 * rng.standard_normal((n, 1), dtype=np.float32))
        square += float(np.vecdot(block_ND, block_ND).sum())
        stored[start : start + n] = block_ND
    stored.flush()
    return {"lambda": RELATIVE_LAMBDA * square / rows}


def choose(path: str, lam: float, budget: int, shard_bytes: int, per_shard: int | None, exact: bool) -> dict[str, Any]:
    """Choose in two readings, or with plain greedy."""
    pool_ND, none_PD = np.load(path, mmap_mode="r"), np.empty((0, D))
    before, began = _peak_mib(), (time.process_time(), time.perf_counter())
    found: dict[str, Any]
    if exact:
        picks = pick_greedily(pool_ND, none_PD, lam, budget)
        found = {"exact": True, "loss_bound": 0.0, "bound": float("nan")}
    else:
        streamed = pick_streamed(pool_ND, none_PD, lam, budget, shard_bytes=shard_bytes, per_shard=per_shard)
        picks = streamed.picks
        found = {"exact": streamed.exact, "loss_bound": streamed.loss_bound, "bound": streamed.upper_bound}
    return {
        **found,
        "cpu_s": time.process_time() - began[0],
        "wall_s": time.perf_counter() - began[1],
        "peak_mib": _peak_mib(),
        "before_mib": before,
        "readings": picks.rows_read / len(pool_ND),
        "gain": picks.log_determinant_gain,
        "picks": picks.indices_B.tolist(),
    }


def check(path: str, lam: float, picks: list[int], steps: list[int]) -> dict[str, Any]:
    """Compare some picks with all rows at that step: how many are the largest, and the most that one falls short."""
    pool_ND = np.load(path, mmap_mode="r")
    picked_BD = pool_ND[np.sort(picks)].astype(np.float64)[np.argsort(np.argsort(picks))]
    lower_BB = cholesky(picked_BD @ picked_BD.T + lam * np.eye(len(picks)), lower=True)
    residual_SN = np.empty((len(steps), len(pool_ND)))
    largest = 0.0
    for start in range(0, len(pool_ND), 1024):
        block_ND = pool_ND[start : start + 1024].astype(np.float64)
        square_N = np.vecdot(block_ND, block_ND)
        largest = max(largest, float(square_N.max()))
        along_BN = solve_triangular(lower_BB, picked_BD @ block_ND.T, lower=True) ** 2
        lost_BN = np.cumsum(along_BN, axis=0)
        for s, step in enumerate(steps):
            residual_SN[s, start : start + 1024] = square_N - (lost_BN[step - 1] if step else 0.0)
    short = []
    for s, step in enumerate(steps):
        residual_SN[s, picks[:step]] = -np.inf
        short.append(float(residual_SN[s].max() - residual_SN[s, picks[step]]))
    return {"steps": len(steps), "largest": sum(x <= TIE * largest for x in short), "short": max(short) / largest}


def _peak_mib() -> float:
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


TASKS: dict[str, Any] = {"make": make, "choose": choose, "check": check}


def child(task: str, **arguments: Any) -> dict[str, Any]:
    """Run one task in a process of its own, with one thread."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    command = [sys.executable, __file__, "--task", task]
    done = subprocess.run(
        command, input=json.dumps(arguments), env={**os.environ, **threads}, capture_output=True, text=True
    )
    if done.returncode:
        sys.exit(f"{task} failed:\n{done.stderr}")
    return dict(json.loads(done.stdout))


def main() -> None:
    """Run the benchmark that the arguments describe."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--budget", type=int, default=1000)
    parser.add_argument("--noise", type=float, default=0.4)
    parser.add_argument("--folder", type=Path, default=Path())
    parser.add_argument("--shard-mib", type=int, default=SHARD_BYTES // 2**20)
    parser.add_argument("--per-shard", type=int, help="candidates of each shard; by default the budget")
    parser.add_argument("--plain", action="store_true", help="also choose with plain greedy")
    parser.add_argument("--checked", type=int, default=10, help="steps checked against the definition")
    parser.add_argument("--task", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.task:
        print(json.dumps(TASKS[given.task](**json.loads(sys.stdin.read()))))
        return
    path = given.folder / "streamed_pool.npy"
    steps = sorted({int(x) for x in np.linspace(0, given.budget - 1, given.checked)})
    try:
        lam = child("make", path=str(path), rows=given.rows, noise=given.noise)["lambda"]
        print(f"{given.rows:,} x {D:,} float16, {path.stat().st_size / 1e9:.1f} GB, B = {given.budget}", flush=True)
        for exact in (False, True) if given.plain else (False,):
            settings = {"shard_bytes": given.shard_mib * 2**20, "per_shard": given.per_shard, "exact": exact}
            found = child("choose", path=str(path), lam=lam, budget=given.budget, **settings)
            checked = child("check", path=str(path), lam=lam, picks=found["picks"], steps=steps) if steps else {}
            name = "plain greedy" if exact else "two levels, then a check"
            print(
                f"{name}: {found['readings']:.3f} readings, {found['cpu_s']:.0f} CPU s, {found['wall_s']:.0f} s, peak "
                f"{found['peak_mib']:.0f} MiB ({found['before_mib']:.0f} before)\n"
                f"  gain {found['gain']:.3f} nats, bound {found['bound']:.3f}; picks of plain greedy: "
                f"{'proved' if found['exact'] else 'not proved'}; lost at most {found['loss_bound']:.4f} nats\n"
                f"  against the definition: {checked.get('largest')} of {checked.get('steps')} steps picked the "
                f"largest; the most that one falls short is {checked.get('short', float('nan')):.2e} of the largest "
                "|φ|²",
                flush=True,
            )
    finally:
        path.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
