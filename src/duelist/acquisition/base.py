"""Interface of an acquisition, and `choose`, which runs one and checks its contract."""

from __future__ import annotations

import dataclasses
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from duelist.acquisition.numerics.pool_rows import PoolRows, first_non_finite
from duelist.errors import BudgetError, DuelistError, NumericalError, user_code
from duelist.seeding import hash_keys
from duelist.settings.context import Checked
from duelist.types import Features, Selection

# Fields with one row per pair; `target_MD` has its own rows.
ARRAY_FIELDS = tuple(f.name for f in dataclasses.fields(Features) if f.name not in ("past", "target_MD"))


class Acquisition(Checked, ABC):
    """A rule that picks the pairs to label.

    To write your own rule, subclass this class, define its two abstract members, and name the class in a recipe by its
    dotted path (`my_package.my_module:MyRule`).

    Attributes:
        honours_cost: whether the rule maximises gain per second when `cost_N` is filled. The setting `per_second` is
            rejected for rules that do not.
        within_prompts: whether the rule selects among the responses to one prompt; the gallery gives it such pairs.
    """

    honours_cost: bool = False
    within_prompts: ClassVar[bool] = False

    @property
    @abstractmethod
    def needs(self) -> frozenset[str]:
        """Return the required fields of `Features`, e.g. `{"margin_N"}`; `"past"` requires them for past pairs too."""

    @abstractmethod
    def select(self, features: Features, budget: int, rng: np.random.Generator) -> Selection:
        """Pick `budget` of the N candidates.

        `choose` calls this method with `1 <= budget <= N` and finite features. The pool is already in a random order,
        which depends only on the ids of the pairs: taking the first of several equal scores (as `argmax` and a stable
        sort do) is a fair draw. Memory-mapped features arrive as `PoolRows`: read them in blocks; `np.asarray` loads
        the whole file.

        Args:
            features: arrays over N candidates; only the fields named by `needs` are filled.
            budget: number of pairs to pick, B.
            rng: the only source of randomness.

        Returns:
            B distinct positions in the pool, in pick order, with their scores and the score's unit.
        """


def choose(acquisition: Acquisition, features: Features, budget: int, rng: np.random.Generator) -> Selection:
    """Select `budget` pairs with `acquisition`, and check its contract.

    The pool is passed in an order drawn by hash of (generator, pair id). No rule can depend on the order in which
    candidates were listed, and the hash breaks exact ties.

    Args:
        acquisition: the rule.
        features: the rule's input, over N candidates.
        budget: number of pairs to pick, B.
        rng: the generator; the same generator gives the same picks.

    Returns:
        The picks, as positions in `features`.

    Raises:
        BudgetError: if the budget is negative or exceeds the pool.
        NumericalError: if a needed feature, a cost or a score is NaN or infinite.
        DuelistError: if the rule breaks its contract, or the shapes of the features do not match.
    """
    if not 0 <= budget <= features.n:
        raise BudgetError(
            f"`0 <= budget <= candidate pairs` must hold, but got budget={budget} and {features.n} candidate pairs: "
            "lower the budget, or make the pool larger (more prompts, or more responses per prompt)."
        )
    check_features(features, declared_needs(acquisition))
    if budget == 0:
        return Selection(np.empty(0, np.int64), np.empty(0), "none")
    if len(set(features.pair_id_N.tolist())) != features.n:
        raise DuelistError("Candidate pairs must be distinct, but the pool lists a pair twice: remove the copies.")
    order_N = np.argsort(hash_keys(rng, features.pair_id_N.tolist()), kind="stable")
    with user_code(acquisition):
        selection = acquisition.select(take(features, order_N), budget, rng)
    return _checked(selection, type(acquisition).__name__, features.pair_id_N, budget, order_N)


def _checked(
    selection: Any, name: str, pair_id_N: NDArray[np.str_], budget: int, order_N: NDArray[np.int64]
) -> Selection:
    """Return the selection of the rule `name`, with positions in the original pool instead of the pool in `order_N`.

    Raises:
        NumericalError: if a score is NaN or infinite.
        DuelistError: if it is not a selection of `budget` pairs with their scores and the unit of the scores.
    """
    if not isinstance(selection, Selection):
        raise DuelistError(f"{name}.select must return a Selection, but returned a {type(selection).__name__}.")
    if not _is_words(selection.unit):
        raise DuelistError(f"{name} must say the unit of its scores in words, but said {selection.unit!r}.")
    try:
        indices_B, scores_B = np.asarray(selection.indices_B), np.asarray(selection.scores_B, np.float64)
    except (TypeError, ValueError) as error:
        raise DuelistError(f"{name} must return arrays of positions and scores, but they are none: {error}.") from error
    if indices_B.dtype.kind not in "iu" or indices_B.ndim != 1:
        raise DuelistError(f"{name} must pick positions, a whole number each, but picked {indices_B!r}.")
    if len(indices_B) != budget or scores_B.shape != (budget,) or len(np.unique(indices_B)) != budget:
        raise DuelistError(f"{name} must pick {budget} distinct pairs with one score each, but picked {indices_B!r}.")
    if indices_B.min() < 0 or indices_B.max() >= len(order_N):
        raise DuelistError(f"{name} must pick positions in 0..{len(order_N) - 1}, but picked {indices_B!r}.")
    if not np.isfinite(scores_B).all():
        b = int(np.flatnonzero(~np.isfinite(scores_B))[0])
        raise NumericalError(
            f"{name} must give every pick a finite score, but gave pair {pair_id_N[order_N[indices_B[b]]]} "
            f"{scores_B[b]}: look for a division by zero or an overflow in the rule."
        )
    diagnostics = _numbers(selection.diagnostics, name)
    return dataclasses.replace(selection, indices_B=order_N[indices_B], scores_B=scores_B, diagnostics=diagnostics)


