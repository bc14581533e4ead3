"""Batches of responses of similar length, padded for a causal language model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from duelist.errors import DataError, NumericalError
from duelist.models.policy.padding import padded
from duelist.models.policy.positions import length_thresholds, regime
from duelist.models.policy.sharding import in_turns
from duelist.types import Response

DEFAULT_MAX_TOKENS = 8192
Result = TypeVar("Result")


@dataclass(frozen=True)
class TokenizedResponse:
    """Token ids of a response and its prompt, as the model reads them.

    Args:
        prompt_ids: at least one token: the first response token is predicted from the last of these.
        response_ids: at least one token.
    """

    prompt_ids: Sequence[int]
    response_ids: Sequence[int]

    def __post_init__(self) -> None:
        if not len(self.prompt_ids) or not len(self.response_ids):
            raise DataError(
                "A prompt and a response must have at least one token each, but got "
                f"{len(self.prompt_ids)} and {len(self.response_ids)}. Start an empty prompt with the tokenizer's "
                "beginning-of-sequence token; drop an empty response."
            )

    @property
    def input_length(self) -> int:
        """Number of tokens that the model reads: all except the last, which is only predicted."""
        return len(self.prompt_ids) + len(self.response_ids) - 1


def tokenized(responses: Sequence[Response]) -> list[TokenizedResponse]:
    """Return the token ids used for log-probabilities and gradients of responses."""
    return [TokenizedResponse(r.prompt_token_ids, r.token_ids) for r in responses]


@dataclass(frozen=True)
class ResponseBatch:
    """R sequences padded to L tokens, and the positions that predict the T response tokens.

    Attributes:
        input_ids_RL: token ids, padded on the right.
        row_T: the sequence that each response token belongs to, ascending.
        column_T: the position that predicts it.
        target_T: its token id.
        start_R: index of each sequence's first token among the T response tokens.
    """

    input_ids_RL: torch.Tensor
    row_T: torch.Tensor
    column_T: torch.Tensor
    target_T: torch.Tensor
    start_R: NDArray[np.int64]

    @staticmethod
    def of(sequences: Sequence[TokenizedResponse], device: torch.device, width: int = 0) -> ResponseBatch:
        """Pad `sequences` on the right, in the order given, to the longest of them or to `width` tokens."""
        response_length_R = np.array([len(s.response_ids) for s in sequences])
        column_T = np.concatenate([np.arange(len(s.prompt_ids) - 1, s.input_length) for s in sequences])
        target_T = np.concatenate([np.asarray(s.response_ids, dtype=np.int64) for s in sequences])
        return ResponseBatch(
            input_ids_RL=padded([(*s.prompt_ids, *s.response_ids)[:-1] for s in sequences], 0, device, width),
            row_T=torch.from_numpy(np.repeat(np.arange(len(sequences)), response_length_R)).to(device),
            column_T=torch.from_numpy(column_T).to(device),
            target_T=torch.from_numpy(target_T).to(device),
            start_R=np.cumsum(response_length_R) - response_length_R,
        )

    def sum_per_response(self, log_probs_T: torch.Tensor) -> NDArray[np.float64]:
        """Add up each sequence's response tokens, in float64.

        Raises:
            NumericalError: if a sum is not finite.
        """
        log_probs_R: NDArray[np.float64] = np.add.reduceat(log_probs_T.detach().cpu().double().numpy(), self.start_R)
        if not np.isfinite(log_probs_R).all():
            raise NumericalError(
                f"Log-probabilities must be finite, but the model gave {log_probs_R[~np.isfinite(log_probs_R)][0]}. "
                "Look for diverged weights (lower the learning rate), or load the model in bfloat16 or float32 in "
                "place of float16."
            )
        return log_probs_R


def batches_by_tokens(
    lengths: Sequence[int] | NDArray[np.int64], max_tokens: int, thresholds: Sequence[int] = ()
) -> list[NDArray[np.int64]]:
    """Group sequences of similar length, longest first, so that an out-of-memory error occurs at the start.

    Args:
        lengths: the length of each sequence, in tokens.
        max_tokens: maximum number of tokens of a batch, padded to its longest sequence. A longer sequence forms its own
            batch.
        thresholds: no batch contains lengths on both sides of one of these; a length equal to it is below.

    Returns:
        For each batch, the indices of its sequences. Every index appears exactly once; ties keep their order.

    Raises:
        DataError: if `max_tokens` is less than 1.
    """
    if max_tokens < 1:
        raise DataError(f"max_tokens must be at least 1, but got {max_tokens}. Try {DEFAULT_MAX_TOKENS}.")
    length_R = np.asarray(lengths, dtype=np.int64)
    order_R = np.argsort(-length_R, kind="stable")
    batches: list[NDArray[np.int64]] = []
    start = 0
    while start < len(order_R):
        longest = int(length_R[order_R[start]])
        rows_R = order_R[start : start + max(1, max_tokens // max(1, longest))]
        rows_R = rows_R[[regime(int(n), thresholds) == regime(longest, thresholds) for n in length_R[rows_R]]]
        batches.append(rows_R)
        start += len(rows_R)
    return batches


def plan_batches(
    model: torch.nn.Module, sequences: Sequence[TokenizedResponse], max_tokens: int, square: bool = True
) -> list[NDArray[np.int64]]:
    """Group sequences of similar length into batches. Planning one batch alone gives that batch again.

    Sequences beyond one of the model's length thresholds are not batched with those up to it. A sequence's length is
    that of its prompt and response together, although its last token is not read.

    Args:
        model: the model that will read the batches.
        sequences: the responses.
        max_tokens: maximum number of tokens of a batch, padding included.
        square: whether a batch may have as many rows as columns; if not, its last sequence forms its own batch.

    Returns:
        index_B: each batch's positions in `sequences`.
    """
    return plan_by_length(model, [s.input_length for s in sequences], max_tokens, square)


def plan_by_length(
    model: torch.nn.Module, length_R: Sequence[int] | NDArray[np.int64], max_tokens: int, square: bool = True
) -> list[NDArray[np.int64]]:
    """Plan batches as `plan_batches` does, from the input lengths of the sequences."""
    batches: list[NDArray[np.int64]] = []
    for index_B in batches_by_tokens(length_R, max_tokens, _thresholds(model)):
        apart = not square and 1 < len(index_B) == length_R[index_B[0]]
        batches += (index_B[:-1], index_B[-1:]) if apart else (index_B,)
    return batches


def over_batches(
    model: torch.nn.Module,
    sequences: Sequence[TokenizedResponse],
    max_tokens: int,
    compute: Callable[[ResponseBatch], Result],
    *,
    square: bool = True,
    divided: bool = True,
) -> Iterator[tuple[NDArray[np.int64], Result]]:
    """Yield the positions in `sequences` of each planned batch, and what `compute` returns for it.

    Args:
        model: the model.
        sequences: the responses.
        max_tokens: see `plan_batches`.
        compute: passes through the model once.
        square: see `plan_batches`.
        divided: whether the processes of a sharded model divide the batches, and get all results (`in_turns`); if not,
            this one runs all of them.
    """
    planned = plan_batches(model, sequences, max_tokens, square)

    def run(index_B: NDArray[np.int64]) -> Result:
        return compute(planned_batch(model, [sequences[i] for i in index_B]))

    yield from zip(planned, in_turns(model, run, planned) if divided else map(run, planned), strict=True)


def planned_batch(model: torch.nn.Module, sequences: Sequence[TokenizedResponse]) -> ResponseBatch:
    """Pad the sequences of one batch of `plan_batches`, on the device of the model's input embeddings."""
    longest = sequences[0].input_length
    # One more column if only its last token puts a sequence beyond the threshold.
    width = longest + 1 if longest - 1 in _thresholds(model) else longest
    return ResponseBatch.of(sequences, model.get_input_embeddings().weight.device, width)


def _thresholds(model: torch.nn.Module) -> list[int]:
    return [threshold - 1 for threshold in length_thresholds(model.config)]
