"""Interface of an acquisition, and `choose`, which runs one and checks its contract."""

from __future__ import annotations

import dataclasses
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from duelist.acquisition.feature_contract import ARRAY_FIELDS as ARRAY_FIELDS
from duelist.acquisition.feature_contract import NEEDED_FIELDS, largest_question, random_order
from duelist.acquisition.feature_contract import check_features as check_features
from duelist.acquisition.feature_contract import take as take
from duelist.errors import BudgetError, DuelistError, NumericalError, RecipeError, user_code
from duelist.settings.context import Checked
from duelist.types import Features, Selection

# The short names of the rules that choose among questions of more than two responses.
RULES_FOR_SETS = (
    "random",
    "activedpo",
    "information",
    "policy_gap",
    "d_opt",
    "pa_d_opt",
    "xtx",
    "a_opt",
    "v_opt",
)
# The short names of the rules that have a gain for each pair by itself (`Acquisition.gains`).
RULES_WITH_GAINS = (
    "activedpo",
    "margin",
    "entropy",
    "maxdiff",
    "bald",
    "information",
    "policy_gap",
    "d_opt",
    "pa_d_opt",
    "xtx",
    "a_opt",
    "v_opt",
    "apo",
)


@dataclass(frozen=True)
class Gains:
    """Gain of each candidate by itself.

    Attributes:
        gain_N: the gains; higher is better.
        unit: the quantity that a gain measures, in words.
        diagnostics: numbers to report about them.
    """

    gain_N: NDArray[np.float64]
    unit: str
    diagnostics: Mapping[str, float] = field(default_factory=dict)


class Acquisition(Checked, ABC):
    """A rule that picks the pairs to label.

    To write your own rule, subclass this class, define its two abstract members, and name the class in a recipe by its
    dotted path (`my_package.my_module:MyRule`).

    Attributes:
        honours_cost: whether the rule maximises gain per second when `cost_N` is filled. The setting `per_second` is
            rejected for rules that do not.
        within_prompts: whether the rule selects among the responses to one prompt; the gallery gives it such pairs.
        selects_sets: whether the rule can choose among questions of more than two responses. Where there are some, the
            fields of `FIELDS_OF_SETS` are filled in the place of those named by `needs`, with `place_NQ` and `asks_N`.
        uniform: whether every set of candidates is equally likely to be picked.
    """

    honours_cost: bool = False
    within_prompts: ClassVar[bool] = False
    selects_sets: bool = False
    uniform: bool = False

    @property
    @abstractmethod
    def needs(self) -> frozenset[str]:
        """Return the required fields of `Features`, e.g. `{"margin_N"}`; `"past"` requires them for past pairs too."""

    @property
    def refused_for_sets(self) -> str | None:
        """Return which of its settings a rule that selects sets has for pairs only, and the remedy; None if none."""
        return None

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

    def gains(self, features: Features, rng: np.random.Generator) -> Gains:
        """Return the gain of each candidate by itself, given the past pairs, for draws with known probabilities.

        A rule that has such a gain overrides this method. Costs do not count here.

        Args:
            features: pairs, with the fields named by `needs`.
            rng: the only source of randomness.

        Raises:
            RecipeError: if the rule, with its settings, has no such gain.
        """
        raise RecipeError(
            f"`acquisition.lure` draws pairs by the gain of each by itself, but {type(self).__name__} has none with "
            f"these settings: set it to null, or use one of {', '.join(RULES_WITH_GAINS)}."
        )


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
        RecipeError: if some question has more than two responses, and the rule chooses among pairs only.
        NumericalError: if a needed feature, a cost or a score is NaN or infinite.
        DuelistError: if the rule breaks its contract, or the shapes of the features do not match.
    """
    if not 0 <= budget <= features.n:
        raise BudgetError(
            f"`0 <= budget <= candidate questions` must hold, but got budget={budget} and {features.n} of them: "
            "lower the budget, or make the pool larger (more prompts, or more responses per prompt)."
        )
    if features.place_NQ is not None:
        _require_selects_sets(acquisition, largest_question(features))
    check_features(features, declared_needs(acquisition))
    if budget == 0:
        return Selection(np.empty(0, np.int64), np.empty(0), "none")
    order_N = random_order(features, rng)
    with user_code(acquisition):
        selection = acquisition.select(take(features, order_N), budget, rng)
    return _checked(selection, type(acquisition).__name__, features.pair_id_N, budget, order_N)


def gains_of(acquisition: Acquisition, features: Features, rng: np.random.Generator) -> Gains:
    """Return the gain of each candidate by itself, in the order of `features`, checked like a selection.

    Raises:
        RecipeError: if the rule has no such gain.
        NumericalError: if a needed feature, a cost or a gain is NaN or infinite.
        DuelistError: if there is not one gain a pair.
    """
    name = type(acquisition).__name__
    check_features(features, declared_needs(acquisition))
    order_N = random_order(features, rng)
    with user_code(acquisition):
        found = acquisition.gains(take(features, order_N), rng)
    gain_N = np.empty(features.n)
    values_N = np.asarray(found.gain_N, np.float64)
    if values_N.shape != (features.n,):
        raise DuelistError(f"{name}.gains must return one gain a pair, {features.n}, but returned {values_N.shape}.")
    gain_N[order_N] = values_N
    if not np.isfinite(gain_N).all():
        n = int(np.flatnonzero(~np.isfinite(gain_N))[0])
        raise NumericalError(
            f"{name} must give every pair a finite gain, but gave pair {features.pair_id_N[n]} {gain_N[n]}: look for a "
            "division by zero or an overflow in the rule."
        )
    return dataclasses.replace(found, gain_N=gain_N, diagnostics=_numbers(found.diagnostics, name))


def require_selects_sets(acquisition: Acquisition, sets_of: int) -> None:
    """Check that a rule, with its settings, can choose among questions of `sets_of` responses.

    Raises:
        RecipeError: if it cannot; the message names the rules that can.
    """
    if sets_of > 2:
        _require_selects_sets(acquisition, sets_of)


def _require_selects_sets(acquisition: Acquisition, size: int) -> None:
    name = type(acquisition).__name__
    if not acquisition.selects_sets:
        raise RecipeError(
            f"{name} chooses among pairs only, but there are questions of up to {size} responses: set `sets_of: 2`, or "
            f"choose one of the rules {', '.join(RULES_FOR_SETS)}."
        )
    if acquisition.refused_for_sets is not None:
        raise RecipeError(
            f"{name} has {acquisition.refused_for_sets}, but there are questions of up to {size} responses. Or set "
            "`sets_of: 2`."
        )


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
        raise DuelistError(
            f"{name} must pick {budget} distinct questions with one score each, but picked {indices_B!r}."
        )
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
    unknown = needs - NEEDED_FIELDS
    if unknown:
        raise DuelistError(
            f"An acquisition's needs must name fields of Features, but got {', '.join(sorted(unknown))}."
        )
    return frozenset(needs)
