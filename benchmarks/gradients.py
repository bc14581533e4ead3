"""What per-response gradients cost, as ratios to one ordinary forward and backward pass over the same tokens.

    PYTHONPATH=src OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE python benchmarks/gradients.py [--quick]

A random Llama (4 layers, width 512, vocabulary 8,192, float32), LoRA on all linear layers, responses of about 130
tokens with their prompt, sorted by length, about 16 a batch, one thread. The floor is plain PyTorch: forward,
cross-entropy on the response tokens only, backward into the LoRA weights, summed over the batch as in training.

Times are CPU seconds, medians of interleaved runs in one process. Peak memory is that of a process that runs one
variant only. The dense variants compute each response's gradient by itself and multiply it with a Rademacher matrix,
which is too large to keep, so it is drawn again in blocks: for every response, or once for 16 responses. They run on a
few responses and are scaled up.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

from duelist.models.gradients.lora_gradients import LoraGradients
from duelist.models.policy.response_batches import ResponseBatch, TokenizedResponse, batches_by_tokens

CPU = torch.device("cpu")
VOCABULARY = 8192
DIMENSION = 8192
MAX_TOKENS = 16 * 150
DENSE_BLOCK = 64  # columns of the Rademacher matrix drawn at a time


def build_model(rank: int) -> torch.nn.Module:
    """The same random model, with the same random adapter, at every call."""
    torch.manual_seed(0)
    shape = {"hidden_size": 512, "intermediate_size": 1376, "num_hidden_layers": 4, "num_attention_heads": 8}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=VOCABULARY, num_key_value_heads=8, **shape))
    peft_model = get_peft_model(
        model, LoraConfig(task_type="CAUSAL_LM", r=rank, lora_alpha=2 * rank, target_modules="all-linear")
    )
    for name, parameter in peft_model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.01)
    return peft_model.eval()


def build_sequences(count: int) -> list[TokenizedResponse]:
    """Prompts of 30 to 70 tokens with responses of 60 to 100."""
    rng = np.random.default_rng(0)
    shapes = zip(rng.integers(30, 71, count), rng.integers(60, 101, count), strict=True)
    return [TokenizedResponse(rng.integers(0, VOCABULARY, p), rng.integers(0, VOCABULARY, t)) for p, t in shapes]


def lora_parameters(model: torch.nn.Module) -> list[torch.nn.Parameter]:
    """The adapter's parameters in the engine's order."""
    return [p for _, p in sorted(model.named_parameters()) if p.requires_grad]


def batch_log_prob(model: torch.nn.Module, batch: ResponseBatch) -> torch.Tensor:
    """Σ log π over the batch, in plain PyTorch."""
    llama = model.get_base_model()
    hidden = llama.model(input_ids=batch.input_ids_RL, use_cache=False).last_hidden_state
    logits = llama.lm_head(hidden[batch.row_T, batch.column_T])
    return -torch.nn.functional.cross_entropy(logits, batch.target_T, reduction="sum")


def run_floor(model: torch.nn.Module, sequences: list[TokenizedResponse]) -> None:
    """Forward and backward of every batch, gradients summed over it."""
    for index in batches_by_tokens([s.input_length for s in sequences], MAX_TOKENS):
        batch_log_prob(model, ResponseBatch.of([sequences[i] for i in index], CPU)).backward()
        model.zero_grad(set_to_none=True)


def run_engine(model: torch.nn.Module, sequences: list[TokenizedResponse]) -> np.ndarray:
    """Per-response gradients, projected as they are made."""
    return LoraGradients(model, dimension=DIMENSION, seed=0, max_tokens=MAX_TOKENS)(sequences)[1]


def exact_gradients(model: torch.nn.Module, sequences: list[TokenizedResponse]) -> torch.Tensor:
    """Full gradients, one response at a time."""
    gradient_RP = torch.empty(len(sequences), sum(p.numel() for p in lora_parameters(model)))
    for row, sequence in enumerate(sequences):
        log_prob = batch_log_prob(model, ResponseBatch.of([sequence], CPU))
        parts = torch.autograd.grad(log_prob, lora_parameters(model))
        torch.cat([g.flatten() for g in parts], out=gradient_RP[row])
    return gradient_RP


def run_dense(model: torch.nn.Module, sequences: list[TokenizedResponse], per_matrix: int) -> None:
    """Full gradients one at a time, then a dense Rademacher matrix drawn once for `per_matrix` of them."""
    eight_signs = 1.0 - 2.0 * (torch.arange(256)[:, None] >> torch.arange(8) & 1)
    for start in range(0, len(sequences), per_matrix):
        gradient_RP = exact_gradients(model, sequences[start : start + per_matrix])
        generator = torch.Generator().manual_seed(0)
        for _ in range(0, DIMENSION, DENSE_BLOCK):
            bits = torch.empty(gradient_RP.shape[1], DENSE_BLOCK // 8, dtype=torch.uint8).random_(generator=generator)
            gradient_RP @ eight_signs.index_select(0, bits.int().flatten()).view(len(bits), -1)


VARIANTS: dict[str, Callable[[torch.nn.Module, list[TokenizedResponse]], object]] = {
    "floor": run_floor,
    "engine": run_engine,
    "dense, drawn for each response": lambda model, sequences: run_dense(model, sequences, 1),
    "dense, drawn for 16 responses": lambda model, sequences: run_dense(model, sequences, 16),
    "the model alone": lambda model, sequences: None,
}


def cpu_seconds(run: Callable[[], object]) -> float:
    """CPU seconds of one call."""
    start = time.process_time()
    run()
    return time.process_time() - start


def own_peak_mib() -> float:
    """Peak resident memory of this process so far."""
    status = Path("/proc/self/status")
    if status.exists():  # Linux's ru_maxrss starts from the parent's peak, and so hides any smaller one
        return int(next(x for x in status.read_text().splitlines() if x.startswith("VmHWM")).split()[1]) / 1024
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def in_own_process(variant: str, rank: int, count: int) -> tuple[float, float]:
    """CPU seconds and peak MiB of a process that runs the variant once."""
    command = [sys.executable, __file__, "--only", variant, "--ranks", str(rank), "--responses", str(count)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return float(output[0]), float(output[1])


def fidelity(model: torch.nn.Module, sequences: list[TokenizedResponse]) -> None:
    """Print the agreement with one-by-one autograd, and the error of projected inner products."""
    exact = exact_gradients(model, sequences).numpy()
    norm = np.linalg.norm(exact, axis=1, keepdims=True)
    found = LoraGradients(model, dimension=None, seed=0, max_tokens=MAX_TOKENS)(sequences)[1]
    error = (np.linalg.norm(found - exact, axis=1) / norm[:, 0]).max()
    print(f"  largest relative error against one-by-one autograd: {error:.1e}")
    upper = np.triu_indices(len(sequences), 1)
    cosine = ((exact / norm) @ (exact / norm).T)[upper]
    for dimension in (1024, 8192):
        errors = []
        for seed in range(4):
            sketched = LoraGradients(model, dimension=dimension, seed=seed, max_tokens=MAX_TOKENS)(sequences)[1] / norm
            errors.append((sketched @ sketched.T)[upper] - cosine)
        rmse = np.sqrt(np.mean(np.square(errors)))
        print(f"  inner products at d = {dimension}: rmse / |a||b| = {rmse:.4f} = {rmse * dimension**0.5:.2f} / √d")


def report(rank: int, count: int, repeats: int, dense_responses: int) -> None:
    """Measure every variant at one rank, and print a table."""
    model, sequences = build_model(rank), build_sequences(count)
    lengths = np.array([s.input_length for s in sequences])
    batches = batches_by_tokens(lengths, MAX_TOKENS)
    padding = sum(len(b) * lengths[b].max() for b in batches) / lengths.sum()
    parameters = sum(p.numel() for p in lora_parameters(model))
    print(
        f"\nr = {rank}: {parameters:,} parameters to d = {DIMENSION:,}; {count} responses, {lengths.sum():,} tokens, "
        f"{len(batches)} batches, padded / real tokens {padding:.3f}"
    )
    measured: dict[str, list[float]] = {"floor": [], "engine": []}
    run_floor(model, sequences)  # warm up
    run_engine(model, sequences)
    for _ in range(repeats):
        for name, seconds in measured.items():
            seconds.append(cpu_seconds(lambda run=VARIANTS[name]: run(model, sequences)))
    floor = statistics.median(measured["floor"])
    pairs = [e / f for e, f in zip(measured["engine"], measured["floor"], strict=True)]
    memory = {name: in_own_process(name, rank, count)[1] for name in ("the model alone", "floor", "engine")}
    print(f"  {'variant':34}{'CPU s':>9}{'/ floor':>9}{'peak MiB':>10}{'/ floor':>9}{'above the model':>17}")

    def line(name: str, seconds: float, peak: float) -> None:
        above = (peak - memory["the model alone"]) / (memory["floor"] - memory["the model alone"])
        ratio = f"{seconds:9.2f}{seconds / floor:9.2f}"
        print(f"  {name:34}{ratio}{peak:10.0f}{peak / memory['floor']:9.2f}{above:17.2f}")

    line("floor", floor, memory["floor"])
    line("engine", statistics.median(measured["engine"]), memory["engine"])
    if dense_responses:
        for name, some in (("dense, drawn for each response", dense_responses), ("dense, drawn for 16 responses", 16)):
            seconds, peak = in_own_process(name, rank, some)
            line(name, seconds * count / some, peak)
    print(f"  engine / floor, run by run: {' '.join(f'{ratio:.2f}' for ratio in sorted(pairs))}")
    fidelity(model, sequences[:24])


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the first rank, few responses and runs, no dense loop")
    parser.add_argument("--ranks", type=int, nargs="+", default=[16, 128], help="LoRA ranks (default: 16 128)")
    parser.add_argument("--responses", type=int, default=64, help="responses (default: 64)")
    parser.add_argument("--repeats", type=int, default=5, help="interleaved runs (default: 5)")
    parser.add_argument(
        "--dense-responses", type=int, default=2, help="responses for the dense loop, run at the lowest rank; 0: none"
    )
    parser.add_argument("--only", choices=VARIANTS, help="run one variant once and print this process's peak MiB")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.only:
        model, sequences = build_model(args.ranks[0]), build_sequences(args.responses)
        print(cpu_seconds(lambda: VARIANTS[args.only](model, sequences)), own_peak_mib())
        return
    print(f"torch {torch.__version__}, {torch.get_num_threads()} thread")
    for rank in args.ranks[:1] if args.quick else args.ranks:
        # The dense loop takes minutes already at the lowest rank.
        dense = args.dense_responses if rank == min(args.ranks) and not args.quick else 0
        report(rank, 32 if args.quick else args.responses, 3 if args.quick else args.repeats, dense)


if __name__ == "__main__":
    main()
