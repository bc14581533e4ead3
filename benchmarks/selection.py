"""What choosing a batch costs, and how good the batch is: one command, one run, ratios.

    python benchmarks/selection.py            # a few minutes, 4 GB of disk for a while
    python benchmarks/selection.py --quick    # small pools, to see that it runs
    python benchmarks/selection.py --huge     # also 10⁶ x 8,192 (16 GiB of disk)
    python benchmarks/selection.py --questions  # only questions of more than two responses (6 GiB of memory)

Every measurement is a process of its own with one thread, and is given in CPU seconds (user + system), so that other
work on the machine hardly disturbs it. "Extra MiB" is the peak of the process's memory over what it had with the pool
loaded; "peak MiB" is the whole peak. Picks are checked against the definition: all scores of all rows at every pick,
from a float64 Cholesky factorisation of its own.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.linalg import cholesky, inv, solve_triangular

from duelist.acquisition.numerics.design_bound import upper_bound
from duelist.acquisition.numerics.greedy import GreedyPicks, pick_greedily
from duelist.acquisition.numerics.optimal_design import DesignProblem, exchange, greedy, one_shot
from duelist.acquisition.numerics.pool_rows import PoolRows, row_square_norms
from duelist.acquisition.numerics.question_rows import QuestionRows
from duelist.acquisition.numerics.two_level import pick_two_level
from duelist.choice_models.information import information_matrices, roots

BUDGET = 50
RELATIVE_LAMBDA = 0.01
TIE = 1e-6  # the tie rule's tolerance, relative to the largest |φ|²


def features(n: int, d: int, kind: str, rng: np.random.Generator, basis_RD: np.ndarray) -> np.ndarray:
    """Rows of a pool: Gaussian, or like gradients: few strong directions of falling weight, uneven norms, noise."""
    noise_ND = rng.standard_normal((n, d), dtype=np.float32)
    if kind == "gaussian":
        return noise_ND
    share_NR = rng.standard_normal((n, len(basis_RD)), dtype=np.float32) / np.arange(1, len(basis_RD) + 1)
    length_N1 = np.exp(0.3 * rng.standard_normal((n, 1), dtype=np.float32))
    rows_ND = share_NR.astype(np.float32) @ basis_RD * length_N1
    rows_ND += np.float32(0.4) * noise_ND
    return np.asarray(rows_ND)


def make_pool(path: str, n: int, d: int, kind: str, dtype: str, past: int = 0) -> dict[str, Any]:
    """Write a pool (and some past rows) to files, in blocks."""
    rng = np.random.default_rng(0)
    basis_RD = rng.standard_normal((64, d), dtype=np.float32)
    np.save(f"{path}.past.npy", features(past, d, kind, rng, basis_RD))
    stored = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=(n, d))
    square = 0.0
    for start in range(0, n, 4096):
        rows_ND = features(min(4096, n - start), d, kind, rng, basis_RD)
        square += float((rows_ND.astype(np.float64) ** 2).sum())
        stored[start : start + 4096] = rows_ND
    return {"lambda": RELATIVE_LAMBDA * square / n}


def measured(work: Callable[[], Any]) -> tuple[Any, dict[str, Any]]:
    """The result of `work`, its CPU seconds and its peak memory."""
    before, began = _peak_mib(), time.process_time()
    result = work()
    seconds = time.process_time() - began
    return result, {"seconds": seconds, "extra_mib": _peak_mib() - before, "peak_mib": _peak_mib()}


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 if sys.platform != "darwin" else 1024) / 1024


def _tied(score_N: np.ndarray, tolerance: float) -> int:
    return int(np.argmax(score_N >= score_N.max() - tolerance))


def plain_dual(pool_ND: np.ndarray, past_PD: np.ndarray, lam: float, budget: int) -> list[int]:
    """The dual recurrence, with every score brought up to date at every pick."""
    rows = PoolRows(pool_ND)
    picks: list[int] = []
    past_PD = past_PD.astype(np.float64)
    g_PD = solve_triangular(cholesky(past_PD @ past_PD.T + lam * np.eye(len(past_PD)), lower=True), past_PD, lower=True)
    directions, residual_N = g_PD, row_square_norms(pool_ND)
    tolerance = TIE * residual_N.max()
    new_KD = g_PD
    for _ in range(budget):
        for positions_N, block_ND in rows.blocks() if len(new_KD) else ():
            residual_N[positions_N] -= ((block_ND @ new_KD.T) ** 2).sum(axis=1)
        residual_N[picks] = -np.inf
        i = _tied(residual_N, tolerance)
        picks.append(i)
        row_D = rows.read(np.array([i]))[0]
        new_KD = (row_D - (directions @ row_D) @ directions)[None] / np.sqrt(lam + residual_N[i])
        directions = np.concatenate([directions, new_KD])
    return picks


def primal(
    pool_ND: np.ndarray, past_PD: np.ndarray, lam: float, budget: int, form: str
) -> tuple[list[int], float, float]:
    """The ways that hold V⁻¹ (D x D, float64): picks, seconds before the first one, and seconds a pick."""
    phi_ND, past_PD, d = pool_ND.astype(np.float64), past_PD.astype(np.float64), pool_ND.shape[1]
    picks: list[int] = []
    tolerance = TIE * float(np.vecdot(phi_ND, phi_ND).max()) / lam
    began = time.process_time()
    if form == "inverse":
        v_DD = past_PD.T @ past_PD
        v_DD.flat[:: d + 1] += lam
    else:
        g_PD = solve_triangular(
            cholesky(past_PD @ past_PD.T + lam * np.eye(len(past_PD)), lower=True), past_PD, lower=True
        )
        v_DD = g_PD.T @ g_PD
        v_DD *= -1 / lam
        v_DD.flat[:: d + 1] += 1 / lam
    score_N = np.vecdot(phi_ND @ v_DD, phi_ND) if form == "incremental" else np.empty(0)
    start = time.process_time() - began
    for _ in range(budget):
        if form == "inverse":
            score_N = np.vecdot(phi_ND @ inv(v_DD, check_finite=False), phi_ND)
        elif form == "rescored":
            score_N = np.vecdot(phi_ND @ v_DD, phi_ND)
        score_N[picks] = -np.inf
        picks.append(_tied(score_N, tolerance))
        u_D = phi_ND[picks[-1]]
        if form == "inverse":
            v_DD += np.outer(u_D, u_D)
            continue
        along_D = v_DD @ u_D
        scaled_D = along_D / np.sqrt(1 + u_D @ along_D)
        if form == "incremental":
            score_N -= (phi_ND @ scaled_D) ** 2
        v_DD -= np.outer(scaled_D, scaled_D)
    return picks, start, (time.process_time() - began - start) / budget


def is_greedy(pool_ND: np.ndarray, past_PD: np.ndarray, lam: float, picks: list[int]) -> bool:
    """Whether each pick is the first among the rows of largest score, given those before it: every score, anew."""
    base_KD = np.concatenate([past_PD, pool_ND[picks]]).astype(np.float64)
    p = len(past_PD)
    lower_KK = cholesky(base_KD @ base_KD.T + lam * np.eye(len(base_KD)), lower=True)
    residual_BN = np.empty((len(picks), len(pool_ND)))
    largest = 0.0
    for start in range(0, len(pool_ND), 2048):
        block_ND = pool_ND[start : start + 2048].astype(np.float64)
        square_N = (block_ND**2).sum(axis=1)
        largest = max(largest, float(square_N.max()))
        along_KN = solve_triangular(lower_KK, base_KD @ block_ND.T, lower=True) ** 2
        taken_KN = np.cumsum(np.vstack([along_KN[:p].sum(axis=0), along_KN[p:-1]]), axis=0)
        residual_BN[:, start : start + 2048] = square_N - taken_KN
    for b in range(len(picks)):
        residual_BN[b, picks[:b]] = -np.inf
    return [_tied(r, TIE * largest) for r in residual_BN] == picks


def run_selection(path: str, lam: float, form: str, mapped: bool, budget: int = BUDGET) -> dict[str, Any]:
    """One way of choosing from one pool."""
    pool_ND, past_PD = np.load(path, mmap_mode="r" if mapped else None), np.load(f"{path}.past.npy")
    if form == "read":
        return measured(lambda: row_square_norms(pool_ND))[1]
    if form in ("inverse", "rescored", "incremental"):
        done = {"inverse": 1, "rescored": 2, "incremental": budget}[form]
        (picks, start, each), figures = measured(lambda: primal(pool_ND, past_PD, lam, done, form))
        seconds = start + each * budget
        return {**figures, "seconds": seconds, "picks": picks, "estimated_from": done if done < budget else 0}
    if form == "plain":
        done = budget if pool_ND.size < 10**8 else 2
        began = time.process_time()
        picks, figures = measured(lambda: plain_dual(pool_ND, past_PD, lam, done))
        each = (time.process_time() - began) / (done + 1)  # and one reading for |φ|²
        seconds = figures["seconds"] if done == budget else each * (budget + 1)
        return {**figures, "seconds": seconds, "picks": picks, "estimated_from": done if done < budget else 0}
    shards = int(form.removeprefix("shards-")) if form.startswith("shards-") else 0
    n = len(pool_ND)

    def choose() -> GreedyPicks:
        if shards:
            edges = np.linspace(0, n, shards + 1).astype(int)
            parts = (pool_ND[a:b] for a, b in itertools.pairwise(edges))
            return pick_two_level(parts, past_PD, lam, budget)
        return pick_greedily(pool_ND, past_PD, lam, budget)

    result, figures = measured(choose)
    picks = result.indices_B.tolist()
    checked = None if shards else is_greedy(pool_ND, past_PD, lam, picks)
    gain = result.log_determinant_gain
    return {**figures, "picks": picks, "readings": result.rows_read / n, "gain": gain, "checked": checked}


def run_design(kind: str, n: int, d: int, budget: int) -> dict[str, Any]:
    """The three designs and the bound on one pool, with weights p(1 − p)."""
    rng = np.random.default_rng(1)
    delta_ND = features(n, d, kind, rng, rng.standard_normal((min(64, d), d), dtype=np.float32)).astype(np.float64)
    margin_N = delta_ND @ rng.standard_normal(d)
    p_N = 1 / (1 + np.exp(-2 * margin_N / margin_N.std()))
    weight_N = p_N * (1 - p_N)
    prior = RELATIVE_LAMBDA * float((weight_N * (delta_ND**2).sum(axis=1)).mean())
    problem = DesignProblem.of(delta_ND, weight_N, prior)
    once, once_figures = measured(lambda: one_shot(problem, budget))
    picked, picked_figures = measured(lambda: greedy(problem, budget))
    swapped, swapped_figures = measured(lambda: exchange(problem, picked))
    bound, bound_figures = measured(lambda: upper_bound(problem, budget))
    rows = [
        ("one-shot", once, once_figures),
        ("greedy", picked, picked_figures),
        ("exchange", swapped, swapped_figures),
    ]
    return {
        "designs": [
            {
                "name": name,
                "seconds": figures["seconds"] + (picked_figures["seconds"] if name == "exchange" else 0.0),
                "relative": float(np.exp((design.log_determinant - swapped.log_determinant) / d)),
                "certified": bound.efficiency(design),
                "gap": bound.gap(design),
            }
            for name, design, figures in rows
        ],
        "exchanges": swapped.exchanges,
        "bound_seconds": bound_figures["seconds"],
        "unsolved": bound.log_determinant - bound.relaxed,
    }


def run_questions(n: int, d: int, size: int, drawn: int, budget: int) -> dict[str, Any]:
    """Rankings of `size` (pairs for 2), chosen from sets of each prompt's `drawn` responses; features in memory."""
    rng = np.random.default_rng(2)
    per_prompt = list(itertools.combinations(range(drawn), size))
    prompts = -(-n // len(per_prompt))
    basis_RD = rng.standard_normal((64, d), dtype=np.float32)
    blocks = range(0, prompts * drawn, 4096)
    gradient_RD = np.concatenate(
        [features(min(4096, prompts * drawn - at), d, "gradients", rng, basis_RD) for at in blocks]
    )
    place_NQ = np.array([[drawn * x + i for i in chosen] for x in range(prompts) for chosen in per_prompt])[:n]
    reward_R = rng.standard_normal(len(gradient_RD))
    none_PD = np.empty((0, d))

    def pairs() -> GreedyPicks:
        square_N = weight_N * row_square_norms(phi_ND)
        rows = PoolRows(phi_ND).scaled(np.sqrt(weight_N))
        return pick_greedily(rows, none_PD, RELATIVE_LAMBDA * float(square_N.mean()), budget, square_N)

    def sets() -> GreedyPicks:
        size_N = np.full(n, size)
        matrix_NQQ = information_matrices(reward_R[place_NQ], np.full(n, "ranking"), size_N)
        rows = QuestionRows(gradient_RD, place_NQ, roots(matrix_NQQ, size_N))
        return pick_greedily(rows, none_PD, RELATIVE_LAMBDA * float(rows.square_norm_N.mean()), budget)

    if size == 2:
        phi_ND = gradient_RD[place_NQ[:, 0]] - gradient_RD[place_NQ[:, 1]]
        p_N = 1 / (1 + np.exp(reward_R[place_NQ[:, 1]] - reward_R[place_NQ[:, 0]]))
        weight_N = p_N * (1 - p_N)
    result, figures = measured(pairs if size == 2 else sets)
    stored = n if size == 2 else len(gradient_RD)
    return {**figures, "gain": result.log_determinant_gain, "rows": stored, "readings": result.rows_read / stored}


TASKS: dict[str, Callable[..., dict[str, Any]]] = {
    "pool": make_pool,
    "selection": run_selection,
    "design": run_design,
    "questions": run_questions,
}


def child(task: str, **arguments: Any) -> dict[str, Any]:
    """Run one task in a process of its own, with one thread."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    command = [sys.executable, __file__, "--task", json.dumps([task, arguments])]
    done = subprocess.run(command, env={**os.environ, **threads}, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{task} {arguments} failed:\n{done.stderr}")
    return dict(json.loads(done.stdout))


def report_selection(
    folder: Path, n: int, d: int, kind: str, dtype: str, past: int, forms: list[str], mapped: bool
) -> dict[str, dict[str, Any]]:
    """Measure the ways of choosing from one pool, and print a row for each."""
    path = str(folder / "pool.npy")
    lam = child("pool", path=path, n=n, d=d, kind=kind, dtype=dtype, past=past)["lambda"]
    where = "mapped file" if mapped else "in memory"
    print(f"\n## n = {n:,}, d = {d:,}, {kind}, {dtype} {where}, past {past}, B = {BUDGET}", flush=True)
    print(f"{'':28}{'CPU s':>10}{'ratio':>8}{'extra MiB':>11}{'peak MiB':>10}{'readings':>10}  picks", flush=True)
    results = {f: child("selection", path=path, lam=lam, form=f, mapped=mapped) for f in ("lazy", *forms)}
    ours = results["lazy"]
    for form, r in results.items():
        notes = []
        if r.get("checked") is not None:
            notes.append("equal to the definition's" if r["checked"] else "NOT THE DEFINITION'S")
        elif "picks" in r and not form.startswith("shards"):
            notes.append("equal" if r["picks"] == ours["picks"][: len(r["picks"])] else "DIFFERENT")
        if r.get("estimated_from"):
            notes.append(f"time estimated from {r['estimated_from']} picks")
        if form.startswith("shards"):
            lost = ours["gain"] - r["gain"]
            notes.append(f"log-determinant lost: {lost:.4f} of {ours['gain']:.2f} nats ({lost / ours['gain']:.3%})")
        readings = f"{r['readings']:.2f}" if "readings" in r else ""
        ratio = r["seconds"] / ours["seconds"]
        print(
            f"{LABELS.get(form, form):28}{r['seconds']:10.2f}{ratio:8.2f}{r['extra_mib']:11.0f}{r['peak_mib']:10.0f}"
            f"{readings:>10}  {'; '.join(notes)}",
            flush=True,
        )
    Path(path).unlink()
    return results


LABELS = {
    "lazy": "duelist (lazy dual)",
    "plain": "dual, all scores each pick",
    "incremental": "V⁻¹, scores updated",
    "rescored": "V⁻¹ updated, all rescored",
    "inverse": "V inverted at each pick",
    "read": "the pool read once, |φ|²",
    **{f"shards-{k}": f"two-level, {k} shards" for k in (4, 16, 64)},
}


def report_design(kind: str, n: int, d: int, budget: int) -> None:
    """Print §3's rows for one pool."""
    r = child("design", kind=kind, n=n, d=d, budget=budget)
    for row in r["designs"]:
        print(
            f"{kind:10}{d:6}  {row['name']:10}{row['seconds']:8.2f}{row['relative']:14.4f}"
            f"{row['certified']:12.4f}{row['gap']:10.2f}",
            flush=True,
        )
    print(
        f"{'':18}bound: {r['bound_seconds']:.2f} s, solved to {r['unsolved']:.3f} nats; {r['exchanges']} exchanges",
        flush=True,
    )


def report_questions(n: int, d: int, budget: int, cases: list[tuple[int, int]]) -> None:
    """Measure the choice among sets of several sizes relative to that among pairs, and print a row for each."""
    print(f"\n## Questions of several responses: n = {n:,}, d = {d:,}, float32 in memory, past 0, B = {budget}")
    print(f"{'':34}{'CPU s':>8}{'ratio':>8}{'rows':>9}{'readings':>10}{'nats':>9}", flush=True)
    first = 0.0
    for size, drawn in cases:
        r = child("questions", n=n, d=d, size=size, drawn=drawn, budget=budget)
        first = first or r["seconds"]
        name = f"{'pairs' if size == 2 else f'rankings of {size}'}, {drawn} responses a prompt"
        print(
            f"{name:34}{r['seconds']:8.2f}{r['seconds'] / first:8.2f}{r['rows']:9,}{r['readings']:10.2f}"
            f"{r['gain']:9.1f}",
            flush=True,
        )


def main() -> None:
    """Run the cases and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small pools only: a check that it runs")
    parser.add_argument("--questions", action="store_true", help="only questions of more than two responses")
    parser.add_argument("--huge", action="store_true", help="also 10⁶ x 8,192 float16: 16 GiB of disk")
    parser.add_argument(
        "--folder", type=Path, default=None, help="where pools are written; a temporary one if left out"
    )
    parser.add_argument("--task", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.task:
        task, arguments = json.loads(options.task)
        print(json.dumps(TASKS[task](**arguments)))
        return
    if options.questions:
        report_questions(*QUESTIONS)
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        free, wanted = shutil.disk_usage(folder).free / 2**30, 17 if options.huge else 4
        if free < wanted:
            sys.exit(f"{wanted} GiB of disk must be free in {folder}, but {free:.0f} GiB are: give another --folder.")
        if options.quick:
            report_selection(folder, 600, 256, "gradients", "float32", 50, [*PRIMAL, "plain", "read"], False)
            report_selection(folder, 4000, 256, "gradients", "float16", 0, ["plain", "read", "shards-4"], True)
            print_design_table([64], 2000, 200)
            report_questions(2000, 256, 50, [(2, 8), (4, 8), (4, 4)])
            return
        for kind in ("gradients", "gaussian"):
            forms = [*(PRIMAL if kind == "gradients" else ["incremental"]), "plain", "read"]
            report_selection(folder, 3000, 8192, kind, "float32", 500, forms, False)
        shards = ["shards-4", "shards-16", "shards-64"]
        for kind in ("gradients", "gaussian"):
            half = report_selection(folder, 50_000, 1024, kind, "float16", 0, ["plain", "read", *shards], True)
            full = report_selection(folder, 50_000, 1024, kind, "float32", 0, ["read"], True)
            same = len(set(half["lazy"]["picks"]) & set(full["lazy"]["picks"]))
            print(f"float16 storage keeps {same} of {BUDGET} of float32's picks")
        report_selection(folder, 100_000, 8192, "gradients", "float16", 0, ["plain", "read"], True)
        report_selection(folder, 1_000_000, 1024, "gradients", "float16", 0, ["plain", "read"], True)
        if options.huge:
            report_selection(folder, 1_000_000, 8192, "gradients", "float16", 0, ["read"], True)
        print_design_table([64, 256, 512], 20_000, 500)
        report_questions(*QUESTIONS)


# Pool, dimensions, picks, and (size of the sets, responses a prompt); in the last case no two sets share a response.
QUESTIONS = (20_000, 8192, 200, [(2, 8), (3, 8), (4, 8), (6, 8), (4, 6), (4, 4)])
PRIMAL = ["incremental", "rescored", "inverse"]


def print_design_table(dimensions: list[int], n: int, budget: int) -> None:
    """Print §3's table."""
    print(f"\n## D-optimal designs: n = {n:,}, B = {budget}, weights p(1 − p)")
    print(f"{'pool':10}{'d':>6}  {'design':10}{'CPU s':>8}{'D-efficiency':>14}{'certified':>12}{'gap nats':>10}")
    print("(D-efficiency: relative to exchange's; certified: at least so much of the best batch's)", flush=True)
    for kind in ("gradients", "gaussian"):
        for d in dimensions:
            report_design(kind, n, d, budget)


if __name__ == "__main__":
    main()
