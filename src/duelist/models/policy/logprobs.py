"""Log-probabilities of responses; no other module of the package computes them.

    log π(y | x) = Σ_t log π(y_t | x, y_<t), in nats, over the tokens of the response only (end of sequence included,
    prompt excluded).

Batches are padded on the right and run without an attention mask. This is exact, because under causal attention no real
token attends to the padding after it, and it allows the fastest attention kernels. The output layer sees only the
positions that predict a response token. Later operations on the logits (soft capping, scaling) still apply, because
they are part of the model's own forward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from duelist.errors import DataError, ModelError, NumericalError
from duelist.models.policy.checkpointing import evaluation_mode
from duelist.models.policy.padding import padded
from duelist.models.policy.positions import context_length, length_thresholds, regime
from duelist.models.policy.probes import require_causal
from duelist.models.policy.sharding import add_up, own_share
from duelist.models.policy.target_log_probs import TargetLogProbs
from duelist.models.policy.vocabulary import check_vocabulary
from duelist.types import Response

DEFAULT_MAX_TOKENS = 8192


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


def response_batches(
    model: torch.nn.Module, sequences: Sequence[TokenizedResponse], max_tokens: int, square: bool = True
) -> Iterator[tuple[NDArray[np.int64], ResponseBatch]]:
    """Yield `sequences` in the batches of `plan_batches`, on the device of the model's input embeddings.

    Yields:
        index_B: the batch's positions in `sequences`.
        batch: the padded batch.
    """
    for index_B in plan_batches(model, sequences, max_tokens, square):
        yield index_B, _batch(model, sequences, index_B)


def own_batches(
    model: torch.nn.Module, sequences: Sequence[TokenizedResponse], max_tokens: int, square: bool = True
) -> Iterator[tuple[NDArray[np.int64], ResponseBatch, bool]]:
    """Yield the batches that this process runs: all, unless the model is sharded over processes (`sharding`).

    Yields:
        index_B: the batch's positions in `sequences`.
        batch: the padded batch.
        given: whether this process gives its results; otherwise it runs it because a pass takes all processes.
    """
    for index_B, given in own_share(model, plan_batches(model, sequences, max_tokens, square)):
        yield index_B, _batch(model, sequences, index_B), given


def _batch(model: torch.nn.Module, sequences: Sequence[TokenizedResponse], index_B: NDArray[np.int64]) -> ResponseBatch:
    longest = sequences[index_B[0]].input_length
    # One more column if only its last token puts a sequence beyond the threshold.
    width = longest + 1 if longest - 1 in _thresholds(model) else longest
    return ResponseBatch.of([sequences[i] for i in index_B], model.get_input_embeddings().weight.device, width)


def _thresholds(model: torch.nn.Module) -> list[int]:
    return [threshold - 1 for threshold in length_thresholds(model.config)]


def check_sequences(model: torch.nn.Module, sequences: Sequence[TokenizedResponse]) -> None:
    """Require sequences within the model's context and vocabulary: nothing is ever truncated silently.

    Raises:
        DataError: if one is not; the message names the longest sequence and the limit, or the token id and the
            vocabulary.
    """
    limit = context_length(model.config)
    longest = max((s.input_length for s in sequences), default=0)
    if limit is not None and longest > limit:
        raise DataError(
            f"A prompt with its response may have at most {limit} tokens for this model, but one has {longest}. "
            "Drop or shorten it, or use a model with a longer context."
        )
    check_vocabulary(model.get_input_embeddings(), (s.prompt_ids for s in sequences))
    check_vocabulary(model.get_input_embeddings(), (s.response_ids[:-1] for s in sequences))
    check_vocabulary(model.get_output_embeddings(), (s.response_ids for s in sequences))


def response_token_log_probs(model: torch.nn.Module, batch: ResponseBatch) -> torch.Tensor:
    """Run the model once and return the log-probability of each response token.

    Gradients flow if they are enabled. The caller sets evaluation mode.

    Args:
        model: a causal language model of transformers, with or without a PEFT adapter.
        batch: the batch, on the device of the model's input embeddings.

    Returns:
        log_probs_T: in nats; float32, or float64 if the logits are float64.

    Raises:
        ModelError: if the model's output layer cannot be accessed.
    """
    logits_TV = response_logits(model, batch)
    return TargetLogProbs.apply(logits_TV, batch.target_T.to(logits_TV.device))


def response_logits(model: torch.nn.Module, batch: ResponseBatch) -> torch.Tensor:
    """Run the model once and return the logits that predict each response token, `[T, V]`.

    Raises:
        ModelError: if the model's output layer cannot be accessed.
    """
    output_layer = model.get_output_embeddings()
    if output_layer is None:
        raise ModelError(
            f"A causal language model with an output layer is required, but {type(model).__name__} has none. Load it "
            "with AutoModelForCausalLM."
        )

    def keep_response_positions(_: torch.nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        hidden_RLH = inputs[0]
        hidden_TH = hidden_RLH[batch.row_T.to(hidden_RLH.device), batch.column_T.to(hidden_RLH.device)]
        return (hidden_TH.unsqueeze(0), *inputs[1:])

    handle = output_layer.register_forward_pre_hook(keep_response_positions)
    try:
        logits = model(input_ids=batch.input_ids_RL, use_cache=False).logits
    finally:
        handle.remove()
    if logits.ndim != 3 or logits.shape[:2] != (1, len(batch.target_T)):
        raise ModelError(
            f"The logits must come from the model's output layer, one row for each of {len(batch.target_T)} response "
            f"tokens, but they have the shape {tuple(logits.shape)}. Switch off fused or patched language-model heads."
        )
    return logits[0]


def sequence_log_probs(
    model: torch.nn.Module,
    sequences: Sequence[TokenizedResponse],
    *,
    max_tokens: int = DEFAULT_MAX_TOKENS,
    progress: Callable[[int], None] | None = None,
) -> NDArray[np.float64]:
    """Return log π(y | x) of R responses, without gradients and without dropout.

    Every process of a sharded model makes this call, computes a part of the numbers and gets all of them.

    Args:
        model: a causal language model of transformers, with or without a PEFT adapter. The modes of its modules are
            restored.
        sequences: the R responses.
        max_tokens: maximum number of tokens per pass, padding included.
        progress: called after each batch with its number of sequences.

    Returns:
        log_probs_R: in nats, in the order of `sequences`.

    Raises:
        DataError: if a sequence is longer than the model's context, or a token id is outside its vocabulary.
        ModelError: if the model is not causal, or its output layer cannot be accessed.
        NumericalError: if a log-probability is not finite.
    """
    check_sequences(model, sequences)
    require_causal(model)
    log_probs_R = np.zeros(len(sequences), dtype=np.float64)
    with evaluation_mode(model), torch.inference_mode():
        for index_B, batch, given in own_batches(model, sequences, max_tokens):
            log_prob_B = batch.sum_per_response(response_token_log_probs(model, batch))
            if given:
                log_probs_R[index_B] = log_prob_B
            if given and progress is not None:
                progress(len(index_B))
    add_up(model, log_probs_R)
    return log_probs_R
