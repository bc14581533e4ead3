"""Memory of a pool from reading to choice, at 10⁴, 10⁵ and 10⁶ rows: what is flat, and what grows with the rows.

OMP_NUM_THREADS=1 python benchmarks/streamed_pools.py [--rows 10000 100000 1000000] [--steps read-jsonl choose ...]

Every step runs in a process of its own. "Rise" is the peak of its memory within the step above its memory before.
Rows have a prompt of 8 words, two responses of 12 and 24 words, and an embedding of 64 numbers, as a pool may have that
is picked by its own embeddings. The tokenizer is a stub that numbers words, so the seconds are those of Duelist's own
work.

read-jsonl, read-parquet   iterate over the rows (`RowSource`)
prompts                    the prompts of a study (`load_prompts`, without responses), and 1,000 of them for a round
responses                  the same with the data set's responses, and those of the round's prompts
pairs                      the candidates of `duelist select` (`read_pairs`)
choose                     ActiveDPO on given features, float16, memory-mapped, 64 dimensions, budget 100
select                     all of `duelist select`, from the file to 100 picks, on gradients of 64 dimensions that are
                           memory-mapped as those above 2 GiB are. Only the model's passes are replaced, by random
                           numbers.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

STEPS = ("read-jsonl", "read-parquet", "prompts", "responses", "pairs", "choose", "select")
D = 64
BUDGET = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--steps", nargs="+", default=list(STEPS), choices=STEPS)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one is not None:
        print(json.dumps(measured(arguments.steps[0], Path(arguments.one), arguments.rows[0])))
        return
    print("| step | rows | CPU s | µs per row | rise, MiB | bytes per row |\n|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        for step in arguments.steps:
            for n in arguments.rows:
                file = pool(Path(scratch), n, step)
                command = [sys.executable, __file__, "--one", str(file), "--steps", step, "--rows", str(n)]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                seconds, rise = json.loads(done.stdout)
                each = f"{1e6 * seconds / n:.0f} | {rise / 2**20:.0f} | {rise / n:.0f}"
                print(f"| {step} | {n:,} | {seconds:.2f} | {each} |", flush=True)


def pool(folder: Path, n: int, step: str) -> Path:
    """Make the file that a step reads, unless it is there."""
    kind = {"read-parquet": ".parquet", "choose": ".bin"}.get(step, ".jsonl")
    file = folder / f"{n}{kind}"
    if file.exists():
        return file
    rng = np.random.default_rng(0)
    if kind == ".bin":
        with file.open("wb") as out:
            for start in range(0, n, 10_000):
                rng.standard_normal((min(10_000, n - start), D)).astype(np.float16).tofile(out)
        return file
    rows = (row(i) for i in range(n))
    if kind == ".jsonl":
        with file.open("w", encoding="utf-8") as out:
            out.writelines(json.dumps(r) + "\n" for r in rows)
        return file
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetWriter(file, pa.Table.from_pylist([row(0)]).schema) as out:
        for start in range(0, n, 10_000):
            out.write_table(pa.Table.from_pylist([row(i) for i in range(start, min(start + 10_000, n))]))
    return file


def row(i: int) -> dict[str, Any]:
    words = [f"w{(i * k) % 997}" for k in range(1, 45)]
    return {
        "prompt": " ".join([f"p{i}", *words[:7]]) + " ",
        "response_a": " ".join(words[8:20]),
        "response_b": " ".join(words[20:44]),
        "embedding_a": [(i % 10) / 10] * D,
    }


def measured(step: str, file: Path, n: int) -> tuple[float, int]:
    """Return the CPU seconds of a step and the rise of the peak memory."""
    made = {"prompts": prompts, "responses": responses, "pairs": pairs, "choose": choose, "select": select}
    run = made.get(step, read)(file, n)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak so far is forgotten
    before, began = memory("VmRSS"), time.process_time()
    kept = run()
    seconds = time.process_time() - began
    del kept
    return seconds, memory("VmHWM") - before


def memory(name: str) -> int:
    """Return the memory of this process in bytes: now (`VmRSS`) or at most (`VmHWM`)."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(name)).split()[1])


