"""Selection inside somebody's own training: a callback for transformers' and TRL's trainers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from transformers import TrainerCallback

from duelist.selection.choice import Picks, select
from duelist.selection.pool import Pool
from duelist.store.artifacts import write_jsonl


class SelectCallback(TrainerCallback):  # type: ignore[misc]
    """Select pairs to label with the model as it stands, after every epoch or once training ends.

    The picks are written as JSON Lines, to be labelled while the training goes on or before the next one:
    `FOLDER/epoch-N.jsonl`, or `FOLDER/end.jsonl`. Pairs that were picked before are not picked again.

    Args:
        pool: the candidate pairs, see `select`.
        folder: folder of the files.
        budget: number of pairs at a time.
        when: `epoch` or `end`.
        on_picks: called with each selection.
        **arguments: further arguments of `select`, such as `acquisition` and `beta`.

    Examples:
        >>> callback = SelectCallback("pool.jsonl", "to-label", budget=100)  # doctest: +SKIP
        >>> trainer = DPOTrainer(model, args, train_dataset=..., callbacks=[callback])  # doctest: +SKIP
    """

    def __init__(
        self,
        pool: Pool,
        folder: str | Path,
        *,
        budget: int,
        when: Literal["epoch", "end"] = "end",
        on_picks: Callable[[Picks], None] | None = None,
        **arguments: Any,
    ) -> None:
        self.pool = pool
        self.folder = Path(folder)
        self.budget = budget
        self.when = when
        self.on_picks = on_picks
        self.arguments = arguments
        self._picked: list[dict[str, Any]] = []

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Select after an epoch."""
        if self.when == "epoch":
            self._select(f"epoch-{round(state.epoch)}", args, state, kwargs)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Select after the training."""
        if self.when == "end":
            self._select("end", args, state, kwargs)

    def _select(self, name: str, args: Any, state: Any, given: dict[str, Any]) -> None:
        if not state.is_world_process_zero:
            return
        arguments = {"beta": getattr(args, "beta", None), **self.arguments}
        labelled = [*(arguments.pop("labelled", None) or []), *self._picked]
        picks = select(
            self.pool,
            given["model"],
            tokenizer=given["processing_class"],
            budget=self.budget,
            labelled=labelled,
            **arguments,
        )
        rows = [pick.as_row() for pick in picks]
        self._picked += rows
        write_jsonl(self.folder / f"{name}.jsonl", rows)
        if self.on_picks is not None:
            self.on_picks(picks)
