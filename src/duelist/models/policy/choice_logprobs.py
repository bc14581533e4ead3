"""Log-probabilities of a few fixed answers to each of many prompts.

    log π(c | x) for every choice c, in nats. If every choice is one token, one forward pass of the prompt gives all of
    them. Otherwise the tokens of each choice are added up, with a sequence per choice.

transformers' `DecisionPipeline` also reads labels' logits. It is not used: it runs one prompt at a time, in a format of
its own, and returns the softmax over the labels, which hides how much of the probability falls on them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray

from duelist.engines.base import Compute
from duelist.engines.local import in_process
from duelist.errors import ModelError
from duelist.models.policy.checkpointing import evaluation_mode
from duelist.models.policy.logprobs import check_sequences, response_logits, sequence_log_probs
from duelist.models.policy.probes import require_causal
from duelist.models.policy.response_batches import TokenizedResponse, plan_batches, planned_batch
from duelist.progress import Progress, Silent

TokenIds = tuple[int, ...]


@dataclass(frozen=True)
class ChoicePrompt:
    """A prompt and the ways to write each of the C choices after it, in tokens.

    Attributes:
        prompt_ids: what the model reads.
        spellings: by choice, one or more token sequences; all are of one token, or each choice has one sequence.
    """

    prompt_ids: TokenIds
    spellings: tuple[tuple[TokenIds, ...], ...]

    @property
    def length(self) -> int:
        """Number of tokens that the model reads at most."""
        return len(self.prompt_ids) + max(len(ids) for choice in self.spellings for ids in choice) - 1


@final
@dataclass(frozen=True)
class TokenLogProbs:
    """Task: log-probabilities of some tokens as the first after each prompt of one planned batch, in nats.

    Attributes:
        token_X: the tokens.
    """

    token_X: tuple[int, ...]

    def __call__(self, model: torch.nn.Module, batch: Sequence[TokenizedResponse]) -> NDArray[np.float64]:
        with evaluation_mode(model), torch.inference_mode():
            logits_BV = response_logits(model, planned_batch(model, batch))
            dtype = torch.promote_types(logits_BV.dtype, torch.float32)
            normalizer_B1 = torch.logsumexp(logits_BV.to(dtype), dim=-1, keepdim=True)
            log_prob_BX = (logits_BV[:, self.token_X].to(dtype) - normalizer_B1).double().cpu().numpy()
        return np.asarray(log_prob_BX)


@final
@dataclass(frozen=True)
class AnswerLogProbs:
    """Task: log-probabilities of the answers of one planned batch, in nats.

    Attributes:
        max_tokens: maximum number of tokens of the batch, padding included.
    """

    max_tokens: int

    def __call__(self, model: torch.nn.Module, batch: Sequence[TokenizedResponse]) -> NDArray[np.float64]:
        return sequence_log_probs(model, batch, max_tokens=self.max_tokens)


def choice_prompt(tokenizer: Any, text: str, choices: Sequence[str], *, special_tokens: bool) -> ChoicePrompt:
    """Tokenize a prompt and the choices that may follow it, each as it is and after a space.

    If the tokenizer merges the end of the prompt with a choice, the prompt ends before the merged token.

    Args:
        tokenizer: the model's tokenizer.
        text: the prompt as the model reads it, with its chat template.
        choices: the answers.
        special_tokens: whether the tokenizer adds its special tokens; false if a chat template has written them.

    Raises:
        ModelError: if the tokens of two choices are equal, or those of one begin with those of another.
    """

    def ids_of(written: str) -> list[int]:
        ids = list(tokenizer(written, add_special_tokens=special_tokens)["input_ids"])
        end = tokenizer.eos_token_id
        return ids[:-1] if special_tokens and ids and ids[-1] == end else ids  # some tokenizers end every text

    written = {space: [ids_of(f"{text}{space}{choice}") for choice in choices] for space in ("", " ")}
    alone = ids_of(text)
    start = min(_common(alone, ids) for both in written.values() for ids in both)
    spelled = {space: [tuple(ids[start:]) for ids in both] for space, both in written.items()}
    # A choice may be written with or without a space. Both count only if each is one token for every choice: no choice
    # may have more ways to be said than another.
    single = [both for both in spelled.values() if all(len(ids) == 1 for ids in both)]
    ways = [tuple(dict.fromkeys(of_one)) for of_one in zip(*(single or [spelled[""]]), strict=True)]
    _require_apart(ways, choices, alone[start:])
    return ChoicePrompt(tuple(alone[:start]), tuple(ways))


def choice_log_probs(
    model: torch.nn.Module,
    prompts: Sequence[ChoicePrompt],
    max_tokens: int,
    compute: Compute[torch.nn.Module] | None = None,
    progress: Progress | None = None,
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """Yield the log-probabilities of the choices, batch by batch, without gradients and without dropout.

    Args:
        model: a causal language model of transformers.
        prompts: the prompts, all with equal spellings and within the model's context.
        max_tokens: maximum number of tokens per pass, padding included.
        compute: computes the batches with the model; None: this process.
        progress: is told of failures that `compute` recovered from.

    Yields:
        index_B: the positions in `prompts` of the batch's prompts.
        log_probs_BC: in nats; the spellings of a choice are added up.

    Raises:
        DataError: if a prompt is longer than the context, or a token id is outside the vocabulary.
        ModelError: if the model is not causal, or its output layer cannot be accessed.
    """
    require_causal(model)
    if not prompts:
        return
    compute, progress = compute or in_process(model), progress or Silent()
    spellings = prompts[0].spellings
    if any(len(ids) > 1 for choice in spellings for ids in choice):
        yield from _of_sequences(model, prompts, max_tokens, compute, progress)
        return
    token_X = tuple(ids[0] for choice in spellings for ids in choice)
    choice_X = [c for c, choice in enumerate(spellings) for _ in choice]
    for token in token_X:
        check_sequences(model, [TokenizedResponse(p.prompt_ids, (token,)) for p in prompts])
    sequences = [TokenizedResponse(p.prompt_ids, token_X[:1]) for p in prompts]
    planned = plan_batches(model, sequences, max_tokens)
    computed = compute(TokenLogProbs(token_X), [[sequences[i] for i in index_B] for index_B in planned], progress)
    for index_B, log_prob_BX in zip(planned, computed, strict=True):
        yield index_B, _per_choice(log_prob_BX, choice_X)


def _of_sequences(
    model: torch.nn.Module,
    prompts: Sequence[ChoicePrompt],
    max_tokens: int,
    compute: Compute[torch.nn.Module],
    progress: Progress,
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """Yield the same where a choice has several tokens; the choices of a prompt may lie in different batches."""
    choices = len(prompts[0].spellings)
    # By length, so that the choices of a prompt come close to one another and a finished prompt is not held back.
    order = sorted(range(len(prompts)), key=lambda i: -len(prompts[i].prompt_ids))
    sequences = [TokenizedResponse(prompts[i].prompt_ids, ids[0]) for i in order for ids in prompts[i].spellings]
    check_sequences(model, sequences)
    found_RC = np.full((len(order), choices), np.nan)
    left = np.ones(len(order), dtype=bool)
    planned = plan_batches(model, sequences, max_tokens)
    batches = [[sequences[i] for i in index_B] for index_B in planned]
    for index_B, log_prob_B in zip(planned, compute(AnswerLogProbs(max_tokens), batches, progress), strict=True):
        found_RC[index_B // choices, index_B % choices] = log_prob_B
        done = np.flatnonzero(left & ~np.isnan(found_RC).any(axis=1))
        if len(done):
            left[done] = False
            yield np.array([order[i] for i in done], dtype=np.int64), found_RC[done]


def _per_choice(log_prob_BX: NDArray[np.float64], choice_X: Sequence[int]) -> NDArray[np.float64]:
    choice = np.asarray(choice_X)
    columns = [np.logaddexp.reduce(log_prob_BX[:, choice == c], axis=1) for c in range(choice.max() + 1)]
    return np.stack(columns, axis=1)


def _require_apart(ways: Sequence[tuple[TokenIds, ...]], choices: Sequence[str], merged: Sequence[int]) -> None:
    for c, of_one in enumerate(ways):
        for d, of_other in enumerate(ways):
            clash = c != d and any(y[: len(x)] == x for x in of_one for y in of_other)
            if clash or any(not x for x in of_one):
                raise ModelError(
                    f"The answers {', '.join(map(repr, choices))} must be different tokens, none the beginning of "
                    f"another, but the tokenizer writes {choices[c]!r} as {of_one} and {choices[d]!r} as {of_other}"
                    + (f", merged with the prompt's end {list(merged)}" if merged else "")
                    + ": use another model, or ask it over HTTP."
                )


def _common(a: Sequence[int], b: Sequence[int]) -> int:
    for i, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            return i
    return min(len(a), len(b))
