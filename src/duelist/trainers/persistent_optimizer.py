"""Optimizer and learning-rate schedule that persist from one call of a trainer to the next.

Internals of transformers' `Trainer` we rely on: it creates no optimizer and no schedule if it has them (`optimizer`,
`lr_scheduler`) when training begins. tests/trainers/test_persistent_optimizer.py checks it.
"""

from __future__ import annotations

from typing import Any, final


@final
class PersistentOptimizer:
    """One optimizer for a study's whole training, created by the first trainer that receives it.

    Args:
        total_steps: number of steps of the whole training, for the schedule.
        state: an earlier result of `state`, to continue from.
    """

    def __init__(self, total_steps: int, state: dict[str, Any] | None = None) -> None:
        self.total_steps = total_steps
        self._saved = state or {}
        self._optimizer: Any = None
        self._scheduler: Any = None

    def state(self) -> dict[str, Any]:
        """Return the optimizer's and the schedule's state, for `torch.save`; empty before the first step."""
        if self._optimizer is None:
            return self._saved
        return {"optimizer": self._optimizer.state_dict(), "scheduler": self._scheduler.state_dict()}

    def hand_to(self, trainer: Any) -> None:
        """Make a transformers `Trainer` continue with this optimizer."""
        if self._optimizer is None:
            self._make(trainer)
        trainer.optimizer = self._optimizer
        trainer.lr_scheduler = self._scheduler

    def _make(self, trainer: Any) -> None:
        from transformers import get_scheduler

        args = trainer.args
        self._optimizer = trainer.create_optimizer()
        self._scheduler = get_scheduler(
            args.lr_scheduler_type,
            optimizer=self._optimizer,
            num_warmup_steps=args.get_warmup_steps(self.total_steps),
            num_training_steps=self.total_steps,
            scheduler_specific_kwargs=args.lr_scheduler_kwargs or {},
        )
        if self._saved:
            self._scheduler.load_state_dict(self._saved["scheduler"])
            self._optimizer.load_state_dict(self._saved["optimizer"])


def one_step(decisions: int, largest_batch: int) -> dict[str, int]:
    """Return TRL's settings for one optimizer step on all decisions.

    Args:
        decisions: number of decisions, 1 or more.
        largest_batch: number of decisions that fit in a batch.

    Returns:
        Settings for the largest equal micro-batches that fit. Unequal ones would weigh the decisions unequally.
    """
    size = max(d for d in range(1, min(decisions, largest_batch) + 1) if decisions % d == 0)
    return {
        "max_steps": 1,
        "per_device_train_batch_size": size,
        "gradient_accumulation_steps": decisions // size,
    }
