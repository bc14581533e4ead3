"""Conformance kit: checks of the contract of an acquisition rule, or of an engine, to call from your own tests.

from duelist.testing import check_acquisition

def test_my_rule():
    check_acquisition(MyRule())
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from duelist.acquisition.base import Acquisition, choose, take
from duelist.acquisition.feature_contract import ARRAY_FIELDS
from duelist.acquisition.random_pool import random_features as random_features
from duelist.engines.conformance import check_engine as check_engine
from duelist.errors import BudgetError, NumericalError, RecipeError
from duelist.types import Features


def check_acquisition(acquisition: Acquisition, n: int = 30, budget: int = 7) -> None:
    """Check that an acquisition rule keeps its contract.

    The contract: the same seed gives the same picks; the order of the pool does not matter; no pair is picked twice;
    the budget is kept; exact ties are broken fairly; NaN raises an error; small pools, pools of one prompt and
    cross-prompt pools work; the rule reads only the fields that `needs` names; cost counts as gain per second or not
    at all. If the rule declares `selects_sets` and its settings allow it, the same holds for questions of up to four
    responses; if not, they are refused.

    Args:
        acquisition: the rule.
        n: size of the test pools, in pairs.
        budget: number of pairs to pick.

    Raises:
        AssertionError: if the rule breaks the contract; the message says how.
    """
    needs = acquisition.needs
    _check_sets(acquisition, n, budget)
    features = _only(random_features(n, needs), needs)
    picks = _picked(acquisition, features, budget)
    assert len(set(picks)) == budget, f"{budget} distinct pairs must be picked, but got {picks}"
    assert picks == _picked(acquisition, features, budget), "the same generator must give the same picks"

    shuffled = take(features, np.random.default_rng(1).permutation(n))
    assert picks == _picked(acquisition, shuffled, budget), "the order of the pool must not change the picks"

    everything = _picked(acquisition, features, n)
    assert sorted(everything) == sorted(features.pair_id_N.tolist()), "a budget of the whole pool must pick all of it"
    assert _picked(acquisition, random_features(0, needs), 0) == [], "an empty pool must give no picks"
    assert len(_picked(acquisition, random_features(1, needs), 1)) == 1, "a pool of one must be picked"
    _picked(acquisition, random_features(n, needs, prompts=1), budget)  # one prompt only
    _picked(acquisition, random_features(n, needs, past=0), budget)  # no past pairs
    _picked(acquisition, random_features(n, needs, prompts=n), budget)  # few shared responses
    _picked(acquisition, random_features(n, needs, cross_prompt=True), budget)

    for too_many in (n + 1, -1):
        _must_raise(BudgetError, partial(_picked, acquisition, features, too_many), f"a budget of {too_many}")

    identical = dataclasses.replace(features, **_same_for_all(features))
    _check_ties(acquisition, identical)

    _check_needs(acquisition, features, budget)
    _check_cost(acquisition, features, identical, budget)
    for name in needs - {"past"}:
        values = getattr(features, name)
        if values is not None and values.dtype.kind == "f":
            broken = values.copy()
            broken.reshape(len(values), -1)[3, 0] = np.nan
            changed: dict[str, Any] = {name: broken}
            spoilt = dataclasses.replace(features, **changed)
            _must_raise(NumericalError, partial(_picked, acquisition, spoilt, budget), f"NaN in {name}")


def _check_sets(acquisition: Acquisition, n: int, budget: int) -> None:
    """Check the contract on questions of several responses, or that they are refused."""
    needs = acquisition.needs
    features = _only(random_features(n, needs, sets_of=4), needs)
    if not acquisition.selects_sets or acquisition.refused_for_sets is not None:
        _must_raise(
            RecipeError, partial(_picked, acquisition, features, budget), "questions of more than two responses"
        )
        return
    picks = _picked(acquisition, features, budget)
    assert len(set(picks)) == budget, f"{budget} distinct questions must be picked, but got {picks}"
    assert picks == _picked(acquisition, features, budget), "the same generator must give the same picks"
    shuffled = take(features, np.random.default_rng(1).permutation(n))
    assert picks == _picked(acquisition, shuffled, budget), "the order of the pool must not change the picks"
    everything = _picked(acquisition, features, n)
    assert sorted(everything) == sorted(features.pair_id_N.tolist()), "a budget of the whole pool must pick all of it"
    for pool in (
        random_features(n, needs, prompts=1, sets_of=3),
        random_features(n, needs, past=0, sets_of=6),
        random_features(n, needs, prompts=n, sets_of=4),
    ):
        _picked(acquisition, pool, budget)
    assert features.place_NQ is not None and features.asks_N is not None
    same: dict[str, Any] = {
        "place_NQ": np.repeat(features.place_NQ[:1], n, axis=0),
        "asks_N": np.repeat(features.asks_N[:1], n),
    }
    identical = dataclasses.replace(features, **same)
    _check_ties(acquisition, identical)
    _check_cost(acquisition, features, identical, budget)


def _check_ties(acquisition: Acquisition, identical: Features) -> None:
    """Check that among equals the seed decides; most rules show it within ten seeds."""
    first: set[str] = set()
    for seed in range(40):
        first.add(_picked(acquisition, identical, 1, seed)[0])
        if len(first) > 5:
            return
    raise AssertionError(f"among equals the choice must be a draw by the seed, but 40 seeds gave only {sorted(first)}")


def _check_needs(acquisition: Acquisition, features: Features, budget: int) -> None:
    """Check that fields outside `needs` do not change the selection: they are None in a study."""
    everything = frozenset({*ARRAY_FIELDS, "target_MD"}) - {"cost_N"}
    full = random_features(features.n, everything)
    picks, picks_full = (_picked(acquisition, f, budget) for f in (features, full))
    assert picks == picks_full, (
        f"only fields that `needs` names may be looked at, but with other fields filled the picks were {picks_full} "
        f"instead of {picks}"
    )


def _check_cost(acquisition: Acquisition, features: Features, identical: Features, budget: int) -> None:
    """Check that cost counts as gain per second only: constants change nothing, the cheapest of equals is first."""
    n = features.n
    cost_N = np.random.default_rng(2).permutation(np.linspace(5.0, 60.0, n))
    without = _picked(acquisition, features, budget)
    if not acquisition.honours_cost:
        with_cost = _picked(acquisition, dataclasses.replace(features, cost_N=cost_N), budget)
        assert with_cost == without, "a rule that does not declare `honours_cost` must not look at cost_N"
        return
    for seconds in (1.0, 30.0):
        constant = dataclasses.replace(features, cost_N=np.full(n, seconds))
        assert _picked(acquisition, constant, budget) == without, "a cost that is the same for all must change nothing"
    priced = dataclasses.replace(identical, cost_N=cost_N)
    selection = choose(acquisition, priced, 1, np.random.default_rng(0))
    if selection.scores_B[0] > 0:
        assert selection.indices_B[0] == cost_N.argmin(), "of pairs that differ in cost alone the cheapest is first"


def _only(features: Features, needs: frozenset[str]) -> Features:
    """Return the features as a study fills them: without past pairs unless the rule asks for them."""
    return features if "past" in needs else dataclasses.replace(features, past=None)


def _picked(acquisition: Acquisition, features: Features, budget: int, seed: int = 0) -> list[str]:
    selection = choose(acquisition, features, budget, np.random.default_rng(seed))
    return [str(i) for i in features.pair_id_N[selection.indices_B]]


def _same_for_all(features: Features) -> dict[str, Any]:
    """Return values that make every pair equal to the first, each with two responses of its own."""
    fields = {name: getattr(features, name) for name in ARRAY_FIELDS if name not in ("pair_id_N", "response_ids_N2")}
    same: dict[str, Any] = {k: np.repeat(v[:1], features.n, axis=0) for k, v in fields.items() if v is not None}
    own = [(f"{i}a", f"{i}b") for i in range(features.n)]
    return {**same, "response_ids_N2": np.array(own, dtype=np.str_).reshape(features.n, 2)}


def _must_raise(error: type[Exception], call: Callable[[], object], what: str) -> None:
    try:
        call()
    except error:
        return
    raise AssertionError(f"{what} must be refused with {error.__name__}")
