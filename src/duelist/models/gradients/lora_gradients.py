"""Per-response gradients of log π(y | x) in the LoRA parameters, in one forward and one backward pass per batch.

Reference: ActiveDPO (arXiv 2505.19241), Section 3.3.

A linear layer's weight gradient for one sequence is Σ_t g_t x_tᵀ, where x_t is the layer's input and g_t the gradient
of its output at token t. A tap on each LoRA matrix stores x, waits for g and multiplies the two per sequence. It
projects the product (`sketch.py`) and adds it to a B × D accumulator. Neither a response's full gradient nor a
projection matrix is ever stored. The LoRA weights are frozen meanwhile, so autograd does not also sum their gradient
over the batch. The cost is that of one ordinary training step.

Before its first batch, a model is tested on two short responses. Their gradients must be the same together and alone,
and, if gradient checkpointing is on, with and without it.

Parameters are ordered by name (`….lora_A.default.weight` before `….lora_B.default.weight` of the same layer, layers
by the sort order of their names), each matrix row-major.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from duelist.errors import ModelError, NumericalError
from duelist.models.gradients.sketch import SparseSketch
from duelist.models.gradients.taps import tapped
from duelist.models.policy.checkpointing import checkpointed_evaluation, checkpointed_layers, evaluation_mode
from duelist.models.policy.logprobs import check_sequences, response_token_log_probs
from duelist.models.policy.lora_matrices import leave_out_experts, lora_matrices, working_targets
from duelist.models.policy.positions import context_length
from duelist.models.policy.probes import Proven, probe_ids, require_causal
from duelist.models.policy.response_batches import ResponseBatch, TokenizedResponse, over_batches
from duelist.models.policy.sharding import require_weights_in_place, require_whole_activations
from duelist.models.policy.trained_flags import frozen

# Per-sequence products are computed for as many sequences at a time as fit in this many numbers (64 MiB in float32).
_PRODUCT_NUMBERS = 2**24

# Largest relative difference of a gradient that counts as rounding. First value: the same batch with gradient
# checkpointing on and off. Second value: a response in a batch and alone, when a mixture may route to other experts.
_ROUNDING = {torch.float64: (1e-5, 1e-4), torch.float32: (1e-3, 1e-2), torch.bfloat16: (5e-2, 0.5)}

_PROVEN = Proven()


class LoraGradients:
    """Gradients ∇ log π(y | x) of responses in the parameters of a model's active LoRA adapter. Final.

    Args:
        peft_model: a causal language model with one active LoRA adapter on linear layers. Gradients cover the adapter's
            trained matrices (`requires_grad`), or all of its matrices if all are frozen.
        dimension: D, the projection dimension, or None for all parameters (small models).
        seed: seed of the projection.
        max_tokens: maximum number of tokens per pass, padding included.

    Attributes:
        parameter_count: number of parameters that the gradients cover.
        parameter_names: names of their matrices, in order.
        dimension: D.
        projection: the projection dimension that was asked for; None for no projection.
        dtype: type of the gradients: float32, or float64 if the adapter is float64.
        frozen: whether the whole adapter is frozen, so that gradients cover all of it.

    Raises:
        ModelError: if there is no such adapter, it trains parameters that the taps cannot observe, or the model is
            tensor-parallel or offloaded.
    """

    def __init__(self, peft_model: torch.nn.Module, *, dimension: int | None, seed: int, max_tokens: int) -> None:
        require_whole_activations(peft_model)
        require_weights_in_place(peft_model)
        self._model = peft_model
        self._max_tokens = max_tokens
        self.projection = dimension
        matrices = lora_matrices(peft_model)
        self.parameter_names = tuple(matrices)
        self.frozen = not any(matrix.weight.requires_grad for matrix in matrices.values())
        self._sketch = SparseSketch([m.weight.numel() for m in matrices.values()], dimension, seed)
        self.parameter_count = self._sketch.parameter_count
        self.dimension = self._sketch.dimension
        is_double = _accumulator_dtype(matrices) == torch.float64
        self.dtype = np.dtype(np.float64 if is_double else np.float32)

    @property
    def note(self) -> str | None:
        """Note on the parameters that gradients cover, or None."""
        if not self.frozen:
            return None
        return (
            f"No matrix of the adapter is trained (requires_grad is False for all): gradients count all "
            f"{self.parameter_count:,} of its parameters."
        )

    def __call__(
        self,
        sequences: Sequence[TokenizedResponse],
        progress: Callable[[int], None] | None = None,
        divided: bool = True,
    ) -> tuple[NDArray[np.float64], NDArray[np.float32] | NDArray[np.float64]]:
        """Differentiate log π(y | x) of R responses, without dropout. The model's state is restored.

        Every process of a model sharded by FSDP2 makes this call, computes a part of the numbers and gets all of them.

        Args:
            sequences: the R responses.
            progress: called after each batch with its number of sequences.
            divided: see `sequence_log_probs`.

        Returns:
            log_probs_R: log π(y | x) in nats, in the order of `sequences`.
            gradient_RD: their projected gradients, of type `dtype`.

        Raises:
            DataError: if a sequence is longer than the model's context, or a token id is outside its vocabulary.
            ModelError: if the adapter changed since construction, an adapted layer took no part, the model is not
                causal, or its gradients depend on the batch.
            NumericalError: if a log-probability or a gradient is not finite.
        """
        model = self._model
        matrices = lora_matrices(model)
        if tuple(matrices) != self.parameter_names:
            raise ModelError(
                "The adapter must be the one LoraGradients was made for, but another one is active now, or other "
                "matrices of it are trained. Activate that one again with set_adapter, or make a new LoraGradients."
            )
        check_sequences(model, sequences)
        require_causal(model)
        log_probs_R = np.zeros(len(sequences), dtype=np.float64)
        gradient_RD = np.zeros((len(sequences), self.dimension), dtype=self.dtype)
        with torch.inference_mode(False), torch.enable_grad(), frozen(model):
            if len(sequences):
                with suppress(NumericalError):  # the error for the responses themselves is clearer
                    self._require_agreement(matrices)
            with checkpointed_evaluation(model):
                run = partial(self._run, matrices)
                for index_B, (log_prob_B, gradient_BD) in over_batches(
                    model, sequences, self._max_tokens, run, square=False, divided=divided
                ):
                    log_probs_R[index_B], gradient_RD[index_B] = log_prob_B, gradient_BD
                    if progress is not None:
                        progress(len(index_B))
        return log_probs_R, gradient_RD

    def _require_agreement(self, matrices: Mapping[str, torch.nn.Linear]) -> None:
        """Require gradients that depend neither on the batch nor on gradient checkpointing.

        Raises:
            ModelError: if they depend on one of them.
        """
        checkpointing = bool(checkpointed_layers(self._model))
        proof = (self.parameter_names, checkpointing)
        if (self._model, proof) in _PROVEN:
            return
        long, short = probe_ids(self._model, 2, min(6, (context_length(self._model.config) or 5) + 1)).tolist()
        sequences = [TokenizedResponse(long[:1], long[1:]), TokenizedResponse(short[:1], short[1:-2] or short[1:2])]
        device = self._model.get_input_embeddings().weight.device
        together = ResponseBatch.of(sequences, device)
        same, in_company = _ROUNDING.get(next(iter(matrices.values())).weight.dtype, _ROUNDING[torch.float32])
        if (dtype := self._model.get_input_embeddings().weight.dtype) in _ROUNDING:
            same, in_company = max(same, _ROUNDING[dtype][0]), max(in_company, _ROUNDING[dtype][1])
        with evaluation_mode(self._model):
            expected_2D = self._run(matrices, together)[1]
            alone_2D = np.concatenate([self._run(matrices, ResponseBatch.of([s], device))[1] for s in sequences])
        if (difference := _relative_difference(expected_2D, alone_2D)) > in_company:
            raise ModelError(
                f"A response's gradient must not depend on what is run with it, but differs by {100 * difference:.3g} "
                "% of its norm from the one it has alone: a layer of the adapter mixes sequences or sees them in "
                f"another order. {leave_out_experts(self._model)}"
            )
        if checkpointing:
            with checkpointed_evaluation(self._model):
                found_2D = self._run(matrices, together)[1]
            if (difference := _relative_difference(found_2D, expected_2D)) > same:
                raise ModelError(
                    f"Gradients must be the same with gradient checkpointing as without, but differ by "
                    f"{100 * difference:.3g} % of their norm: call model.gradient_checkpointing_disable(), and lower "
                    "max_tokens if memory is short."
                )
        _PROVEN.add(self._model, proof)

    def _run(
        self, matrices: Mapping[str, torch.nn.Linear], batch: ResponseBatch
    ) -> tuple[NDArray[np.float64], NDArray[Any]]:
        """Run one batch and return log_probs_B and gradient_BD. Its graph is freed when the call returns."""
        recorder = _Recorder(self._sketch, _accumulator_dtype(matrices), batch)
        with tapped(self._model, matrices.values(), recorder.record):
            log_probs_T = response_token_log_probs(self._model, batch)
            if not log_probs_T.requires_grad:
                raise ModelError(
                    f"Gradients must reach the adapter, but {type(self._model.get_base_model()).__name__} cuts them "
                    "off with a backward pass of its own: use another model, or a rule that needs no gradients."
                )
            torch.autograd.backward(log_probs_T.sum())
        recorder.check_complete(self.parameter_names, working_targets(self._model))
        log_probs_B = batch.sum_per_response(log_probs_T)
        gradient_BD: NDArray[Any] = self._sketch.finish(recorder.total()).cpu().numpy()
        if not np.isfinite(gradient_BD).all():
            raise NumericalError(
                "Gradients must be finite, but one is not, although its log-probability is. Load the model in "
                "float32, or look for diverged weights (lower the learning rate)."
            )
        return log_probs_B, gradient_BD


def _accumulator_dtype(matrices: Mapping[str, torch.nn.Linear]) -> torch.dtype:
    return torch.promote_types(next(iter(matrices.values())).weight.dtype, torch.float32)


def _relative_difference(found_RD: NDArray[Any], expected_RD: NDArray[Any]) -> float:
    norm = max(float(np.linalg.norm(expected_RD, axis=1).max()), 1e-30)
    return float(np.linalg.norm(found_RD.astype(np.float64) - expected_RD, axis=1).max()) / norm


class _Recorder:
    """Recorder of one batch: sketches each tapped matrix's inputs and output gradients and stores nothing else.

    Each device has an accumulator of its own, so that only sketches go from one to another.
    """

    def __init__(self, sketch: SparseSketch, dtype: torch.dtype, batch: ResponseBatch) -> None:
        self._sketch = sketch
        self._dtype = dtype
        self._batch = batch
        self._accumulators: dict[torch.device, torch.Tensor] = {}  # accumulator_BW, by device
        self._seen: set[int] = set()

    def record(self, block: int, at_output: bool, input_: torch.Tensor, grad: torch.Tensor) -> None:
        """Add one matrix's gradient for every sequence of the batch.

        Args:
            block: the matrix's index in the order of parameters.
            at_output: whether it belongs to the output layer, which sees the response tokens of all sequences
                concatenated, not one padded row per sequence.
            input_: the matrix's input, B × … × in (1 × M × in at the output layer). The dimensions in between (tokens;
                one head and tokens, in multi-head latent attention) are summed over.
            grad: the gradient of its output, B × … × out (1 × M × out at the output layer).
        """
        self._seen.add(block)
        input_, grad = input_.to(self._dtype), grad.to(self._dtype)
        if at_output:
            spans = np.split(np.arange(input_.shape[1]), self._batch.start_R[1:])
            for row, span in enumerate(spans):
                tokens = slice(int(span[0]), int(span[-1]) + 1)
                self._add(block, slice(row, row + 1), input_[:, tokens], grad[:, tokens])
            return
        rows, columns = self._batch.input_ids_RL.shape
        if input_.ndim == 2 and len(input_) == rows * columns:  # some models flatten sequences before their MLP
            input_, grad = input_.unflatten(0, (rows, columns)), grad.unflatten(0, (rows, columns))
        if input_.ndim < 3 or len(input_) != rows:
            raise ModelError(
                f"Adapted layers must see {rows} sequences of {columns} tokens, but one got an input of the shape "
                f"{tuple(input_.shape)}. Leave layers that see only some of the tokens, or tokens in another order, "
                "out of target_modules."
            )
        input_, grad = input_.flatten(1, -2), grad.flatten(1, -2)
        step = max(1, _PRODUCT_NUMBERS // (input_.shape[2] * grad.shape[2]))
        for start in range(0, rows, step):
            some = slice(start, start + step)
            self._add(block, some, input_[some], grad[some])

    def _add(self, block: int, rows: slice, input_: torch.Tensor, grad: torch.Tensor) -> None:
        product = torch.bmm(grad.transpose(1, 2), input_)
        if product.device not in self._accumulators:
            size = len(self._batch.start_R)
            self._accumulators[product.device] = self._sketch.accumulator(size, self._dtype, product.device)
        self._sketch.add_(self._accumulators[product.device][rows], block, product.flatten(1))

    def total(self) -> torch.Tensor:
        """Return the accumulators of all devices, added up on one of them, `[B, W]`."""
        first, *others = self._accumulators.values()
        for other in others:
            first += other.to(first.device)
        return first

    def check_complete(self, names: Sequence[str], works: str | None) -> None:
        """Raise if an adapted layer took no part in the batch: its gradient would silently be zero."""
        silent = [name for block, name in enumerate(names) if block not in self._seen]
        if silent:
            raise ModelError(
                f"Every adapted layer must take part in the forward pass, but {len(silent)} LoRA matrices did not, "
                f"such as {silent[0]}. Leave layers that text or its gradient does not reach out of target_modules"
                f"{f' ({works})' if works else ''}, and do not compile or fuse the adapted layers."
            )
