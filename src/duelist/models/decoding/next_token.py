"""Next-token logits of the policy and its reference, with their caches, and sampling of the next token."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from peft import PeftModel
from transformers import DynamicCache

from duelist.errors import ModelError
from duelist.models.decoding.adapter_rows import policy_then_reference, rows_stay_apart
from duelist.models.decoding.growing_cache import grow_in_place
from duelist.models.policy.checkpointing import evaluation_mode
from duelist.models.policy.policy import Policy
from duelist.models.policy.positions import length_thresholds, regime
from duelist.models.policy.probes import Proven, probe_ids, rounding
from duelist.models.policy.process_state import global_generators_kept

Kind = Literal["policy", "reference", "both"]
Method = Literal["auto", "one_call", "two_calls"]

_TAKES_PADDING = Proven()


class NextLogits(ABC):
    """Interface for next-token logits: it reads a batch of rows token by token."""

    @abstractmethod
    def __call__(self, ids_BL: torch.Tensor, mask_BL: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """Return the logits [B, V] of policy and reference after the last of L new tokens; None if not requested.

        Args:
            ids_BL: the new tokens.
            mask_BL: 1 for a token, 0 for padding on the left, over the earlier and the new tokens.
        """

    @abstractmethod
    def keep_rows(self, index: torch.Tensor) -> None:
        """Continue with the rows in `index`, with repetitions."""


@contextmanager
def next_logits(policy: Policy, kind: Kind, method: Method = "auto") -> Iterator[NextLogits]:
    """Provide logits of the current policy, of its reference or of both within the block.

    Args:
        policy: the model and its reference. Do not use it otherwise within the block.
        kind: the requested logits.
        method: computation of both. `one_call` runs the rows of both together, with the policy's adapter on its half of
            the rows. `two_calls` is correct for every model and reference. `auto` uses `one_call` if it is exact.
    """
    if kind == "policy":
        yield _Alone(policy.model, is_reference=False)
    elif kind == "reference":
        with policy.as_reference():
            yield _Alone(policy.model, is_reference=True)
    elif method == "one_call" or (method == "auto" and rows_stay_apart(policy)):
        with policy_then_reference(policy):
            yield _Together(policy.model)
    else:
        yield _InTurn(policy)


class _Alone(NextLogits):
    """Logits of one model."""

    def __init__(self, model: Any, is_reference: bool) -> None:
        self._model = _Cached(model)
        self._is_reference = is_reference

    def __call__(self, ids_BL: torch.Tensor, mask_BL: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        logits_BV = self._model(ids_BL, mask_BL)
        return (None, logits_BV) if self._is_reference else (logits_BV, None)

    def keep_rows(self, index: torch.Tensor) -> None:
        self._model.keep_rows(index)


class _Together(NextLogits):
    """Logits of both models in one call, within `policy_then_reference`."""

    def __init__(self, model: Any) -> None:
        self._model = _Cached(model)
        self._rows = 0

    def __call__(self, ids_BL: torch.Tensor, mask_BL: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        self._rows = len(ids_BL)
        own_BV, reference_BV = self._model(ids_BL.repeat(2, 1), mask_BL.repeat(2, 1)).chunk(2)
        return own_BV, reference_BV

    def keep_rows(self, index: torch.Tensor) -> None:
        self._model.keep_rows(torch.cat([index, index + self._rows]))
        self._rows = len(index)


class _InTurn(NextLogits):
    """Logits of both models in turn, each with its cache."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._own = _Cached(policy.model)
        self._reference: _Cached | None = None

    def __call__(self, ids_BL: torch.Tensor, mask_BL: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        own_BV = self._own(ids_BL, mask_BL)
        with self._policy.as_reference():
            if self._reference is None:
                self._reference = _Cached(self._policy.model)
            return own_BV, self._reference(ids_BL, mask_BL)

    def keep_rows(self, index: torch.Tensor) -> None:
        self._own.keep_rows(index)
        if self._reference is not None:
            self._reference.keep_rows(index)


class _Cached:
    """Model with the key-value cache that it creates, which continues after the tokens read so far.

    At a threshold of LongRoPE it reads all tokens again, as transformers does, because the cached keys have the
    encoding of shorter sequences.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._cache: Any = None
        self._thresholds = length_thresholds(model.config)
        self._read: list[torch.Tensor] = []  # stored only if there is a threshold
        self._regime = 0
        self._padded = False
        base = model.get_base_model() if isinstance(model, PeftModel) else model
        accepted = inspect.signature(base.forward).parameters
        self._takes_positions = "position_ids" in accepted
        # Logits within the prompt, one vocabulary per token, are not needed.
        self._options = {"logits_to_keep": 1} if "logits_to_keep" in accepted else {}

    def __call__(self, ids_BL: torch.Tensor, mask_BL: torch.Tensor) -> torch.Tensor:
        """Return the logits [B, V] after the last new token."""
        if self._thresholds:
            self._read.append(ids_BL)
            before, self._regime = self._regime, regime(int(mask_BL.sum(1).max()), self._thresholds)
            if self._cache is not None and self._regime != before:
                ids_BL, self._cache = torch.cat(self._read, dim=1), None
        options: dict[str, Any] = dict(self._options)
        if self._cache is None:
            self._padded = not bool(mask_BL.all())
        if self._takes_positions and self._padded:  # padding on the left has no position
            options["position_ids"] = (mask_BL.cumsum(1) - 1).clamp(min=0)[:, -ids_BL.shape[1] :]
        output = self._model(
            input_ids=ids_BL, attention_mask=mask_BL, past_key_values=self._cache, use_cache=True, **options
        )
        if self._cache is None:
            self._cache = getattr(output, "past_key_values", None)
            if not isinstance(self._cache, DynamicCache):
                raise ModelError(
                    "To decode, a model must keep a cache whose rows can be selected (transformers' DynamicCache), but "
                    f"{type(self._model).__name__} keeps {type(self._cache).__name__}: use a transformer."
                )
            grow_in_place(self._cache)
        logits: torch.Tensor = output.logits[:, -1]
        return logits

    def keep_rows(self, index: torch.Tensor) -> None:
        """Select rows of the cache, with repetitions."""
        self._cache.reorder_cache(index)
        self._read = [ids[index] for ids in self._read]


def takes_padding(model: Any) -> bool:
    """Return whether rows padded on the left have the same logits as alone; tested once per model.

    Some models number positions from the start of the batch (BART) or from an id of their own (RoBERTa).
    """
    base = model.get_base_model() if isinstance(model, PeftModel) else model
    if (base, True) in _TAKES_PADDING or (base, False) in _TAKES_PADDING:
        return (base, True) in _TAKES_PADDING
    ids_2L = probe_ids(model, 2, 6)
    mask_2L = torch.ones_like(ids_2L)
    mask_2L[1, :2] = 0
    with evaluation_mode(model), torch.no_grad(), global_generators_kept():
        together, alone = _Cached(model), _Cached(model)
        pairs = [
            (together(ids_2L[:, :4], mask_2L[:, :4])[1], alone(ids_2L[1:, 2:4], mask_2L[1:, 2:4])[0]),
            (together(ids_2L[:, 4:5], mask_2L[:, :5])[1], alone(ids_2L[1:, 4:5], mask_2L[1:, 2:5])[0]),
        ]
    found_2V, expected_2V = (torch.stack(logits).float() for logits in zip(*pairs, strict=True))
    difference = (found_2V - expected_2V).abs().max() / expected_2V.abs().max().clamp(min=1e-30)
    takes = bool(difference <= rounding(model))  # false for NaN
    _TAKES_PADDING.add(base, takes)
    return takes


def mix(own_BV: torch.Tensor | None, reference_BV: torch.Tensor | None, weights_B2: torch.Tensor) -> torch.Tensor:
    """Return w_θ h_θ + w_ref h_ref in float32 or better, row by row. Tokens that the policy excludes stay at −∞.

    Args:
        own_BV: the policy's logits, or None.
        reference_BV: the reference's logits, or None.
        weights_B2: w_θ and w_ref; used only if both logits are given.
    """
    if own_BV is None or reference_BV is None:
        alone = reference_BV if own_BV is None else own_BV
        assert alone is not None
        return alone.to(torch.promote_types(alone.dtype, torch.float32))
    dtype = torch.promote_types(own_BV.dtype, torch.float32)
    own_BV, reference_BV, weights_B2 = own_BV.to(dtype), reference_BV.to(dtype), weights_B2.to(dtype)
    mixed_BV = weights_B2[:, :1] * own_BV + weights_B2[:, 1:] * reference_BV
    return mixed_BV.masked_fill(own_BV == -torch.inf, -torch.inf)


def token_probabilities(
    logits_BV: torch.Tensor, temperature: float, top_p: float, top_k: int | None = None
) -> torch.Tensor:
    """Return softmax(logits / temperature) over the `top_k` most probable tokens, restricted to the nucleus.

    Tokens that tie with the k-th are included, as in transformers and vLLM. The nucleus is the smallest set of tokens
    with probability `top_p` or more among the `top_k`. Other tokens have probability 0; the nucleus is not rescaled to
    sum to 1.
    """
    scaled_BV = logits_BV / temperature
    if top_k is not None and top_k < scaled_BV.shape[1]:
        least_B1 = scaled_BV.topk(top_k, dim=-1).values[:, -1:]
        scaled_BV = scaled_BV.masked_fill(scaled_BV < least_B1, -torch.inf)
    p_BV = torch.softmax(scaled_BV, dim=-1)
    if top_p < 1:
        sorted_BV, order_BV = p_BV.sort(dim=-1, descending=True, stable=True)
        before_BV = sorted_BV.cumsum(dim=-1) - sorted_BV
        p_BV = torch.zeros_like(p_BV).scatter_(1, order_BV, sorted_BV.masked_fill_(before_BV >= top_p, 0.0))
    return p_BV


def draw_tokens(
    logits_BV: torch.Tensor, uniform_B: torch.Tensor, temperature: float, top_p: float, top_k: int | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw one token per row by the inverse distribution function, so that a row's draw depends only on the row.

    Args:
        logits_BV: float32 or float64.
        uniform_B: a float64 number in [0, 1) for each row.
        temperature: logits are divided by this; 0 selects the most probable token.
        top_p: probability of the nucleus.
        top_k: number of most probable tokens to draw from; None for all.

    Returns:
        token_B, and whether each row's logits were usable.
    """
    if temperature == 0:
        return logits_BV.argmax(dim=-1), logits_BV.amax(dim=-1).isfinite()
    cdf_BV = token_probabilities(logits_BV, temperature, top_p, top_k).double().cumsum(dim=-1)
    total_B = cdf_BV[:, -1]
    token_B = torch.searchsorted(cdf_BV, (uniform_B * total_B)[:, None], right=True)[:, 0]
    return token_B.clamp(max=logits_BV.shape[1] - 1), total_B.isfinite()
