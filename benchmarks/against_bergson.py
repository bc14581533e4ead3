"""Per-response LoRA gradients, projected: Duelist against Bergson (PyPI `bergson`), each in its own environment.

    PYTHONPATH=src OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE python benchmarks/against_bergson.py \
        --bergson-python path/to/venv/bin/python

The model, adapter and tokens are those of benchmarks/gradients.py, saved once and loaded by Bergson's own loader.
Bergson runs as its `build` does, but into memory: its loader, batches (same token budget), loss, hooks and in-memory
collector. Prompt labels are -100 and losses are summed, so both sides differentiate log π(y | x) in the LoRA matrices
(Bergson with the opposite sign). Bergson projects each of the M matrices to p × p from both sides, so that d = M p²; p
is the one whose d comes nearest to Duelist's. Its `global` mode projects all parameters together to exactly d, with a
dense matrix drawn again for every batch; it is run on one batch and multiplied by the number of batches, which ignores
that the one batch is not full. "No hooks" is Bergson's forward and backward pass without any gradient collected.

Every run is a process of its own, and the sides take turns. CPU seconds are of the run alone: not of imports, loading
and a warm-up on two responses. Peak memory is the process's; "rise" is that less what it held with the model loaded.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TQDM_DISABLE", "1")

import numpy as np
import torch

RANK = 16
DIMENSION = 8192
MAX_TOKENS = 16 * 150
WARM_UP = 2
FIDELITY_RESPONSES = 24
SEEDS = 4

DUELIST, FACTORISED, GLOBAL, UNHOOKED = (
    "Duelist",
    "Bergson, per module",
    "Bergson, global",
    "Bergson, no hooks",
)


def memory_mib(field: str) -> float:
    """A field of this process's status, such as VmHWM, in MiB (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) / 1024


def prepare(folder: Path, count: int) -> None:
    """Save the model, its adapter and the sequences of benchmarks/gradients.py."""
    from gradients import build_model, build_sequences

    model = build_model(RANK)
    model.peft_config["default"].base_model_name_or_path = str(folder / "base")
    model.save_pretrained(folder / "adapter")
    model.unload().save_pretrained(folder / "base")
    sequences = build_sequences(count)
    rows = [[s.prompt_ids.tolist(), s.response_ids.tolist()] for s in sequences]
    (folder / "sequences.json").write_text(json.dumps(rows))


def duelist_runner(rows: Sequence[Any]) -> tuple[Callable[[int, int, int], np.ndarray], Callable[[int], int]]:
    """Functions (responses, d or 0 for none, seed) -> gradients, and responses -> number of batches."""
    from duelist.models.gradients.lora_gradients import LoraGradients
    from duelist.models.policy.response_batches import batches_by_tokens
    from gradients import build_model, build_sequences

    model, sequences = build_model(RANK), build_sequences(len(rows))

    def run(count: int, dimension: int, seed: int) -> np.ndarray:
        engine = LoraGradients(model, dimension=dimension or None, seed=seed, max_tokens=MAX_TOKENS)
        return engine(sequences[:count])[1]

    return run, lambda count: len(batches_by_tokens([s.input_length for s in sequences[:count]], MAX_TOKENS))


