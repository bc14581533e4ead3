"""Log-probabilities of responses; no other module of the package computes them.

    log π(y | x) = Σ_t log π(y_t | x, y_<t), in nats, over the tokens of the response only (end of sequence included,
    prompt excluded).

Batches are padded on the right and run without an attention mask. This is exact, because under causal attention no real
token attends to the padding after it, and it allows the fastest attention kernels. The output layer sees only the
positions that predict a response token. Later operations on the logits (soft capping, scaling) still apply, because
they are part of the model's own forward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from duelist.errors import DataError, ModelError
from duelist.models.policy.checkpointing import evaluation_mode
from duelist.models.policy.positions import context_length
from duelist.models.policy.probes import require_causal
from duelist.models.policy.response_batches import DEFAULT_MAX_TOKENS, ResponseBatch, TokenizedResponse, over_batches
from duelist.models.policy.target_log_probs import TargetLogProbs
from duelist.models.policy.vocabulary import check_vocabulary


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
    divided: bool = True,
) -> NDArray[np.float64]:
    """Return log π(y | x) of R responses, without gradients and without dropout.

    Every process of a sharded model makes this call, computes a part of the numbers and gets all of them.

    Args:
        model: a causal language model of transformers, with or without a PEFT adapter. The modes of its modules are
            restored.
        sequences: the R responses.
        max_tokens: maximum number of tokens per pass, padding included.
        progress: called after each batch with its number of sequences.
        divided: False if each process of a sharded model has sequences of its own, in as many batches as the others.

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

    def compute(batch: ResponseBatch) -> NDArray[np.float64]:
        return batch.sum_per_response(response_token_log_probs(model, batch))

    with evaluation_mode(model), torch.inference_mode():
        for index_B, log_prob_B in over_batches(model, sequences, max_tokens, compute, divided=divided):
            log_probs_R[index_B] = log_prob_B
            if progress is not None:
                progress(len(index_B))
    return log_probs_R
