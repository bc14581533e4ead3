"""Rounding check: can a training step change a half-precision weight?

A weight w with 2^e <= |w| < 2^(e+1) has neighbours at distance 2^e·eps, with eps = 2^-7 in bfloat16. A step smaller
than half of that is rounded off. An Adam step is about the size of the learning rate, however small the gradient.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from duelist.errors import ModelError
from duelist.models.policy.config import PolicyConfig
from duelist.settings.context import Rounding

if TYPE_CHECKING:
    import torch

MEDIAN = 0.674  # of |w|, for a normal w with standard deviation 1
INITIALIZER_RANGE = 0.02  # of a configuration without one


def rounding(policy: PolicyConfig, model: Any) -> Rounding | None:
    """Return the rounding of the policy's weights if all are trained in half precision; None otherwise.

    Args:
        policy: the policy.
        model: its configuration; None if it is not available.

    Raises:
        ModelError: if `policy.architecture` is not a valid model configuration.
    """
    import torch

    dtype = _weights_type(policy, model)
    if policy.adapter != "none" or dtype is None or torch.finfo(dtype).bits > 16:
        return None
    weight = MEDIAN * _initializer_range(model or architecture_config(policy))
    return Rounding(str(dtype).removeprefix("torch."), weight, half_spacing(weight, dtype))


def half_spacing(weight: float, dtype: torch.dtype) -> float:
    """Return the largest step from `weight` that is rounded off."""
    import torch

    return float(2.0 ** math.floor(math.log2(weight)) * torch.finfo(dtype).eps / 2)


def architecture_config(policy: PolicyConfig) -> Any:
    """Return the model configuration that `policy.architecture` describes; None if it is not set.

    Raises:
        ModelError: if it is not a valid model configuration.
    """
    from transformers import AutoConfig

    if policy.architecture is None:
        return None
    try:
        return AutoConfig.for_model(**policy.architecture)
    except (TypeError, ValueError) as error:
        raise ModelError(f"policy.architecture must be a model's configuration, but it is refused: {error}") from error


def _weights_type(policy: PolicyConfig, model: Any) -> torch.dtype | None:
    """Return the data type that the weights will have; None if it is not known yet."""
    import torch

    named = policy.load.get("dtype", policy.load.get("torch_dtype", policy.dtype))
    named = getattr(model, "dtype", None) if named == "auto" else named
    dtype = getattr(torch, str(named).removeprefix("torch."), None)
    return dtype if isinstance(dtype, torch.dtype) and dtype.is_floating_point else None


def _initializer_range(model: Any) -> float:
    text = model.get_text_config() if model is not None else None
    for name in ("initializer_range", "init_std"):
        found = getattr(text, name, None)
        if isinstance(found, int | float) and found > 0:
            return float(found)
    return INITIALIZER_RANGE