def bergson_runner(
    folder: Path, rows: Sequence[Any], target: str, hooks: bool
) -> tuple[Callable[[int, int, int], np.ndarray], Callable[[int], int]]:
    """The same for Bergson, whose dimension is p, or d with the global target."""
    from bergson import CollectorComputer, IndexConfig, InMemoryCollector
    from bergson.collector.collector import fwd_bwd_factory
    from bergson.data import allocate_batches, pad_and_tensor
    from bergson.utils.worker_utils import processor_for, setup_model_and_peft
    from datasets import Dataset

    def config(dimension: int, seed: int) -> Any:
        path = str(folder / "bergson")
        return IndexConfig(
            run_path=path,
            model=str(folder / "adapter"),
            precision="fp32",
            projection_dim=dimension,
            projection_target=target,
            projection_seed=seed,
            token_batch_size=MAX_TOKENS,
            loss_reduction="sum",
        )

    model, modules = setup_model_and_peft(config(0, 0))
    data = Dataset.from_list(
        [{"input_ids": x + y, "labels": [-100] * len(x) + y, "length": len(x) + len(y)} for x, y in rows]
    )

    def run(count: int, dimension: int, seed: int) -> np.ndarray:
        cfg, some = config(dimension, seed), data.select(range(count))
        cfg.partial_run_path.mkdir(exist_ok=True)
        batches = allocate_batches(some["length"][:], MAX_TOKENS)
        if not hooks:
            for indices in batches:
                batch = some[indices]
                ids, labels, _, _ = pad_and_tensor(batch["input_ids"], labels=batch["labels"], device=model.device)
                fwd_bwd_factory(cfg)(model, ids, labels, batch)
            return np.empty((count, 0))
        collector = InMemoryCollector(
            model=model.base_model, cfg=cfg, processor=processor_for(cfg), target_modules=modules, data=some
        )
        computer = CollectorComputer(model=model, data=some, collector=collector, batches=batches, cfg=cfg)
        computer.run_with_collector_hooks()
        # Duelist's order of parameters.
        return np.concatenate([g.numpy() for _, g in sorted(collector.gradients.items())], axis=1)

    return run, lambda count: len(allocate_batches(data["length"][:count], MAX_TOKENS))


def side(args: argparse.Namespace) -> None:
    """Be one side: time one run, or (with --save) write gradients of a few responses for each seed."""
    rows = json.loads((args.folder / "sequences.json").read_text())
    if args.side == DUELIST:
        run, batches = duelist_runner(rows)
    else:
        target = "global" if args.side == GLOBAL else "per_module"
        run, batches = bergson_runner(args.folder, rows, target, args.side != UNHOOKED)
    loaded = memory_mib("VmRSS")
    if args.save:
        for seed in range(args.seeds):
            np.save(args.folder / f"{args.save}-{seed}.npy", run(args.responses, args.dimension, seed))
        return
    run(WARM_UP, args.dimension if args.side != GLOBAL else 8, 0)
    start = time.process_time()
    found = run(args.responses, args.dimension, 0)
    seconds = time.process_time() - start
    result = {"seconds": seconds, "peak": memory_mib("VmHWM"), "loaded": loaded, "d": found.shape[1]}
    counts = {"batches": batches(args.responses), "all_batches": batches(len(rows))}
    print(json.dumps(result | counts | {"torch": torch.__version__}))


def in_own_process(python: str, name: str, folder: Path, dimension: int, *more: str) -> dict[str, Any]:
    """Run one side in its interpreter and return what it prints last."""
    command = [python, __file__, "--side", name, "--folder", str(folder), "--dimension", str(dimension), *more]
    finished = subprocess.run(command, capture_output=True, text=True)
    if finished.returncode:
        raise SystemExit(f"{name} failed:\n{finished.stderr[-4000:]}")
    return json.loads(finished.stdout.splitlines()[-1]) if "--save" not in more else {}


def normalised_gram(gradient_RD: np.ndarray, norm_R: np.ndarray) -> np.ndarray:
    """Inner products of all pairs over the product of the exact norms."""
    scaled = gradient_RD / norm_R[:, None]
    return (scaled @ scaled.T)[np.triu_indices(len(scaled), 1)]


