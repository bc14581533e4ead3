"""What a stream of mixed responses (PILAF's π⁺ or π⁻) costs, as a ratio to a stream of vanilla ones in the same run.

    PYTHONPATH=src OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE python benchmarks/decoding.py [--rows 1 4 16 64]

A random Llama (4 layers, width 512, vocabulary 8,192, float32), LoRA of rank 16 on all linear layers, prompts of 32
tokens, responses of 96 that never end early, one thread. A stream of B rows decodes B responses. Times are CPU seconds,
medians of interleaved runs in one process; ratios are medians of the ratios to vanilla within a run.

The variants: `one call` runs the rows of the policy and those of the reference together, LoRA applied to the first
half (what `auto` takes here); `two calls` runs them one after the other, each with its cache; `PEFT mixed adapters`
runs them together by PEFT's own `adapter_names`, with transformers' own cache; `no reference cache` reads all tokens
anew for the reference at every step.
Beside them: vanilla streams of twice the rows, and transformers' `generate` for the vanilla stream. Before anything is
timed, all mixed variants must draw the same tokens.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from unittest.mock import patch

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from duelist.models.decoding import local as decoding
from duelist.models.decoding.local import Decoding, LocalDecoder, ResponseRequest
from duelist.models.decoding.next_token import NextLogits, next_logits
from duelist.models.policy.policy import Policy
from duelist.progress import Silent
from duelist.types import Distribution, Prompt

VOCABULARY, PROMPT_TOKENS, NEW_TOKENS = 8192, 32, 96
BETA = 0.1


def build_policy() -> Policy:
    """A random policy away from its reference, whose responses never end by themselves."""
    torch.manual_seed(0)
    shape = {"hidden_size": 512, "intermediate_size": 1376, "num_hidden_layers": 4, "num_attention_heads": 8}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=VOCABULARY, num_key_value_heads=8, **shape))
    model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", r=16, lora_alpha=32, target_modules="all-linear"))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.01)
    words = Tokenizer(models.WordLevel({f"w{i}": i for i in range(VOCABULARY + 1)}, unk_token="w0"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="w0", eos_token=f"w{VOCABULARY}")
    model.generation_config.eos_token_id = VOCABULARY  # no logit stands for it
    return Policy.of(model.eval(), tokenizer)


def requests(rows: int, drawn_from: Distribution) -> list[ResponseRequest]:
    """`rows` responses wanted to as many prompts."""
    texts = [" ".join(f"w{(7919 * i + 31 * j) % VOCABULARY}" for j in range(PROMPT_TOKENS)) for i in range(rows)]
    return [ResponseRequest(Prompt.of(text), drawn_from) for text in texts]


def draw(policy: Policy, rows: int, drawn_from: Distribution, method: str = "auto") -> list[tuple[int, ...]]:
    """The tokens of one stream."""
    how = Decoding(NEW_TOKENS, batch_size=rows, beta=BETA)
    decoder = LocalDecoder(policy, method)  # type: ignore[arg-type]
    drawn = decoder.draw(requests(rows, drawn_from), how, round=1, seed=0, progress=Silent(), what="")
    return [r.token_ids for r in drawn]


class PeftRows(NextLogits):
    """Both models' logits by PEFT's mixed-adapter batches."""

    def __init__(self, policy: Policy) -> None:
        self.model, self.cache = policy.model, None

    def __call__(self, ids: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        names = ["default"] * len(ids) + ["__base__"] * len(ids)
        mask = mask.repeat(2, 1)
        positions = (mask.cumsum(1) - 1)[:, -ids.shape[1] :]
        output = self.model(
            input_ids=ids.repeat(2, 1), attention_mask=mask, position_ids=positions, past_key_values=self.cache,
            use_cache=True, logits_to_keep=1, adapter_names=names,
        )  # fmt: skip
        self.cache = output.past_key_values
        own, reference = output.logits[:, -1].chunk(2)
        return own, reference

    def keep_rows(self, index: torch.Tensor) -> None:
        raise NotImplementedError  # here every prompt has one response, and none ends early


class NoReferenceCache(NextLogits):
    """The policy's logits with its cache, the reference's over all tokens anew."""

    def __init__(self, policy: Policy, own: NextLogits) -> None:
        self.policy, self.own, self.read = policy, own, []

    def __call__(self, ids: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor]:
        self.read.append(ids)
        own, _ = self.own(ids, mask)
        with self.policy.as_reference():
            output = self.policy.model(torch.cat(self.read, dim=1), mask, use_cache=False, logits_to_keep=1)
        return own, output.logits[:, -1]

    def keep_rows(self, index: torch.Tensor) -> None:
        raise NotImplementedError  # as above


@contextmanager
def peft_rows(policy: Policy, *_: object) -> Iterator[NextLogits]:
    """In place of `next_logits`."""
    yield PeftRows(policy)


@contextmanager
def no_reference_cache(policy: Policy, *_: object) -> Iterator[NextLogits]:
    """In place of `next_logits`."""
    with next_logits(policy, "policy") as own:
        yield NoReferenceCache(policy, own)


def draw_with(logits: Callable[..., object], policy: Policy, rows: int) -> list[tuple[int, ...]]:
    """A mixed stream with other logits in the same decoding loop: `peft_rows` or `no_reference_cache`."""
    with patch.object(decoding, "next_logits", logits):
        return draw(policy, rows, "plus")


def draw_with_transformers(policy: Policy, rows: int) -> None:
    """A vanilla stream by transformers' `generate`."""
    ids = torch.tensor([policy.tokenizer(r.prompt.as_trl())["input_ids"] for r in requests(rows, "policy")])
    with torch.no_grad():
        policy.model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=True, top_k=0, max_new_tokens=NEW_TOKENS,
            eos_token_id=VOCABULARY, pad_token_id=0,
        )  # fmt: skip