def _numbers(diagnostics: Any, name: str) -> dict[str, float]:
    """Return a rule's diagnostics as plain numbers, as the study records and reports them.

    Raises:
        DuelistError: if they are not a mapping from names to finite numbers.
    """
    if not isinstance(diagnostics, Mapping) or not all(_is_words(key) for key in diagnostics):
        raise DuelistError(f"{name}'s diagnostics must map names to numbers, but are {diagnostics!r:.80}: give a dict.")
    numbers: dict[str, float] = {}
    for key, value in diagnostics.items():
        number = value.item() if isinstance(value, np.generic) else value
        if not isinstance(number, int | float) or not abs(number) <= sys.float_info.max:
            raise DuelistError(
                f"{name}'s diagnostics must be finite numbers, but {key!r} is {value!r:.80}: correct it or drop it."
            )
        numbers[key] = number
    return numbers


def _is_words(value: Any) -> bool:
    return isinstance(value, str) and value.isprintable()


def declared_needs(acquisition: Acquisition) -> frozenset[str]:
    """Return the fields of `Features` that a rule declares as needed.

    Raises:
        DuelistError: if `needs` is not a set, or contains a name that is not a field of `Features`.
    """
    with user_code(acquisition):
        needs = acquisition.needs
    if not isinstance(needs, set | frozenset):
        raise DuelistError(
            f"{type(acquisition).__name__}.needs must be a set of names, but is {needs!r}: give a frozenset."
        )
    unknown = needs - {*ARRAY_FIELDS, "target_MD", "past"}
    if unknown:
        raise DuelistError(
            f"An acquisition's needs must name fields of Features, but got {', '.join(sorted(unknown))}."
        )
    return frozenset(needs)


def take(features: Features, rows: NDArray[np.int64]) -> Features:
    """Return the features of some of the pairs, in the order of `rows`; the past pairs are unchanged.

    Memory-mapped rows become `PoolRows`: the same rows in the same order, without a copy.
    """
    arrays = {name: getattr(features, name) for name in ARRAY_FIELDS}
    return dataclasses.replace(features, **{k: _reordered(v, rows) for k, v in arrays.items() if v is not None})


def _reordered(values: Any, rows: NDArray[np.int64]) -> Any:
    return PoolRows(values, rows) if isinstance(values, np.memmap) and values.ndim > 1 else values[rows]


def check_features(features: Features, needs: frozenset[str]) -> None:
    """Check that every needed field is filled, that all its numbers are finite, and that costs are positive.

    Raises:
        DuelistError: if a field is missing or has the wrong shape, or a cost is not positive.
        NumericalError: if a value is NaN or infinite; the message names the pair.
    """
    parts = [("candidate", features)]
    if "past" in needs:
        if features.past is None:
            raise DuelistError("This acquisition needs the past pairs' features, but got none: pass an empty set.")
        parts.append(("past", features.past))
    for which, part in parts:
        # A filled cost counts, even if the rule does not need it.
        filled = {"cost_N"} if part is features and part.cost_N is not None else set()
        for name in sorted((needs | filled) - {"past"}):
            if name == "target_MD" and part is not features:
                continue
            values = getattr(part, name)
            if values is None:
                raise DuelistError(f"This acquisition needs {name} of the {which} pairs, but it was not computed.")
            _check_shape(name, values, part, features, which)
            broken = first_non_finite(values) if values.dtype.kind == "f" else None
            if broken is not None:
                row, number = broken
                pair = f"target pair {row}" if name == "target_MD" else f"{which} pair {part.pair_id_N[row]}"
                raise NumericalError(
                    f"Features must be finite, but {name} of {pair} holds {number}: look "
                    "for an overflow in the model's weights or half-precision arithmetic (use float32 or bfloat16)."
                )
    if features.cost_N is not None and not (features.cost_N > 0).all():
        row = int(np.argmin(features.cost_N > 0))
        raise DuelistError(
            f"Costs must be positive, but that of candidate pair {features.pair_id_N[row]} is {features.cost_N[row]}: "
            "give seconds per pair."
        )


def _check_shape(name: str, values: Any, part: Features, features: Features, which: str) -> None:
    """Check that there is one row per pair, and that rows have the same length as the rows they are multiplied with."""
    rows = len(values) if name == "target_MD" else part.n
    like = getattr(features, "gradient_ND" if name == "target_MD" else name)
    row_shape = values.shape[1:] if like is None else like.shape[1:]
    if values.shape != (rows, *row_shape):
        raise DuelistError(
            f"{name} of the {which} pairs must have shape {(rows, *row_shape)}, but has {values.shape}: give one row a "
            "pair, and compute candidates, past and target pairs with the same featurizer settings."
        )
