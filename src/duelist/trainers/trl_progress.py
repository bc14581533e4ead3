"""Progress bar for transformers' Trainer and TRL's subclasses of it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from transformers import PrinterCallback, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from duelist.progress import Advance, Progress


def train_with_progress(trainer: Any, description: str, progress: Progress) -> Any:
    """Run `trainer.train()` as a progress stage with one step per optimizer step, and return its result.

    The trainer prints nothing itself: standard output belongs to the caller.

    Args:
        trainer: a `transformers.Trainer` of any kind.
        description: the stage's name.
        progress: receives the steps.
    """
    trainer.remove_callback(PrinterCallback)
    with ExitStack() as stage:
        trainer.add_callback(_Steps(lambda total: stage.enter_context(progress.stage(description, total))))
        return trainer.train()


class _Steps(TrainerCallback):  # type: ignore[misc]
    """Callback that opens the stage once the trainer knows its number of steps, and reports each step."""

    def __init__(self, begin: Callable[[int], Advance]) -> None:
        self._begin = begin

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._advance = self._begin(state.max_steps)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._advance(1)
