"""Log-probabilities of target tokens from logits, without a second copy of the logits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, final

import torch

# Rows of logits are converted to float32 in chunks of this many numbers (16 MiB), never all at once.
CHUNK_NUMBERS = 2**22


@final
class TargetLogProbs(torch.autograd.Function):  # type: ignore[misc]
    """log softmax(logits)[target] in float32 or better, without a float32 copy of all logits."""

    @staticmethod
    def forward(ctx: Any, logits_TV: torch.Tensor, target_T: torch.Tensor) -> torch.Tensor:
        dtype = torch.promote_types(logits_TV.dtype, torch.float32)
        log_normalizer_T = torch.empty(len(target_T), dtype=dtype, device=logits_TV.device)
        for rows in _row_chunks(logits_TV):
            log_normalizer_T[rows] = torch.logsumexp(logits_TV[rows].to(dtype), dim=-1)
        ctx.save_for_backward(logits_TV, target_T, log_normalizer_T)
        return logits_TV.gather(1, target_T[:, None])[:, 0].to(dtype) - log_normalizer_T

    @staticmethod
    def backward(ctx: Any, grad_T: torch.Tensor) -> tuple[torch.Tensor, None]:
        logits_TV, target_T, log_normalizer_T = ctx.saved_tensors
        grad_TV = torch.empty_like(logits_TV)
        for rows in _row_chunks(logits_TV):
            # ∂ log p_target / ∂ logits = onehot(target) − softmax(logits)
            grad = logits_TV[rows].to(log_normalizer_T.dtype, copy=True)
            grad.sub_(log_normalizer_T[rows, None]).exp_().mul_(-grad_T[rows, None])
            grad_TV[rows] = grad.scatter_add_(1, target_T[rows, None], grad_T[rows, None])
        return grad_TV, None


def _row_chunks(logits_TV: torch.Tensor) -> Iterator[slice]:
    rows, vocabulary = logits_TV.shape
    step = max(1, CHUNK_NUMBERS // vocabulary)
    return (slice(start, start + step) for start in range(0, rows, step))
