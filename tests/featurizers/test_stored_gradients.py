"""Gradients in one file and in shards, against the arrays that were put."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from duelist.errors import StorageError
from duelist.featurizers.stored_gradients import GRADIENTS, StoredGradients, discard_gradients

D = 7


def opened(folder: Path, rows: NDArray[np.void], finished: NDArray[np.bool_]) -> StoredGradients:
    return StoredGradients(folder, rows, finished, np.dtype(np.float16), D)


def test_rows_come_back_in_any_order_from_the_file_and_from_shards(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    values_XD = rng.normal(size=(9, D)) * 1e6  # beyond the range of float16, were they not scaled
    rows = np.zeros(9, [("shard", "<u8"), ("at", "<i4"), ("scale", "<f8")])
    stored = opened(tmp_path, rows, np.zeros(9, bool))
    here_X, first_X, second_X = np.array([0, 4, 8]), np.array([7, 1, 2]), np.array([3, 5, 6])
    stored.put(first_X, np.arange(3), stored.shards.write(values_XD[first_X]))
    assert not (tmp_path / GRADIENTS).exists()
    stored.put(here_X, np.arange(3), values_XD[here_X])
    stored.put(second_X[1:], np.arange(1, 3), stored.shards.write(values_XD[second_X]))
    stored.put(second_X[:1], np.arange(1), values_XD[second_X[:1]])
    stored.flush()
    again = opened(tmp_path, rows, np.ones(9, bool))
    for order_S in (rng.permutation(9), np.array([8, 8, 0]), np.array([2, 7]), np.array([], np.int64)):
        found_SD = again.read(order_S)
        assert found_SD.dtype == np.float16 and found_SD.shape == (len(order_S), D)
        np.testing.assert_allclose(found_SD * rows["scale"][order_S, None], values_XD[order_S], rtol=2e-3, atol=2e3)
    (tmp_path / GRADIENTS).write_bytes((tmp_path / GRADIENTS).read_bytes()[:-1])
    with pytest.raises(
        StorageError, match=f"{GRADIENTS} must be what was saved.*delete {re.escape(str(tmp_path))}, or"
    ):
        opened(tmp_path, rows, np.ones(9, bool))
    discard_gradients(tmp_path)
    with pytest.raises(
        StorageError, match=rf"shards.[0-9a-f]+\.npy must be what was saved.*delete {re.escape(str(tmp_path))}, or"
    ):
        opened(tmp_path, rows, np.ones(9, bool))
