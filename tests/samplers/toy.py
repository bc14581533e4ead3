"""A causal language model with a vocabulary of 5, small enough to list every response, and the oracles for it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import product
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from peft import LoraConfig, get_peft_model
from scipy import stats
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from duelist.models.policy.policy import Policy
from duelist.models.trained import Models
from duelist.progress import Silent
from duelist.samplers.base import SampleJob
from duelist.types import GivenResponses, Prompt

EOS, VOCABULARY, LENGTH = 0, 5, 3
PROMPTS = [Prompt.of(text) for text in ("a b", "c", "d a c")]


def toy_tokenizer() -> Any:
    words = Tokenizer(models.WordLevel({"<eos>": 0, "a": 1, "b": 2, "c": 3, "d": 4}, unk_token="a"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<eos>", pad_token="<eos>")


def toy_policy(trained: bool = True, scale: float = 0.6) -> Policy:
    """A float64 Llama; `trained`: its adapter is away from the reference, otherwise it is fresh."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        shape = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
        config = LlamaConfig(vocab_size=VOCABULARY, max_position_embeddings=16, initializer_range=0.4, **shape)
        base = LlamaForCausalLM(config).double()
        base.generation_config.eos_token_id = EOS
        lora = LoraConfig(task_type="CAUSAL_LM", r=2, lora_alpha=4, target_modules="all-linear")
        model = get_peft_model(base, lora).double()
        for name, parameter in sorted(model.named_parameters()):
            if trained and "lora_B" in name:
                parameter.data = scale * torch.randn(parameter.shape, dtype=torch.float64)
    return Policy.of(model.eval(), toy_tokenizer())


def job_for(policy: Policy, beta: float = 0.5, seed: int = 0, prompts: Sequence[Prompt] = PROMPTS) -> SampleJob:
    return SampleJob(Models(policy), prompts, GivenResponses({}, {}), 1, beta, seed, Silent())


@cache
def next_token_probabilities(policy: Policy, tokens: tuple[int, ...], reference: bool = False) -> NDArray[np.float64]:
    """p(· | tokens) by one plain forward pass over all tokens, no cache, no padding."""
    ids = torch.tensor([list(tokens)])
    with torch.no_grad():
        if reference:
            with policy.model.disable_adapter():
                logits = policy.model(input_ids=ids).logits
        else:
            logits = policy.model(input_ids=ids).logits
    return np.asarray(torch.softmax(logits[0, -1].double(), dim=-1))


def tilted_token_probabilities(policy: Policy, tokens: tuple[int, ...], beta: float) -> NDArray[np.float64]:
    """π± token by token as the paper's Section 5 defines it: π_θ (π_θ/π_ref)^±β, normalised. β < 0 gives π⁻."""
    own, reference = (next_token_probabilities(policy, tokens, r) for r in (False, True))
    weight = own * (own / reference) ** beta
    return weight / weight.sum()


def all_responses(length: int = LENGTH) -> list[tuple[int, ...]]:
    """Every response of at most `length` tokens, found by cutting every string of tokens at its first end."""
    found = set()
    for tokens in product(range(VOCABULARY), repeat=length):
        cut = tokens.index(EOS) + 1 if EOS in tokens else length
        found.add(tokens[:cut])
    return sorted(found)


def response_probabilities(
    policy: Policy,
    prompt_ids: Sequence[int],
    responses: Sequence[tuple[int, ...]],
    beta: float,
    reference: bool = False,
) -> NDArray[np.float64]:
    """The probability of each response under token-wise π± (β = 0: the policy), or under the reference."""

    def of(response: tuple[int, ...]) -> float:
        total = 1.0
        for t, token in enumerate(response):
            before = (*prompt_ids, *response[:t])
            p = (
                next_token_probabilities(policy, before, reference=True)
                if reference
                else tilted_token_probabilities(policy, before, beta)
            )
            total *= float(p[token])
        return total

    return np.array([of(r) for r in responses])


def chi_square_p_value(counts: NDArray[np.int64], probabilities: NDArray[np.float64]) -> float:
    """Of the hypothesis that `counts` were drawn from `probabilities`; cells that expect fewer than 5 are pooled."""
    expected = probabilities / probabilities.sum() * counts.sum()
    small = expected < 5
    observed = np.append(counts[~small], counts[small].sum())
    expected = np.append(expected[~small], expected[small].sum())
    keep = expected > 0
    return float(stats.chisquare(observed[keep], expected[keep]).pvalue)
