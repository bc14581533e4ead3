"""Log-probabilities of the reference, computed once for each sequence of a training instead of once an epoch."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

import torch


@final
class KnownReference:
    """Log π_ref(y|x) of the sequences that a training has seen.

    The reference does not change within a training, so a sequence that comes again, in a later epoch or in another
    pair, needs no second forward pass.
    """

    def __init__(self) -> None:
        self._log_prob: dict[tuple[bytes, int], float] = {}

    def of(
        self, batch: dict[str, torch.Tensor], compute: Callable[[dict[str, torch.Tensor]], torch.Tensor]
    ) -> torch.Tensor:
        """Return the log-probability of each sequence, `[R]`.

        Args:
            batch: `input_ids`, `attention_mask` and `completion_mask`, `[R, L]`, padded.
            compute: gives the log-probabilities of such a batch.
        """
        keys = [
            (ids[mask.astype(bool)].tobytes(), int(completion.sum()))
            for ids, mask, completion in zip(
                *(batch[name].cpu().numpy() for name in ("input_ids", "attention_mask", "completion_mask")),
                strict=True,
            )
        ]
        new = list({key: row for row, key in enumerate(keys) if key not in self._log_prob}.items())
        if new:
            rows = torch.tensor([row for _, row in new], device=batch["input_ids"].device)
            computed = compute({name: values[rows] for name, values in batch.items()}).tolist()
            self._log_prob.update(zip((key for key, _ in new), computed, strict=True))
        return torch.tensor([self._log_prob[key] for key in keys], device=batch["input_ids"].device)
