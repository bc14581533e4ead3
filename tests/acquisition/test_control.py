"""The control slice, by enumeration: every order of the pool that chance could give."""

from __future__ import annotations

from collections import Counter
from itertools import permutations

import numpy as np
import pytest

import duelist.acquisition.control as control
from duelist.acquisition.control import Sampled, control_size, with_control
from duelist.types import Selection

IDS = ["a", "b", "c", "d", "e", "f"]
VALUE_N = np.array([3.0, -1.0, 4.0, 1.0, -5.0, 9.0])


def picked(*indices: int) -> Selection:
    return Selection(np.array(indices), np.arange(len(indices), 0, -1.0), "nats", {"lambda": 1.0})


def every(selection: Selection, size: int, monkeypatch: pytest.MonkeyPatch) -> list[Sampled]:
    """The batch for each of the 720 random orders of the pool."""
    found = []
    for order in permutations(range(len(IDS))):
        monkeypatch.setattr(control, "hash_keys", lambda rng, ids, order=order: np.argsort(order))
        found.append(with_control(selection, IDS, size, np.random.default_rng(0)))
    return found


@pytest.mark.parametrize(
    ("picks", "size"), [((4, 0, 2, 5), 1), ((4, 0, 2, 5), 2), ((1, 3, 5, 0), 3), ((1, 3, 5, 0), 4)]
)
def test_the_inclusion_probabilities_are_exact(
    picks: tuple[int, ...], size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given what was taken for certain, the others are a uniform sample of the rest, so 1/π is unbiased."""
    batches: dict[tuple[int, ...], Counter[frozenset[int]]] = {}
    totals = []
    for found in every(picked(*picks), size, monkeypatch):
        chosen, pi_B = found.selection.indices_B, found.inclusion_B
        assert len(set(chosen.tolist())) == 4
        certain = tuple(chosen[found.selection.scores_B > 0].tolist())
        assert certain == picks[: len(certain)] and len(certain) < 4  # in the rule's order
        drawn = frozenset(chosen.tolist()) - set(certain)
        batches.setdefault(certain, Counter())[drawn] += 1
        assert pi_B == pytest.approx(np.where(np.isin(chosen, certain), 1.0, len(drawn) / (6 - len(certain))))
        totals.append((VALUE_N[chosen] / pi_B).sum())
    assert np.mean(totals) == pytest.approx(VALUE_N.sum(), abs=1e-12)
    for certain, counts in batches.items():
        rest = 6 - len(certain)
        n_sets = np.prod(range(rest, rest - (4 - len(certain)), -1)) / np.prod(range(1, 5 - len(certain)))
        assert len(counts) == n_sets and len(set(counts.values())) == 1


def test_the_control_pairs_are_a_uniform_sample_of_the_whole_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Counter(
        frozenset(f.selection.indices_B[f.control_B].tolist()) for f in every(picked(4, 0, 2, 5), 2, monkeypatch)
    )
    assert len(seen) == 15 and set(seen.values()) == {48}


@pytest.mark.parametrize("size", [0, 1, 2, 3])
def test_random_picks_before_the_rule_are_control_pairs_and_the_batch_is_the_same(size: int) -> None:
    """A mixed round: two pairs at random, then the rule, here the best values of the others."""
    seen: Counter[int] = Counter()
    for seed, drawn in enumerate(permutations(range(6), 2)):
        rest = sorted(set(range(6)) - set(drawn), key=lambda i: -VALUE_N[i])[:2]
        for again in range(20):
            rngs = [np.random.default_rng(100 * seed + again) for _ in range(2)]
            plain, told = (
                with_control(picked(*drawn, *rest), IDS, size, rng, random_first=n)
                for rng, n in zip(rngs, (0, 2), strict=True)
            )
            assert (plain.selection.indices_B == told.selection.indices_B).all()
            assert (plain.inclusion_B == told.inclusion_B).all() and (told.control_B >= plain.control_B).all()
            own = set(told.selection.indices_B[told.selection.scores_B > 0].tolist())
            control = set(told.selection.indices_B[told.control_B].tolist())
            assert own & set(drawn) <= control
            of_rule = set(told.selection.indices_B[(told.inclusion_B == 1) & ~told.control_B].tolist())
            assert of_rule <= set(rest)
            seen.update(control)
    # Over every draw of the random picks, each pair of the pool is a control pair equally often, but for the slice's
    # chance; the rule's own favourite is none of them.
    share_N = np.array([seen[i] for i in range(6)]) / seen.total()
    assert share_N == pytest.approx(np.full(6, 1 / 6), abs=0.02)


def test_the_batch_is_the_shortest_prefix_that_fills_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "hash_keys", lambda rng, ids: np.array([5, 4, 1, 0, 3, 2]))  # d, c first
    found = with_control(picked(4, 2, 0, 5), IDS, 2, np.random.default_rng(0))
    assert set(found.selection.indices_B.tolist()) == {4, 2, 0, 3}  # c is a pick of the rule too
    by_index = dict(
        zip(found.selection.indices_B.tolist(), zip(found.inclusion_B, found.control_B, strict=True), strict=True)
    )
    assert by_index == {4: (1.0, False), 2: (1.0, True), 0: (1.0, False), 3: (1 / 3, True)}
    assert found.selection.diagnostics == {"lambda": 1.0, "picked_by_rule": 3}


def test_the_order_of_the_pool_and_the_places_of_the_slice_do_not_matter_to_each_other() -> None:
    ids = [f"pair{i}" for i in range(50)]
    places = []
    for seed in range(40):
        found = with_control(picked(*range(10)), ids, 5, np.random.default_rng(seed))
        turned = with_control(picked(*range(49, 39, -1)), ids[::-1], 5, np.random.default_rng(seed))
        assert [ids[i] for i in found.selection.indices_B] == [ids[::-1][i] for i in turned.selection.indices_B]
        places += np.flatnonzero(found.inclusion_B < 1).tolist()
    assert set(places) == set(range(10))  # anywhere in the batch


def test_without_a_slice_and_with_a_random_rule_the_batch_is_the_rule_s() -> None:
    plain = with_control(picked(4, 0), IDS, 0, np.random.default_rng(0))
    assert plain.selection.indices_B.tolist() == [4, 0]
    assert plain.inclusion_B.tolist() == [1, 1] and not plain.control_B.any()
    uniform = with_control(picked(4, 0), IDS, 1, np.random.default_rng(0), uniform=True)
    assert uniform.selection.indices_B.tolist() == [4, 0]
    assert uniform.inclusion_B == pytest.approx([1 / 3, 1 / 3]) and uniform.control_B.all()


def test_sizes() -> None:
    assert [control_size(f, 16) for f in (0.0, 0.001, 0.1, 0.25, 1.0)] == [0, 1, 2, 4, 16]
    whole = with_control(picked(4, 0, 2), IDS, 3, np.random.default_rng(0))
    assert whole.control_B.all() and whole.inclusion_B == pytest.approx([0.5] * 3)
    every_pair = with_control(picked(0, 1, 2, 3, 4, 5), IDS, 2, np.random.default_rng(0))
    assert sorted(every_pair.selection.indices_B.tolist()) == list(range(6)) and (every_pair.inclusion_B == 1).all()
