"""The map of the pool, against a dense singular value decomposition."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import small_study
from duelist.report.pool_map import placed, pool_map, round_groups, spread
from duelist.report.record import read_arm
from duelist.store import codecs
from duelist.store.opening import create_folder
from duelist.types import Draws


@pytest.mark.parametrize("seed", range(3))
def test_places_are_principal_components_of_tf_idf(seed: int) -> None:
    rng = np.random.default_rng(seed)
    bags = [Counter(rng.choice(15, size=rng.integers(1, 20)).tolist()) for _ in range(25)]
    times_NV = np.array([[bag[v] for v in range(15)] for bag in bags], float)
    weight_NV = np.where(times_NV > 0, 1 + np.log(np.maximum(times_NV, 1)), 0) * np.log(25 / (times_NV > 0).sum(axis=0))
    weight_NV /= np.linalg.norm(weight_NV, axis=1, keepdims=True)
    u, s, _ = np.linalg.svd(weight_NV - weight_NV.mean(axis=0))
    found_N2 = placed(bags)
    np.testing.assert_allclose(np.abs(found_N2), np.abs(u[:, :2] * s[:2]), atol=1e-8)
    assert (found_N2[np.abs(found_N2).argmax(axis=0), [0, 1]] > 0).all()


def test_bags_without_a_difference_lie_in_one_place() -> None:
    assert placed([{1: 1, 2: 2, 3: 1, 4: 1}] * 6).tolist() == [[0.0, 0.0]] * 6
    assert placed([{1: 1}, {2: 1}]).tolist() == [[0.0, 0.0]] * 2


def test_rounds_are_grouped_evenly_and_items_spread() -> None:
    assert round_groups([1, 2, 3]) == [[1], [2], [3]]
    assert [len(g) for g in round_groups(range(1, 9))] == [2, 2, 1, 1, 1, 1]
    assert spread(range(10), 4) == [0, 3, 6, 9] and spread([1, 2], 4) == [1, 2]


def with_pool(path: Path) -> None:
    """A study whose fixed pool lies in its folder: two rounds of three of its twelve pairs."""
    folder = create_folder(path, small_study.RECIPE)
    pairs = [x.question for t in (1, 2, 3, 4) for x in small_study.pairs_of(t)]
    draws = Draws(tuple(r for q in pairs for r in q.responses), ())
    folder.run(1, "sample", codecs.DRAWS, lambda: draws)
    folder.run(1, "pair", codecs.questions(draws), lambda: pairs)
    small_study.close(folder, 0)
    for t in (1, 2):
        small_study.ask(folder, t)
        small_study.tell(folder, t)
        small_study.close(folder, t)
    folder.close()


def test_a_map_has_every_candidate_and_every_pick(tmp_path: Path) -> None:
    with_pool(tmp_path)
    study = read_arm(tmp_path)
    assert pool_map(replace(study, asked=[])) is None
    found = pool_map(study)
    assert found is not None and found.groups == ("round 1", "round 2")
    assert (found.pool, found.pool_shown, found.picks, found.picks_shown) == (12, 12, 6, 6)
    assert found.svg.count("pick t0") == found.svg.count("pick t1") == 3 and found.svg.count("h0") == 12
    assert ">2.3</title>" in found.svg
    (tmp_path / "rounds/001/responses.jsonl").unlink()
    assert pool_map(study) is None
