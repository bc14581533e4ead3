"""Rows of a pool, in another order than they are stored in."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from duelist.acquisition import feature_contract
from duelist.acquisition.feature_contract import IDENTITIES, random_order, take
from duelist.acquisition.numerics.pool_rows import PoolRows, first_non_finite, row_square_norms
from duelist.files import scratch
from duelist.seeding import hash_keys
from duelist.testing import random_features


@pytest.fixture(params=["memory", "mapped", "view of mapped"])
def stored(request: pytest.FixtureRequest, tmp_path: Path) -> np.ndarray:
    array = np.random.default_rng(0).normal(size=(23, 4)).astype(np.float32)
    if request.param == "memory":
        return array
    np.save(tmp_path / "rows.npy", array)
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    return mapped if request.param == "mapped" else np.asarray(mapped)[:]


def test_rows_are_read_in_the_order_asked_for(stored: np.ndarray) -> None:
    order_N = np.array([7, 3, 4, 5, 22, 0])
    rows = PoolRows(stored, block_rows=2)[order_N]
    expected = np.array(stored)[order_N]
    assert (len(rows), rows.shape, rows.dtype) == (6, (6, 4), np.float32)
    assert np.array_equal(np.asarray(rows), expected)
    positions_N = np.array([5, 0, 2])
    assert np.array_equal(rows.read(positions_N), expected[positions_N])
    assert rows.read(positions_N).dtype == np.float64
    assert np.array_equal(rows[positions_N].read(np.array([1])), expected[[0]])
    gathered = np.full((6, 4), np.nan)
    for some_N, block_ND in rows.blocks():
        assert len(some_N) <= 2
        gathered[some_N] = block_ND
    assert np.array_equal(gathered, expected)
    np.testing.assert_allclose(row_square_norms(rows), (expected.astype(float) ** 2).sum(axis=1))


def test_what_is_not_finite_is_found_by_position() -> None:
    array = np.ones((9, 2), np.float16)
    assert first_non_finite(array) is None
    array[4, 1] = -np.inf
    assert first_non_finite(PoolRows(array, np.array([8, 4, 1]), block_rows=1)) == (1, -np.inf)
    assert first_non_finite(array[:, 1]) == (4, -np.inf)
    assert first_non_finite(array[:0]) is None


def test_taking_mapped_rows_copies_nothing(tmp_path: Path) -> None:
    features = random_features(10, frozenset({"gradient_ND"}))
    assert features.gradient_ND is not None
    np.save(tmp_path / "rows.npy", features.gradient_ND)
    mapped = dataclasses.replace(features, gradient_ND=np.load(tmp_path / "rows.npy", mmap_mode="r"))
    twice = take(take(mapped, np.arange(9, -1, -1)), np.array([0, 2]))
    assert isinstance(twice.gradient_ND, PoolRows)
    assert np.array_equal(np.asarray(twice.gradient_ND), features.gradient_ND[[9, 7]])
    assert twice.pair_id_N.tolist() == ["candidate9", "candidate7"]


def test_scaled_rows_are_scaled_wherever_they_are_read() -> None:
    rng = np.random.default_rng(2)
    stored, order_N, scale_N = rng.normal(size=(9, 4)), rng.permutation(9)[:7], rng.uniform(1, 2, size=7)
    rows = PoolRows(stored, order_N, block_rows=2).scaled(scale_N).scaled(np.full(7, 3.0))
    expected = 3 * scale_N[:, None] * stored[order_N]
    np.testing.assert_allclose(np.asarray(rows), expected)
    some_N = np.array([5, 0, 3])
    np.testing.assert_allclose(rows.read(some_N), expected[some_N])
    np.testing.assert_allclose(np.asarray(rows[some_N]), expected[some_N])
    for positions_N, block_ND in rows.blocks():
        np.testing.assert_allclose(block_ND, expected[positions_N])
    np.testing.assert_array_equal(stored, np.random.default_rng(2).normal(size=(9, 4)))


def test_mapped_ids_are_taken_as_arrays(monkeypatch: pytest.MonkeyPatch) -> None:
    features, order_N = random_features(10, frozenset()), np.array([9, 0, 3, 4])
    expected = take(features, order_N)
    monkeypatch.setattr(scratch, "MAPPED_ABOVE", 0)
    monkeypatch.setattr(feature_contract, "IDS_AT_ONCE", 3)
    mapped = {
        name: scratch.temporary_array(v.dtype, v.shape) for name in IDENTITIES if (v := getattr(features, name)).size
    }
    for name, values in mapped.items():
        values[:] = getattr(features, name)
    pool = dataclasses.replace(features, **mapped)
    found = take(pool, order_N)
    for name in IDENTITIES:
        assert isinstance(getattr(found, name), np.memmap)
        assert np.array_equal(getattr(found, name), getattr(expected, name))
    rng = np.random.default_rng
    keys_N = hash_keys(rng(3), features.pair_id_N.tolist())
    assert random_order(pool, rng(3)).tolist() == random_order(features, rng(3)).tolist() == np.argsort(keys_N).tolist()
