"""Per-response gradients of log π(y | x) in the LoRA parameters, in one forward and one backward pass per batch.

A linear layer's weight gradient for one sequence is Σ_t g_t x_tᵀ, x_t its input and g_t the gradient of its output at
token t. A tap on each LoRA matrix keeps x, waits for g, multiplies the two sequence by sequence, projects the product
(`duelist.models.sketch`) and adds it to a B × D accumulator: neither a response's full gradient nor a projection matrix
ever exists. The LoRA weights themselves are frozen meanwhile, so autograd does not also add up their gradient over the
batch: the cost is that of one ordinary training step.

Parameters are ordered by name (`….lora_A.default.weight` before `….lora_B.default.weight` of the same layer, layers
by the sort order of their names), each matrix row-major.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers.modeling_layers import GradientCheckpointingLayer

from duelist.errors import ModelError, NumericalError
from duelist.models.logprobs import (
    ResponseBatch,
    TokenizedResponse,
    batches_by_tokens,
    check_lengths,
    evaluation_mode,
    response_token_log_probs,
)
from duelist.models.lora_matrices import lora_matrices
from duelist.models.sketch import SparseSketch

# Per-sequence products are made for as many sequences at a time as fit in this many numbers (64 MiB in float32).
_PRODUCT_NUMBERS = 2**24


class LoraGradients:
    """∇ log π(y | x) of responses in the parameters of a model's active LoRA adapter. Final.

    Args:
        peft_model: a causal language model with one active LoRA adapter on linear layers. Only that adapter counts.
        dimension: D, to which gradients are projected, or None for all parameters (small models).
        seed: which projection of the family.
        max_tokens: the most tokens run at once, padding included.

    Attributes:
        parameter_count: the number of parameters of the adapter.
        parameter_names: their matrices' names, in order.
        dimension: D.

    Raises:
        ModelError: if there is no such adapter, or it trains what the taps cannot see.
    """

    def __init__(self, peft_model: torch.nn.Module, *, dimension: int | None, seed: int, max_tokens: int) -> None:
        self._model = peft_model
        self._max_tokens = max_tokens
        matrices = lora_matrices(peft_model)
        self.parameter_names = tuple(matrices)
        self._sketch = SparseSketch([m.weight.numel() for m in matrices.values()], dimension, seed)
        self.parameter_count = self._sketch.parameter_count
        self.dimension = self._sketch.dimension

    def __call__(
        self, sequences: Sequence[TokenizedResponse], progress: Callable[[int], None] | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.float32] | NDArray[np.float64]]:
        """Differentiate log π(y | x) of R responses, without dropout. The model is as before when the call returns.

        Args:
            sequences: the R responses.
            progress: called after each batch with the number of sequences it held.

        Returns:
            log_probs_R: log π(y | x) in nats, in the order of `sequences`.
            gradient_RD: their projected gradients, float32, or float64 where the adapter is float64.

        Raises:
            DataError: if a sequence is longer than the model's context.
            ModelError: if the adapter changed since construction, or an adapted layer took no part.
            NumericalError: if a log-probability or a gradient is not finite.
        """
        model = self._model
        matrices = lora_matrices(model)
        if tuple(matrices) != self.parameter_names:
            raise ModelError(
                "The adapter must be the one LoraGradients was made for, but another one is active now. Activate that "
                "one again with set_adapter, or make a new LoraGradients."
            )
        check_lengths(model, sequences)
        log_probs_R = np.empty(len(sequences), dtype=np.float64)
        is_double = _accumulator_dtype(matrices) == torch.float64
        gradient_RD = np.empty((len(sequences), self.dimension), dtype=np.float64 if is_double else np.float32)
        with torch.inference_mode(False), torch.enable_grad(), _frozen(model), _without_dropout(model):
            for index_B in batches_by_tokens([s.input_length for s in sequences], self._max_tokens):
                log_probs_R[index_B], gradient_RD[index_B] = self._run(matrices, [sequences[i] for i in index_B])
                if progress is not None:
                    progress(len(index_B))
        return log_probs_R, gradient_RD

    def _run(
        self, matrices: Mapping[str, torch.nn.Linear], sequences: Sequence[TokenizedResponse]
    ) -> tuple[NDArray[np.float64], NDArray[Any]]:
        """One batch: log_probs_B and gradient_BD. Nothing of its graph outlives the call."""
        device = self._model.get_input_embeddings().weight.device
        dtype = _accumulator_dtype(matrices)
        batch = ResponseBatch.of(sequences, device)
        accumulator_BW = self._sketch.accumulator(len(sequences), dtype, device)
        recorder = _Recorder(self._sketch, accumulator_BW, batch)
        with _tapped(self._model, matrices, recorder):
            log_probs_M = response_token_log_probs(self._model, batch)
            torch.autograd.backward(log_probs_M.sum())
        recorder.check_complete(self.parameter_names)
        log_probs_B = batch.sum_per_response(log_probs_M)
        gradient_BD: NDArray[Any] = self._sketch.finish(accumulator_BW).cpu().numpy()
        if not np.isfinite(gradient_BD).all():
            raise NumericalError(
                "Gradients must be finite, but one is not, although its log-probability is. Load the model in "
                "float32, or look for diverged weights (lower the learning rate)."
            )
        return log_probs_B, gradient_BD


def _accumulator_dtype(matrices: Mapping[str, torch.nn.Linear]) -> torch.dtype:
    return torch.promote_types(next(iter(matrices.values())).weight.dtype, torch.float32)


class _Recorder:
    """Receives each tapped matrix's inputs and output gradients of one batch, and keeps only their sketch."""

    def __init__(self, sketch: SparseSketch, accumulator_BW: torch.Tensor, batch: ResponseBatch) -> None:
        self._sketch = sketch
        self._accumulator_BW = accumulator_BW
        self._batch = batch
        self._seen: set[int] = set()

    def record(self, block: int, at_output: bool, input_: torch.Tensor, grad: torch.Tensor) -> None:
        """Add one matrix's gradient of every sequence of the batch.

        Args:
            block: the matrix's place in the order of parameters.
            at_output: whether it belongs to the output layer, which sees the response tokens of all sequences in a
                row, not one padded row per sequence.
            input_: the matrix's input, B × L × in (1 × M × in at the output layer).
            grad: the gradient of its output, B × L × out (1 × M × out at the output layer).
        """
        self._seen.add(block)
        input_, grad = input_.to(self._accumulator_BW.dtype), grad.to(self._accumulator_BW.dtype)
        if at_output:
            spans = np.split(np.arange(input_.shape[1]), self._batch.start_R[1:])
            for row, span in enumerate(spans):
                tokens = slice(int(span[0]), int(span[-1]) + 1)
                self._add(block, slice(row, row + 1), input_[:, tokens], grad[:, tokens])
            return
        rows, columns = self._batch.input_ids_RL.shape
        if input_.ndim == 2 and len(input_) == rows * columns:  # some models flatten sequences before their MLP
            input_, grad = input_.unflatten(0, (rows, columns)), grad.unflatten(0, (rows, columns))
        if input_.ndim != 3 or input_.shape[:2] != (rows, columns):
            raise ModelError(
                f"Adapted layers must see {rows} sequences of {columns} tokens, but one got an input of the shape "
                f"{tuple(input_.shape)}. Leave layers that see only some of the tokens out of target_modules."
            )
        step = max(1, _PRODUCT_NUMBERS // (input_.shape[2] * grad.shape[2]))
        for start in range(0, rows, step):
            some = slice(start, start + step)
            self._add(block, some, input_[some], grad[some])

    def _add(self, block: int, rows: slice, input_: torch.Tensor, grad: torch.Tensor) -> None:
        product = torch.bmm(grad.transpose(1, 2), input_)
        self._sketch.add_(self._accumulator_BW[rows], block, product.flatten(1))

    def check_complete(self, names: Sequence[str]) -> None:
        """Refuse a batch in which an adapted layer took no part: its gradient would silently be zero."""
        silent = [name for block, name in enumerate(names) if block not in self._seen]
        if silent:
            raise ModelError(
                f"Every adapted layer must take part in the forward pass, but {len(silent)} LoRA matrices did not, "
                f"such as {silent[0]}. Leave layers that text does not reach out of target_modules, and do not "
                "compile or fuse the adapted layers."
            )


class _Tap(torch.autograd.Function):  # type: ignore[misc]
    """The identity on a matrix's output, which hands (input, gradient of the output) to `record` on the way back.

    The input goes through `save_for_backward`: a closure on a tensor hook would keep it alive under gradient
    checkpointing, which exists to let go of it.
    """

    @staticmethod
    def forward(
        ctx: Any, output: torch.Tensor, input_: torch.Tensor, record: Callable[[torch.Tensor, torch.Tensor], None]
    ) -> torch.Tensor:
        ctx.record = record
        ctx.save_for_backward(input_)
        return output.view_as(output)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (input_,) = ctx.saved_tensors
        with torch.no_grad():
            ctx.record(input_, grad)
        return grad, None, None


@contextmanager
def _tapped(model: torch.nn.Module, matrices: Mapping[str, torch.nn.Linear], recorder: _Recorder) -> Iterator[None]:
    """Put a tap on every matrix. Each tap is where gradients start to flow if they do not yet."""
    output_modules = set(model.get_output_embeddings().modules()) if model.get_output_embeddings() else set()
    with ExitStack() as hooks:
        if _checkpointed_layers(model):
            # A reentrant checkpoint passes gradients on only if its own input wants them.
            embeddings = model.get_input_embeddings()
            hooks.callback(embeddings.register_forward_hook(lambda _, __, output: _wanting_grad(output)).remove)
        for block, matrix in enumerate(matrices.values()):

            def tap(
                _: torch.nn.Module,
                inputs: tuple[torch.Tensor, ...],
                output: torch.Tensor,
                block: int = block,
                at_output: bool = matrix in output_modules,
            ) -> torch.Tensor:
                def record(input_: torch.Tensor, grad: torch.Tensor) -> None:
                    recorder.record(block, at_output, input_, grad)

                return _Tap.apply(_wanting_grad(output), inputs[0], record)

            hooks.callback(matrix.register_forward_hook(tap).remove)
        yield


def _wanting_grad(tensor: torch.Tensor) -> torch.Tensor:
    return tensor if tensor.requires_grad else tensor.requires_grad_()


def _checkpointed_layers(model: torch.nn.Module) -> list[torch.nn.Module]:
    return [m for m in model.modules() if isinstance(m, GradientCheckpointingLayer) and m.gradient_checkpointing]


@contextmanager
def _frozen(model: torch.nn.Module) -> Iterator[None]:
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)


@contextmanager
def _without_dropout(model: torch.nn.Module) -> Iterator[None]:
    """Evaluation mode, but with gradient checkpointing still at work where it is enabled.

    transformers checkpoints a layer only in training mode. So exactly those layers, without their children, are put
    in training mode, and what dropout rates they hold themselves are set to zero.
    """
    with evaluation_mode(model):
        layers = _checkpointed_layers(model)
        rates = [
            (layer, name, rate)
            for layer in layers
            for name, rate in vars(layer).items()
            if "drop" in name and isinstance(rate, float)
        ]
        try:
            for layer in layers:
                layer.training = True
            for layer, name, _ in rates:
                setattr(layer, name, 0.0)
            yield
        finally:
            for layer in layers:
                layer.training = False
            for layer, name, rate in rates:
                setattr(layer, name, rate)