def fidelity(args: argparse.Namespace, folder: Path, p: int) -> None:
    """Print how the sides' exact gradients agree, and the errors of their projected inner products."""
    sides = [(DUELIST, sys.executable, DIMENSION, SEEDS), (FACTORISED, args.bergson_python, p, SEEDS)]
    count = ("--responses", str(FIDELITY_RESPONSES))
    for name, python, _, _ in sides:
        in_own_process(python, name, folder, 0, *count, "--save", f"exact {name}", "--seeds", "1")
    exact, other = (np.load(folder / f"exact {name}-0.npy") for name, _, _, _ in sides)
    norm_R = np.linalg.norm(exact, axis=1)
    error = (np.linalg.norm(exact + other, axis=1) / norm_R).max()  # Bergson's are of −log π
    print(f"unprojected gradients, largest relative difference: {error:.1e}")
    if args.global_responses:
        sides.append((GLOBAL, args.bergson_python, DIMENSION, 1))
    for name, python, dimension, seeds in sides:
        more = ("--save", name, "--seeds", str(seeds))
        in_own_process(python, name, folder, dimension, *count, *more)
        found = [np.load(folder / f"{name}-{seed}.npy") for seed in range(seeds)]
        errors = np.array([normalised_gram(g, norm_R) - normalised_gram(exact, norm_R) for g in found])
        rmse, d = float(np.sqrt(np.mean(errors**2))), found[0].shape[1]
        print(f"{name}: d = {d:,}, {seeds} seed(s): rmse / |a||b| = {rmse:.4f} = {rmse * d**0.5:.2f} / √d")


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bergson-python", help="the interpreter of an environment with bergson")
    parser.add_argument("--responses", type=int, default=64, help="responses (default: 64)")
    parser.add_argument("--repeats", type=int, default=5, help="interleaved runs (default: 5)")
    parser.add_argument("--projection", type=int, help="Bergson's p (default: d nearest to Duelist's)")
    parser.add_argument(
        "--global-responses", type=int, default=12, help="one batch's, for the global mode; 0: leave it out"
    )
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--dimension", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--save", help=argparse.SUPPRESS)
    parser.add_argument("--seeds", type=int, default=1, help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.side:
        side(args)
        return
    if not args.bergson_python:
        parser.error("--bergson-python is required")
    with tempfile.TemporaryDirectory() as temporary:
        compare(args, Path(temporary))


def compare(args: argparse.Namespace, folder: Path) -> None:
    """Measure all variants and print a table, then the fidelity."""
    prepare(folder, args.responses)
    adapter = json.loads((folder / "adapter" / "adapter_config.json").read_text())
    layers = json.loads((folder / "base" / "config.json").read_text())["num_hidden_layers"]
    matrices = 2 * layers * len(adapter["target_modules"])
    p = args.projection or round((DIMENSION / matrices) ** 0.5)
    runs = {
        DUELIST: (sys.executable, DIMENSION),
        FACTORISED: (args.bergson_python, p),
        UNHOOKED: (args.bergson_python, 0),
    }
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in runs}
    for _ in range(args.repeats):
        for name, (python, dimension) in runs.items():
            found[name].append(in_own_process(python, name, folder, dimension, "--responses", str(args.responses)))
    if args.global_responses:
        part = ("--responses", str(args.global_responses))
        found[GLOBAL] = [in_own_process(args.bergson_python, GLOBAL, folder, DIMENSION, *part)]
    print(f"r = {RANK}, {matrices} LoRA matrices, p = {p}, {args.responses} responses, {args.repeats} runs, float32")
    print(f"{'variant':30}{'torch':>12}{'d':>7}{'batches':>9}{'CPU s':>9}{'/ Duelist':>11}{'peak MiB':>10}{'rise':>7}")
    base = statistics.median(r["seconds"] for r in found[DUELIST])
    for name, results in found.items():
        middle = {key: statistics.median(r[key] for r in results) for key in ("seconds", "peak", "loaded")}
        first = results[0]
        seconds = middle["seconds"] * first["all_batches"] / first["batches"]
        print(
            f"{name:30}{first['torch']:>12}{first['d']:7}{first['all_batches']:9}{seconds:9.2f}{seconds / base:11.2f}"
            f"{middle['peak']:10.0f}{middle['peak'] - middle['loaded']:7.0f}"
        )
    pairs = [b["seconds"] / d["seconds"] for d, b in zip(found[DUELIST], found[FACTORISED], strict=True)]
    print(f"{FACTORISED} / {DUELIST}, run by run: {' '.join(f'{x:.2f}' for x in sorted(pairs))}")
    fidelity(args, folder, p)


if __name__ == "__main__":
    main()