def variants(policy: Policy, rows: int, with_no_cache: bool) -> dict[str, Callable[[], object]]:
    """What is timed; the first is what the others are compared with."""
    found: dict[str, Callable[[], object]] = {
        "vanilla": lambda: draw(policy, rows, "policy"),
        "one call": lambda: draw(policy, rows, "plus"),
        "two calls": lambda: draw(policy, rows, "plus", "two_calls"),
        "PEFT mixed adapters": lambda: draw_with(peft_rows, policy, rows),
        "vanilla, 2B rows": lambda: draw(policy, 2 * rows, "policy"),
        "vanilla by transformers": lambda: draw_with_transformers(policy, rows),
    }
    if with_no_cache:
        found["no reference cache"] = lambda: draw_with(no_reference_cache, policy, rows)
    return found


def check(policy: Policy) -> None:
    """All mixed variants draw the same tokens, and others than vanilla.

    Raises:
        SystemExit: if they do not.
    """
    expected = draw_with(no_reference_cache, policy, 4)
    found = [draw(policy, 4, "plus"), draw(policy, 4, "plus", "two_calls"), draw_with(peft_rows, policy, 4)]
    with next_logits(policy, "both") as run:
        own, reference = run(torch.tensor([[1, 2, 3]]), torch.ones((1, 3), dtype=torch.long))
    if any(f != expected for f in found) or own is None or reference is None or torch.equal(own, reference):
        raise SystemExit("The variants must draw the same tokens, but they do not.")


def main() -> None:
    """Print one table: seconds of the vanilla stream, and ratios to it."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rows", type=int, nargs="+", default=[1, 4, 16, 64])
    options.add_argument("--repeats", type=int, default=7)
    arguments = options.parse_args()
    torch.set_num_threads(1)
    policy = build_policy()
    check(policy)
    print("| B | vanilla, CPU s | variant | ratio to vanilla | lowest-highest |\n|---|---|---|---|---|")
    for rows in arguments.rows:
        timed = variants(policy, rows, with_no_cache=rows == 1)
        seconds: dict[str, list[float]] = {name: [] for name in timed}
        for repeat in range(arguments.repeats + 1):
            for name, run in timed.items():
                start = time.process_time()
                run()
                if repeat:  # the first run warms up
                    seconds[name].append(time.process_time() - start)
        vanilla = statistics.median(seconds["vanilla"])
        for name in list(timed)[1:]:
            ratios = [s / v for s, v in zip(seconds[name], seconds["vanilla"], strict=True)]
            spread = f"{min(ratios):.2f}-{max(ratios):.2f}"
            print(f"| {rows} | {vanilla:.2f} | {name} | {statistics.median(ratios):.2f} | {spread} |", flush=True)


if __name__ == "__main__":
    main()
