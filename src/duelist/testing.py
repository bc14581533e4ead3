"""Conformance kits: what every implementation of an interface must do, as checks to call from your own tests.

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

from duelist.acquisition.base import ARRAY_FIELDS, Acquisition, choose, take
from duelist.errors import BudgetError, NumericalError
from duelist.types import Features

# How each field is drawn, for a pool of n pairs.
_DRAW: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "margin_N": lambda rng, n: rng.normal(size=n),
    "log_ratio_N2": lambda rng, n: rng.normal(size=(n, 2)),
    "prompt_entropy_N": lambda rng, n: rng.uniform(1, 9, size=n),
    "gradient_ND": lambda rng, n: rng.normal(size=(n, 24)),
    "embedding_ND": lambda rng, n: rng.normal(size=(n, 12)),
    "reward_N2K": lambda rng, n: rng.normal(size=(n, 2, 10)),
    "cost_N": lambda rng, n: rng.uniform(5, 60, size=n),
    "votes_N2": lambda rng, n: rng.integers(2, size=(n, 2)),
    "asked_margin_N": lambda rng, n: rng.normal(size=n),
    "target_MD": lambda rng, n: rng.normal(size=(9, 24)),
}


def random_features(n: int, needs: frozenset[str], seed: int = 0, past: int = 5, prompts: int = 4) -> Features:
    """A pool of `n` random pairs with the fields that `needs` names, and `past` past pairs with the same."""
    rng = np.random.default_rng(seed)

    def draw(count: int, label: str) -> Features:
        prompt = [f"prompt{rng.integers(prompts)}" for _ in range(count)]
        return Features(
            pair_id_N=np.array([f"{label}{i}" for i in range(count)], dtype=np.str_),
            prompt_ids_N2=np.array([(p, p) for p in prompt], dtype=np.str_).reshape(count, 2),
            response_ids_N2=np.array([(f"{label}{i}a", f"{label}{i}b") for i in range(count)], dtype=np.str_).reshape(
                count, 2
            ),
            length_N2=rng.integers(1, 50, size=(count, 2)),
            **{name: _DRAW[name](rng, count) for name in needs if name in _DRAW},  # type: ignore[arg-type]
        )

    return dataclasses.replace(draw(n, "candidate"), past=draw(past, "past"))


def check_acquisition(acquisition: Acquisition, n: int = 30, budget: int = 7) -> None:
    """Check that a rule keeps its contract: the same seed gives the same picks, the order of the pool does not matter,
    no pair is picked twice, the budget is kept, exact ties are a fair draw, NaN is refused, and small pools work.

    Args:
        acquisition: the rule.
        n: the size of the pools tried.
        budget: how many to pick of them.

    Raises:
        AssertionError: saying what the rule did wrong.
    """
    features = random_features(n, acquisition.needs)
    picks = _picked(acquisition, features, budget)
    assert len(set(picks)) == budget, f"{budget} distinct pairs must be picked, but got {picks}"
    assert picks == _picked(acquisition, features, budget), "the same generator must give the same picks"

    shuffled = take(features, np.random.default_rng(1).permutation(n))
    assert picks == _picked(acquisition, shuffled, budget), "the order of the pool must not change the picks"

    everything = _picked(acquisition, features, n)
    assert sorted(everything) == sorted(features.pair_id_N.tolist()), "a budget of the whole pool must pick all of it"
    assert _picked(acquisition, random_features(0, acquisition.needs), 0) == [], "an empty pool must give no picks"
    assert len(_picked(acquisition, random_features(1, acquisition.needs), 1)) == 1, "a pool of one must be picked"
    _picked(acquisition, random_features(n, acquisition.needs, prompts=1), budget)  # one prompt only
    _picked(acquisition, random_features(n, acquisition.needs, past=0), budget)  # nothing asked before

    for too_many in (n + 1, -1):
        _must_raise(BudgetError, partial(_picked, acquisition, features, too_many), f"a budget of {too_many}")

    identical = dataclasses.replace(features, **_same_for_all(features))
    first = {_picked(acquisition, identical, 1, seed)[0] for seed in range(40)}
    assert len(first) > 5, f"among equals the choice must be a draw by the seed, but 40 seeds gave only {sorted(first)}"

    for name in acquisition.needs - {"past"}:
        values = getattr(features, name)
        if values is not None and values.dtype.kind == "f":
            broken = values.copy()
            broken.reshape(len(values), -1)[3, 0] = np.nan
            changed: dict[str, Any] = {name: broken}
            spoilt = dataclasses.replace(features, **changed)
            _must_raise(NumericalError, partial(_picked, acquisition, spoilt, budget), f"NaN in {name}")


def _picked(acquisition: Acquisition, features: Features, budget: int, seed: int = 0) -> list[str]:
    selection = choose(acquisition, features, budget, np.random.default_rng(seed))
    return [str(i) for i in features.pair_id_N[selection.indices_B]]


def _same_for_all(features: Features) -> dict[str, Any]:
    fields = {name: getattr(features, name) for name in ARRAY_FIELDS if name not in ("pair_id_N", "response_ids_N2")}
    return {k: np.repeat(v[:1], features.n, axis=0) for k, v in fields.items() if v is not None}


def _must_raise(error: type[Exception], call: Callable[[], object], what: str) -> None:
    try:
        call()
    except error:
        return
    raise AssertionError(f"{what} must be refused with {error.__name__}")
