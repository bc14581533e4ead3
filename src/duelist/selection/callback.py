"""Selection inside somebody's own training: a callback for transformers' and TRL's trainers."""

from __future__ import annotations

import inspect
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
from transformers import TrainerCallback

from duelist.errors import BudgetError, RecipeError
from duelist.models.policy.sharding import is_sharded
from duelist.selection.choice import Picks, checked_rule, select
from duelist.selection.pool import Pool, all_rows, distinct_pairs, rereadable
from duelist.store.artifacts import write_jsonl


class SelectCallback(TrainerCallback):  # type: ignore[misc]
    """Select pairs to label with the model as it stands, after every epoch or once training ends.

    The picks are written as JSON Lines, to be labelled while the training goes on or before the next one:
    `FOLDER/epoch-N.jsonl`, or `FOLDER/end.jsonl`. Pairs that were picked before are not picked again. Among several
    processes, the first one writes them; the others take part in the selection only if the model is sharded.

    Args:
        pool: the candidate pairs, see `select`.
        folder: folder of the files.
        budget: number of pairs at a time.
        when: `epoch` or `end`.
        on_picks: called with each selection.
        **arguments: further arguments of `select`, such as `acquisition` and `beta`.

    Raises:
        RecipeError: if an argument is not usable. `BudgetError`, when a training begins: the pool has too few pairs for
            all its selections.
        TypeError: if `select` has no such argument.

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
        if when not in ("epoch", "end"):
            raise RecipeError(f"`when` must be 'epoch' or 'end', but got {when!r}: choose one of them.")
        # An argument that is wrong is an error now, not after an epoch.
        inspect.signature(select).bind(pool, None, tokenizer=None, budget=budget, **arguments)
        checked_rule(arguments.get("acquisition", "activedpo"), arguments.get("targets"), arguments.get("beta"))
        self.pool = rereadable(pool)
        self.folder = Path(folder)
        self.budget = budget
        self.when = when
        self.on_picks = on_picks
        self.arguments = arguments
        if (targets := arguments.get("targets")) is not None:
            self.arguments["targets"] = rereadable(targets)
        labelled = self.arguments.pop("labelled", None)
        self._labelled: list[Any] = [] if labelled is None else all_rows(labelled)

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Check that the pool has pairs for all selections of a training, before anything is trained.

        Raises:
            BudgetError: if it has too few.
        """
        times = 1
        if self.when == "epoch" and state.num_train_epochs < sys.maxsize:  # transformers' number where it is unknown
            times = max(1, math.ceil(state.num_train_epochs) - int(state.epoch or 0))
        pool, labelled = distinct_pairs(self.pool, "the pool"), distinct_pairs(self._labelled, "the labelled data")
        left = int((~np.isin(pool, labelled)).sum())
        if not 1 <= self.budget * times <= left:
            raise BudgetError(
                f"`1 <= budget · selections <= candidate pairs` must hold, but got budget={self.budget}, {times} in "
                f"this training, and {left} distinct pairs that have no label: lower the budget or enlarge the pool."
            )

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Select after an epoch."""
        if self.when == "epoch":
            self._select(f"epoch-{round(state.epoch)}", args, state, kwargs)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Select after the training."""
        if self.when == "end":
            self._select("end", args, state, kwargs)

    def _select(self, name: str, args: Any, state: Any, given: dict[str, Any]) -> None:
        if not state.is_world_process_zero and not is_sharded(given["model"]):
            return
        arguments = {"beta": getattr(args, "beta", None), **self.arguments}
        picks = select(
            self.pool,
            given["model"],
            tokenizer=given["processing_class"],
            budget=self.budget,
            labelled=self._labelled,
            **arguments,
        )
        rows = [pick.as_row() for pick in picks]
        self._labelled += rows
        if not state.is_world_process_zero:
            return
        write_jsonl(self.folder / f"{name}.jsonl", rows)
        if self.on_picks is not None:
            self.on_picks(picks)
