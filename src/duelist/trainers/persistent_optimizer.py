"""An optimizer and its learning-rate schedule that live on from one call of a trainer to the next.

What is relied on of transformers' `Trainer`: it makes no optimizer and no schedule where it has them (`optimizer`,
`lr_scheduler`) when training begins. tests/trainers/test_persistent_optimizer.py holds it.
"""

from __future__ import annotations

from typing import Any, final


@final
class PersistentOptimizer:
    """One optimizer for a study's whole training, made by the first trainer that it is handed to.

    Args:
        total_steps: steps of the whole training, for the schedule.
        state: what `state` gave once, to go on from there.
    """

    def __init__(self, total_steps: int, state: dict[str, Any] | None = None) -> None:
        self.total_steps = total_steps
        self._saved = state or {}
        self._optimizer: Any = None
        self._scheduler: Any = None

    def state(self) -> dict[str, Any]:
        """The optimizer's and the schedule's state, for `torch.save`; empty before the first step."""
        if self._optimizer is None:
            return self._saved
        return {"optimizer": self._optimizer.state_dict(), "scheduler": self._scheduler.state_dict()}

    def hand_to(self, trainer: Any) -> None:
        """Let a transformers `Trainer` train with this optimizer from where it is."""
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


def one_step(preferences: int, largest_batch: int) -> dict[str, int]:
    """TRL's settings for one optimizer step on all preferences.

    Args:
        preferences: how many, 1 or more.
        largest_batch: how many fit in a batch.

    Returns:
        The largest equal micro-batches that fit: unequal ones would not weigh every preference the same.
    """
    size = max(d for d in range(1, min(preferences, largest_batch) + 1) if preferences % d == 0)
    return {
        "max_steps": 1,
        "per_device_train_batch_size": size,
        "gradient_accumulation_steps": preferences // size,
    }
