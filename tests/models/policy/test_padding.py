"""Padding, and which sequences run together (models/policy/padding.py)."""

from __future__ import annotations

import torch

from duelist.models.policy.padding import batches_by_count, padded


def test_rows_are_filled_up_on_the_right() -> None:
    found = padded([[1, 2, 3], (), (4,)], 9, torch.device("cpu"))
    assert found.dtype == torch.int64
    assert found.tolist() == [[1, 2, 3], [9, 9, 9], [4, 9, 9]]
    assert padded([[1]], 0, torch.device("cpu"), width=3).tolist() == [[1, 0, 0]]
    assert padded([[1, 2]], 0, torch.device("cpu"), width=1).tolist() == [[1, 2]]


def test_batches_keep_the_order_and_never_cross_a_threshold() -> None:
    lengths = [3, 9, 8, 20, 2, 10, 8]
    assert list(batches_by_count(range(7), lengths, 3, ())) == [[0, 1, 2], [3, 4, 5], [6]]
    assert list(batches_by_count(range(7), lengths, 3, (8,))) == [[0, 2, 4], [6], [1, 3, 5]]
    assert list(batches_by_count([4, 0, 6, 2, 1, 5, 3], lengths, 2, (8, 15))) == [[4, 0], [6, 2], [1, 5], [3]]
    assert list(batches_by_count([], [], 3, (8,))) == []
