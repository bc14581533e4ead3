"""The interface of an acquisition, and `choose`, which runs one under its contract."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from duelist.acquisition.pool_rows import PoolRows, first_non_finite
from duelist.errors import BudgetError, DuelistError, NumericalError
from duelist.seeding import hash_keys
from duelist.types import Features, Selection

# The fields that have a row for each pair; `target_MD` has rows of its own.
ARRAY_FIELDS = tuple(f.name for f in dataclasses.fields(Features) if f.name not in ("past", "target_MD"))


class Acquisition(ABC):
    """A rule that picks the pairs to label.

    Subclass it with two members and name the class in a recipe by its dotted path (`my_package.my_module:MyRule`).

    Attributes:
        honours_cost: whether the rule maximises gain per second where `cost_N` is filled. The setting `per_second` is
            refused for rules that do not.
    """

    honours_cost: ClassVar[bool] = False

    @property
    @abstractmethod
    def needs(self) -> frozenset[str]:
        """The fields of `Features` that must be filled, e.g. `{"margin_N"}`; add `"past"` for the past pairs' too."""

    @abstractmethod
    def select(self, features: Features, budget: int, rng: np.random.Generator) -> Selection:
        """Pick `budget` of the N candidates.

        Called by `choose` with `1 <= budget < N`, finite features, and the pool already in a random order that depends
        on the pairs' ids alone: taking the first among equals (as `argmax` and a stable sort do) is a fair draw.
        Memory-mapped features come as `PoolRows`, to be read in blocks; `np.asarray` loads them whole.

        Args:
            features: arrays over N candidates; only what `needs` names is filled.
            budget: how many to pick, B.
            rng: the only source of randomness.

        Returns:
            B distinct positions in the pool, in pick order, with their scores and the score's unit.
        """


def choose(acquisition: Acquisition, features: Features, budget: int, rng: np.random.Generator) -> Selection:
    """Let `acquisition` pick `budget` pairs, and hold it to its contract.

    The pool is handed over in an order drawn by hash of (generator, pair id), so that no rule can depend on the order
    in which candidates were listed, and exact ties are broken by that hash.

    Args:
        acquisition: the rule.
        features: what it may look at, over N candidates.
        budget: how many to pick, B.
        rng: the generator; the same one gives the same picks.

    Returns:
        The picks, as positions in `features`.

    Raises:
        BudgetError: if the budget is negative or exceeds the pool.
        NumericalError: if a needed feature holds NaN or an infinity.
        DuelistError: if the rule breaks its contract.
    """
    if not 0 <= budget <= features.n:
        raise BudgetError(
            f"`0 <= budget <= candidate pairs` must hold, but got budget={budget} and {features.n} candidate pairs: "
            "lower the budget, or make the pool larger (more prompts, or more responses per prompt)."
        )
    check_features(features, acquisition.needs)
    if budget == 0:
        return Selection(np.empty(0, np.int64), np.empty(0), "none")
    if len(set(features.pair_id_N.tolist())) != features.n:
        raise DuelistError("Candidate pairs must be distinct, but the pool lists a pair twice: remove the copies.")
    order_N = np.argsort(hash_keys(rng, features.pair_id_N.tolist()), kind="stable")
    selection = acquisition.select(take(features, order_N), budget, rng)
    indices_B = np.asarray(selection.indices_B, np.int64)
    name = type(acquisition).__name__
    if len(indices_B) != budget or len(selection.scores_B) != budget or len(np.unique(indices_B)) != budget:
        raise DuelistError(f"{name} must pick {budget} distinct pairs with one score each, but picked {indices_B!r}.")
    if indices_B.min() < 0 or indices_B.max() >= features.n:
        raise DuelistError(f"{name} must pick positions in 0..{features.n - 1}, but picked {indices_B!r}.")
    return dataclasses.replace(selection, indices_B=order_N[indices_B])


def take(features: Features, rows: NDArray[np.int64]) -> Features:
    """The features of some of the pairs, in the order of `rows`; the past pairs stay as they are.

    Memory-mapped rows become `PoolRows`: the same rows in the same order, but nothing is copied.
    """
    arrays = {name: getattr(features, name) for name in ARRAY_FIELDS}
    return dataclasses.replace(features, **{k: _reordered(v, rows) for k, v in arrays.items() if v is not None})


def _reordered(values: Any, rows: NDArray[np.int64]) -> Any:
    return PoolRows(values, rows) if isinstance(values, np.memmap) and values.ndim > 1 else values[rows]


def check_features(features: Features, needs: frozenset[str]) -> None:
    """Require that every needed field is filled, and that all its numbers are finite.

    Raises:
        DuelistError: if a field is unknown or missing.
        NumericalError: if a value is NaN or infinite; the message names the pair.
    """
    unknown = needs - {*ARRAY_FIELDS, "target_MD", "past"}
    if unknown:
        raise DuelistError(
            f"An acquisition's needs must name fields of Features, but got {', '.join(sorted(unknown))}."
        )
    parts = [("candidate", features)]
    if "past" in needs:
        if features.past is None:
            raise DuelistError("This acquisition needs the past pairs' features, but got none: pass an empty set.")
        parts.append(("past", features.past))
    for which, part in parts:
        for name in sorted(needs - {"past"}):
            if name == "target_MD" and part is not features:
                continue
            values = getattr(part, name)
            if values is None:
                raise DuelistError(f"This acquisition needs {name} of the {which} pairs, but it was not computed.")
            broken = first_non_finite(values) if values.dtype.kind == "f" else None
            if broken is not None:
                row, number = broken
                pair = f"target pair {row}" if name == "target_MD" else f"{which} pair {part.pair_id_N[row]}"
                raise NumericalError(
                    f"Features must be finite, but {name} of {pair} holds {number}: look "
                    "for an overflow in the model's weights or half-precision arithmetic (use float32 or bfloat16)."
                )
