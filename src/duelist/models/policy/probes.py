"""Probes of the assumptions behind batched passes, run on a few tokens once per model in memory.

Sequences are padded on the right without an attention mask. That is exact only for causal models.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary, WeakSet

import torch
from peft import PeftModel

from duelist.errors import ModelError
from duelist.models.policy.checkpointing import evaluation_mode
from duelist.models.policy.lora_matrices import working_targets
from duelist.models.policy.positions import context_length
from duelist.models.policy.process_state import global_generators_kept
from duelist.models.policy.trained_flags import trained_kept
from duelist.models.policy.vocabulary import vocabulary_size

_TOKENS = 8  # of the probe; the second half is changed and excluded

# See `rounding`. Mixtures of experts round differently with every other token in the batch.
_ROUNDING = {torch.float16: 2e-2, torch.bfloat16: 1e-1}
_ROUNDING_FLOAT32 = 1e-3

_LOOKING_AHEAD = 1e-6  # relative to the derivative in a position's own tokens; kernels may leave a small remainder

_CAUSAL: WeakSet[torch.nn.Module] = WeakSet()


def require_causal(model: torch.nn.Module) -> None:
    """Require a model whose logits depend neither on later tokens nor on their number. The model's state is restored.

    Raises:
        ModelError: if they depend on them, or the model does not run on token ids alone.
    """
    base = model.get_base_model() if isinstance(model, PeftModel) else model
    if base in _CAUSAL:
        return
    tokens = min(_TOKENS, context_length(model.config) or _TOKENS)
    kept = (tokens + 1) // 2
    ids_2T = probe_ids(model, 2, tokens)
    ids_2T[1, :kept] = ids_2T[0, :kept]
    with evaluation_mode(model), torch.no_grad(), global_generators_kept():
        try:
            together_2TV = model(input_ids=ids_2T, use_cache=False).logits[:, :kept].float()
            alone_TV = model(input_ids=ids_2T[:1, :kept], use_cache=False).logits[0].float()
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # a model may raise any error
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            if isinstance(model, PeftModel) and _runs_without_adapter(model, ids_2T):
                raise ModelError(
                    f"An adapted model must run, but {type(base).__name__} does so only without its adapter: {reason} "
                    f"Adapt other layers: {working_targets(base) or 'those of attention'}."
                ) from error
            raise ModelError(
                f"A causal language model that runs on token ids alone is required, but {type(base).__name__} raised "
                f"on {tokens} tokens: {reason} Use a text model that transformers' AutoModelForCausalLM loads."
            ) from error
    if not alone_TV.isfinite().all() or not together_2TV.isfinite().all():
        return  # the later computation reports it
    difference = float((together_2TV - alone_TV).abs().max() / alone_TV.abs().max().clamp(min=1e-30))
    if difference > rounding(model) or _looking_ahead(model, ids_2T, kept) > _LOOKING_AHEAD:
        raise ModelError(
            f"A causal language model is required, whose logits do not depend on later tokens or on their number, but "
            f"those of {type(base).__name__} do: {100 * difference:.3g} % here. Use a decoder; a BERT-like "
            "model must be trained and loaded as one (is_decoder=True), XLM with causal=True."
        )
    _CAUSAL.add(base)


def _runs_without_adapter(model: PeftModel, ids_2T: torch.Tensor) -> bool:
    try:
        with trained_kept(model), model.disable_adapter():
            model(input_ids=ids_2T, use_cache=False)
    except Exception:  # as above
        return False
    return True


def _looking_ahead(model: Any, ids_2T: torch.Tensor, kept: int) -> float:
    """Return the derivative of the first `kept` logits in later tokens' embeddings, relative to that in their own.

    Masked attention's derivative is exactly 0, in every precision and for every expert. A change of the logits would be
    less sensitive: bfloat16 rounds small changes away. The result is also 0 if the model has no derivative or its
    positions are not tokens.
    """
    nudges: list[torch.Tensor] = []

    def nudge(_: torch.nn.Module, __: Any, output: torch.Tensor) -> torch.Tensor:
        nudges.append(torch.zeros_like(output, requires_grad=True))
        return output + nudges[-1]

    handle = model.get_input_embeddings().register_forward_hook(nudge)
    try:
        with evaluation_mode(model), torch.enable_grad(), global_generators_kept():
            logits_2TV = model(input_ids=ids_2T, use_cache=False).logits[:, :kept].float()
            if not logits_2TV.requires_grad:
                return 0.0
            weights_V = torch.linspace(-1, 1, logits_2TV.shape[-1], device=logits_2TV.device)
            gradients = torch.autograd.grad((logits_2TV * weights_V).sum(), nudges, allow_unused=True)
    finally:
        handle.remove()
    tokens = ids_2T.shape[1]
    sizes = [g.float().abs().amax(dim=2) for g in gradients if g is not None and g.ndim == 3]
    largest_XT = [s.amax(dim=s.shape.index(2)) for s in sizes if sorted(s.shape) == [2, tokens]]  # XLNet: tokens first
    if not largest_XT:
        return 0.0
    largest_T = torch.stack(largest_XT).amax(dim=0)
    return float(largest_T[kept:].amax() / largest_T[:kept].amax().clamp(min=1e-30))


def probe_ids(model: Any, rows: int, tokens: int) -> torch.Tensor:
    """Return token ids that differ between rows, on the device of the model's input embeddings."""
    embeddings = model.get_input_embeddings()
    size = vocabulary_size(embeddings) or 2
    ids = (torch.arange(rows)[:, None] * (1 + size // 3) + torch.arange(tokens) * 7 + 3) % size
    return ids.to(embeddings.weight.device)


class Proven:
    """Record of properties proven for a model, kept while the model is in memory."""

    def __init__(self) -> None:
        self._found: WeakKeyDictionary[torch.nn.Module, set[object]] = WeakKeyDictionary()

    def __contains__(self, fact: tuple[torch.nn.Module, object]) -> bool:
        model, what = fact
        return what in self._found.get(model, set())

    def add(self, model: torch.nn.Module, what: object) -> None:
        self._found.setdefault(model, set()).add(what)


def rounding(model: torch.nn.Module) -> float:
    """Return the largest difference of logits that counts as rounding, relative to the largest logit."""
    dtype = next(p.dtype for p in model.parameters() if p.is_floating_point())
    return _ROUNDING.get(dtype, _ROUNDING_FLOAT32)