def read(file: Path, n: int) -> Any:
    from duelist.data.sources import RowSource

    if file.suffix == ".parquet":
        import pyarrow.parquet  # noqa: F401

    return lambda: sum(1 for _ in RowSource(str(file)))


def prompts(file: Path, n: int, given: bool = False) -> Any:
    from duelist.data.prompts import PromptsConfig, load_prompts, prompts_of_round

    def run() -> Any:
        found = load_prompts(PromptsConfig(path=str(file)), 0, responses=given)
        of_round = prompts_of_round(found.train, min(1000, n), 0, 1)
        return found, of_round, [found.by_id[p.id] for p in of_round], [found.given.texts.get(p.id) for p in of_round]

    return run


def responses(file: Path, n: int) -> Any:
    return prompts(file, n, given=True)


class Tokenizer:
    """Stub that numbers the words."""

    eos_token, eos_token_id, chat_template = " end", 0, None

    def __call__(self, text: str) -> dict[str, list[int]]:
        return {"input_ids": [zlib.crc32(word.encode()) % 1000 for word in text.split()]}


def pairs(file: Path, n: int) -> Any:
    from duelist.selection.pool import read_pairs

    policy: Any = SimpleNamespace(tokenizer=Tokenizer(), name="stub", context_length=None)
    return lambda: read_pairs(str(file), policy, "the pool")


def select(file: Path, n: int) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    import duelist
    from duelist.engines.base import Engine
    from duelist.featurizers import gradient
    from duelist.models.trained import Models
    from duelist.selection import choice

    class Random(Engine):
        """Engine that draws numbers in place of the model's."""

        in_process = True

        def map(self, source: Any, task: Any, batches: Any, progress: Any) -> Any:
            rng = np.random.default_rng(0)
            for batch in batches:
                yield rng.standard_normal(len(batch)), rng.standard_normal((len(batch), D), np.float32)

    choice.Models = lambda policy: Models(policy, engine=Random())  # type: ignore[misc,assignment]
    gradient.MAPPED_ABOVE = 0
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=1000, **sizes))

    def run(source: Any = str(file), budget: int = BUDGET) -> Any:
        return duelist.select(source, model, tokenizer=Tokenizer(), budget=budget, dimension=D)

    run([row(i) for i in range(10)], 2)  # loads what is loaded on first use
    return run


def mapped(values: Any) -> Any:
    """Return the values where `duelist select` has them: in a temporary file if they are large."""
    from duelist.files.scratch import give_back, temporary_array

    array = temporary_array(values.dtype, values.shape)
    array[:] = values
    give_back(array)
    return array


def choose(file: Path, n: int) -> Any:
    from duelist.acquisition.activedpo import ActiveDPO, ActiveDPOConfig
    from duelist.acquisition.base import choose as choose_from
    from duelist.types import Features

    gradient_ND = np.memmap(file, np.float16, "r", shape=(n, D))
    ids = mapped(np.char.add("q", np.arange(n).astype(np.str_)))
    nobody_P2, none_P2 = np.empty((0, 2), np.str_), np.empty((0, 2), np.int64)
    features = Features(
        pair_id_N=ids,
        prompt_ids_N2=mapped(np.stack([ids, ids], axis=1)),
        response_ids_N2=mapped(np.stack([ids, ids], axis=1)),
        length_N2=np.full((n, 2), 10),
        gradient_ND=gradient_ND,
        past=Features(ids[:0], nobody_P2, nobody_P2, none_P2, gradient_ND=gradient_ND[:0]),
    )
    rule = ActiveDPO(ActiveDPOConfig())
    return lambda: choose_from(rule, features, BUDGET, np.random.default_rng(0))


if __name__ == "__main__":
    main()
