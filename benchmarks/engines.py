"""What an engine costs: the CPU time of all processes for the same batches, with one worker, with two, and with none.

    OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE python benchmarks/engines.py [--repeats 5] [--responses 96]

A random Llama (4 layers, width 512, vocabulary 8,192, float32) with LoRA of rank 16; per-response gradients, projected
to 8,192, of responses of about 130 tokens with their prompt, about 16 a batch. One cluster of Ray on this machine holds
both engines. Every process has one thread.

Starting a worker (its process, the libraries, the model) is reported apart, because it is paid once in a study. After
it, the maps are interleaved. CPU seconds are those of this process and all its descendants, user and system, from
before a map until after it, so they contain Ray's own processes. The wall ratio says how busy the machine is as much as
how well two workers share the work.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import psutil
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from duelist.engines.base import Engine
from duelist.engines.local import Local
from duelist.engines.ray import RayConfig, RayEngine
from duelist.featurizers.response_numbers import Gradients
from duelist.models.policy.config import PolicyConfig
from duelist.models.policy.kept import KeptPolicy
from duelist.models.policy.policy import Policy
from duelist.models.policy.response_batches import TokenizedResponse, plan_batches
from duelist.progress import Silent

VOCABULARY = 8192
DIMENSION = 8192
MAX_TOKENS = 16 * 150


def make_model(folder: Path) -> PolicyConfig:
    """Write a random model and a tokenizer, and return their settings."""
    torch.manual_seed(0)
    shape = {"hidden_size": 512, "intermediate_size": 1376, "num_hidden_layers": 4, "num_attention_heads": 8}
    LlamaForCausalLM(LlamaConfig(vocab_size=VOCABULARY, num_key_value_heads=8, **shape)).save_pretrained(folder)
    words = {"<eos>": 0, "<unk>": 1}
    tokenizer = Tokenizer(WordLevel(words, unk_token="<unk>"))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>", unk_token="<unk>").save_pretrained(folder)
    return PolicyConfig(model=str(folder), device="cpu")


def make_sequences(count: int) -> list[TokenizedResponse]:
    """Prompts of 30 to 70 tokens with responses of 60 to 100."""
    rng = np.random.default_rng(0)
    shapes = zip(rng.integers(30, 71, count), rng.integers(60, 101, count), strict=True)
    draw = lambda n: rng.integers(2, VOCABULARY, n).tolist()  # noqa: E731
    return [TokenizedResponse(draw(p), draw(t)) for p, t in shapes]


def cpu_seconds() -> float:
    """CPU seconds of this process and its descendants so far."""
    total = 0.0
    own = psutil.Process()
    for process in [own, *own.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system
    return total


def measured(
    engine: Engine, source: KeptPolicy, task: Gradients, batches: Sequence[Sequence[TokenizedResponse]]
) -> tuple[float, float, bytes]:
    """CPU seconds, wall seconds, and all bits of the results of one map."""
    before, began = cpu_seconds(), time.perf_counter()
    results = list(engine.map(source, task, batches, Silent()))
    wall, cpu = time.perf_counter() - began, cpu_seconds() - before
    return cpu, wall, b"".join(array.tobytes() for result in results for array in result)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--responses", type=int, default=96)
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        config = make_model(Path(folder))
        policy = Policy.load(config, seed=0)
        source = KeptPolicy(config, 0, None, None, 1, policy)
        sequences = make_sequences(given.responses)
        planned = plan_batches(policy.model, sequences, MAX_TOKENS, square=False)
        batches = [[sequences[i] for i in index_B] for index_B in planned]
        task = Gradients(DIMENSION, 0, MAX_TOKENS)
        cluster = RayEngine(RayConfig(workers=3, object_store_mib=256))
        cluster._connected()
        engines: dict[str, Engine] = {"local": Local()}
        engines |= {f"ray, {n} worker{'s' * (n > 1)}": RayEngine(RayConfig(workers=n)) for n in (1, 2)}
        print(
            f"{len(sequences)} responses in {len(batches)} batches; {given.repeats} interleaved maps each", flush=True
        )
        bits = {}
        for name, engine in engines.items():
            cpu, wall, bits[name] = measured(engine, source, task, batches)
            print(f"{name}: first map, with its start: {cpu:.1f} CPU s, {wall:.1f} s", flush=True)
        assert len(set(bits.values())) == 1, "results must be equal bit for bit"
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in engines}
        for _ in range(given.repeats):
            for name, engine in engines.items():
                found[name].append(measured(engine, source, task, batches)[:2])
        one, two = found["ray, 1 worker"], found["ray, 2 workers"]
        for name, runs in found.items():
            cpu, wall = (statistics.median(values) for values in zip(*runs, strict=True))
            print(f"{name}: {cpu:.2f} CPU s, {wall:.2f} s (medians)")
        for what, other in (("one worker", one), ("local", found["local"])):
            ratios = sorted(a / b for (a, _), (b, _) in zip(two, other, strict=True))
            walls = sorted(a / b for (_, a), (_, b) in zip(two, other, strict=True))
            print(
                f"two workers / {what}: CPU {statistics.median(ratios):.3f} ({ratios[0]:.3f}–{ratios[-1]:.3f}; target "
                f"1.15), wall {statistics.median(walls):.2f} ({walls[0]:.2f}–{walls[-1]:.2f}), informative"
            )
        for engine in engines.values():
            engine.close()
        cluster.close()


if __name__ == "__main__":
    main()
