"""The engines on questions of several rows, below the rules: ties, webs of responses, files, digits, targets."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duelist.acquisition.numerics import lazy_search, question_greedy, question_information, response_groups
from duelist.acquisition.numerics.greedy import pick_greedily
from duelist.acquisition.numerics.question_information import pool_targets
from duelist.acquisition.numerics.question_rows import QuestionRows, log_determinants
from duelist.acquisition.numerics.trace_design import reduce_trace
from duelist.choice_models.information import information_matrices, roots
from duelist.errors import BudgetError, DuelistError, NumericalError

Arrays = tuple[np.ndarray, np.ndarray, np.ndarray]


def questions(rng: np.random.Generator, n: int, responses: int, largest: int, rewards: Any = None) -> Arrays:
    """Places, M and C of random questions over all responses: rankings of mixed sizes, some of them twice."""
    place_NQ = np.full((n, largest), -1)
    for row in place_NQ:
        k = int(rng.integers(2, largest + 1))
        row[:k] = rng.choice(responses, size=k, replace=False)
    place_NQ = place_NQ[rng.integers(0, max(1, n // 2), n)] if rng.random() < 0.5 else place_NQ
    size_N = (place_NQ >= 0).sum(axis=1)
    reward_R = rng.normal(size=responses) if rewards is None else rewards
    matrix_NQQ = information_matrices(reward_R[place_NQ], np.full(n, "ranking"), size_N)
    return place_NQ, matrix_NQQ, roots(matrix_NQQ, size_N)


def dense(gradient_RD: np.ndarray, place_NQ: np.ndarray, matrix_NQQ: np.ndarray) -> np.ndarray:
    """Gᵀ M G of every question."""
    parts = []
    for row, matrix_QQ in zip(place_NQ, matrix_NQQ, strict=True):
        g = gradient_RD[row[row >= 0]].astype(np.float64)
        parts.append(g.T @ matrix_QQ[: len(g), : len(g)] @ g)
    return np.array(parts)


@given(data=st.data(), seed=st.integers(0, 10**6))
def test_equals_brute_force_on_pools_full_of_ties(data: st.DataObject, seed: int) -> None:
    """Equal questions, equal responses, ranks below the dimensions: with groups of any size, blocks and first looks."""
    rng = np.random.default_rng(seed)
    n, d, p = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 7)), data.draw(st.integers(0, 9))
    responses, largest = data.draw(st.integers(5, 14)), data.draw(st.integers(2, 5))
    gradient_RD = rng.integers(-2, 3, size=(responses, d)).astype(np.float64)
    rewards = rng.integers(-1, 2, size=responses).astype(np.float64)
    place_NQ, matrix_NQQ, root_NQW = questions(rng, n, responses, largest, rewards)
    past_XD = rng.integers(-2, 3, size=(p, d)).astype(np.float64)
    budget = data.draw(st.integers(1, n))
    cost_N = rng.integers(1, 3, size=n).astype(np.float64) if data.draw(st.booleans()) else None
    one_NDD = dense(gradient_RD, place_NQ, matrix_NQQ)
    matrix_DD, picks, gains = 0.125 * np.eye(d) + past_XD.T @ past_XD, [], []
    for _ in range(budget):
        before = np.linalg.slogdet(matrix_DD)[1]
        gain_N = np.array([np.linalg.slogdet(matrix_DD + one)[1] - before for one in one_NDD])
        worth_N = gain_N if cost_N is None else gain_N / cost_N
        worth_N[picks] = -np.inf
        picks.append(int(np.argmax(worth_N >= worth_N.max() - 1e-10)))
        gains.append(float(gain_N[picks[-1]]))
        matrix_DD = matrix_DD + one_NDD[picks[-1]]
    with (
        mock.patch.object(lazy_search, "FIRST_LOOK", data.draw(st.integers(1, 4))),
        mock.patch.object(response_groups, "LARGEST_GROUP", data.draw(st.sampled_from([1, 6, 32]))),
        mock.patch.object(question_greedy, "FEW_DIRECTIONS", data.draw(st.sampled_from([0, 3, 100]))),
    ):
        rows = QuestionRows(gradient_RD, place_NQ, root_NQW, block_rows=data.draw(st.integers(1, 9)))
        found = pick_greedily(rows, past_XD, 0.125, budget, cost_N=cost_N)
    assert found.indices_B.tolist() == picks
    np.testing.assert_allclose(np.log1p(found.square_B), gains, rtol=1e-8, atol=1e-10)


@given(
    seed=st.integers(0, 10**6),
    n=st.integers(1, 10),
    d=st.integers(1, 8),
    m=st.integers(0, 10),
    p=st.integers(0, 9),
    logarithm=st.floats(-3, 2),
    copied=st.booleans(),
)
def test_each_update_of_the_trace_is_the_definition(
    seed: int, n: int, d: int, m: int, p: int, logarithm: float, copied: bool
) -> None:
    """Gains add up to the trace's fall, pick by pick, whatever the shapes; and each is the largest there is."""
    from duelist.acquisition.numerics import question_variances

    rng = np.random.default_rng(seed)
    gradient_RD, past_PD, target_MD = (rng.normal(size=(count, d)) for count in (9, p, m))
    place_NQ, matrix_NQQ, root_NQW = questions(rng, n, 9, 4)
    one_NDD, regularizer = dense(gradient_RD, place_NQ, matrix_NQQ), 10.0**logarithm
    with mock.patch.object(question_variances, "COPY_BYTES", 2**31 if copied else 0):
        rows = QuestionRows(gradient_RD, place_NQ, root_NQW, block_rows=4)
        picks = reduce_trace(rows, past_PD, target_MD, regularizer, n)
    matrix_DD = regularizer * np.eye(d) + past_PD.T @ past_PD
    second_DD = target_MD.T @ target_MD / max(1, m)
    assert picks.trace_before == pytest.approx(np.trace(second_DD @ np.linalg.inv(matrix_DD)), rel=1e-7, abs=1e-12)
    left = list(range(n))
    for i, gain in zip(picks.indices_B.tolist(), picks.gain_B, strict=True):
        trace = np.trace(second_DD @ np.linalg.inv(matrix_DD))
        fall = {j: trace - np.trace(second_DD @ np.linalg.inv(matrix_DD + one_NDD[j])) for j in left}
        tolerance = 1e-9 * picks.trace_before
        assert gain == pytest.approx(fall[i], rel=1e-5, abs=tolerance)
        assert fall[i] >= max(fall.values()) * (1 - 1e-5) - tolerance
        matrix_DD = matrix_DD + one_NDD[i]
        left.remove(i)


def test_many_picks_in_few_directions_keep_their_digits() -> None:
    """Gains fall by nine orders of magnitude; the oracle inverts 2 x 2 matrices in extended precision."""
    rng = np.random.default_rng(4)
    gradient_RD = rng.normal(size=(40, 2))
    place_NQ, matrix_NQQ, root_NQW = questions(rng, 60, 40, 4)
    target_MD, regularizer = rng.normal(size=(5, 2)), 1e-6
    picks = reduce_trace(QuestionRows(gradient_RD, place_NQ, root_NQW), np.empty((0, 2)), target_MD, regularizer, 30)
    one_NDD = dense(gradient_RD, place_NQ, matrix_NQQ).astype(np.longdouble)
    second_DD = (target_MD.T @ target_MD / 5).astype(np.longdouble)
    matrix_DD = regularizer * np.eye(2, dtype=np.longdouble)

    def trace(m: np.ndarray) -> np.longdouble:
        adjugate = np.array([[m[1, 1], -m[0, 1]], [-m[1, 0], m[0, 0]]])
        return np.longdouble((second_DD * adjugate.T).sum() / (m[0, 0] * m[1, 1] - m[0, 1] * m[1, 0]))

    left = set(range(60))
    for i, gain in zip(picks.indices_B.tolist(), picks.gain_B.tolist(), strict=True):
        falls = {j: float(trace(matrix_DD) - trace(matrix_DD + one_NDD[j])) for j in left}
        assert gain == pytest.approx(max(falls.values()), rel=1e-5)
        matrix_DD = matrix_DD + one_NDD[i]
        left.remove(i)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_a_mapped_file_gives_the_same_picks_in_bounded_memory(tmp_path: Path, dtype: type) -> None:
    """Four of eight responses of forty prompts, in blocks that hold two prompts."""
    rng = np.random.default_rng(0)
    strong = rng.normal(size=(340, 12)) / np.arange(1, 13) @ rng.normal(size=(12, 64))
    gradient_RD = (strong + 0.3 * rng.normal(size=(340, 64))).astype(dtype)
    np.save(tmp_path / "gradient.npy", gradient_RD)
    sets = [[8 * x + i for i in chosen] for x in range(40) for chosen in combinations(range(8), 4)]
    place_NQ = np.array(sets)[rng.permutation(len(sets))]
    size_N = np.full(len(sets), 4)
    root_NQW = roots(
        information_matrices(rng.normal(size=340)[place_NQ], np.full(len(sets), "ranking"), size_N), size_N
    )
    past_PD = gradient_RD[320:]
    in_memory = pick_greedily(QuestionRows(gradient_RD, place_NQ, root_NQW), past_PD, 0.3, 40)
    mapped = QuestionRows(np.load(tmp_path / "gradient.npy", mmap_mode="r"), place_NQ, root_NQW, block_rows=16)
    assert mapped.mapped and mapped.stored_rows == 320 and len(mapped.groups) == 40
    found = pick_greedily(mapped, past_PD, 0.3, 40)
    assert found.indices_B.tolist() == in_memory.indices_B.tolist()
    assert 320 <= found.rows_read <= 40 * 320
    target_MD = gradient_RD[:50].astype(np.float64)
    both = [reduce_trace(rows, past_PD, target_MD, 0.3, 20).indices_B.tolist() for rows in (
        QuestionRows(gradient_RD, place_NQ, root_NQW), mapped)]  # fmt: skip
    assert both[0] == both[1]


def test_a_web_of_responses_is_divided_into_questions() -> None:
    rng = np.random.default_rng(2)
    place_NQ, _, _ = questions(rng, 50, 60, 3)
    groups = response_groups.ResponseGroups.of(place_NQ, 60)
    assert (np.diff(groups.start_G) <= response_groups.LARGEST_GROUP).all()
    for n, row in enumerate(place_NQ):
        members = groups.members(groups.group_N[n : n + 1])
        k = (row >= 0).sum()
        assert members[groups.local_NQ[n, :k]].tolist() == row[:k].tolist()


def test_a_log_determinant_keeps_the_digits_of_small_gains() -> None:
    rng = np.random.default_rng(3)
    root_NWX = rng.normal(size=(20, 4, 6))
    matrix_NWW = root_NWX @ root_NWX.transpose(0, 2, 1)
    np.testing.assert_allclose(log_determinants(matrix_NWW), np.linalg.slogdet(np.eye(4) + matrix_NWW)[1], rtol=1e-12)
    small_NWW = 1e-14 * matrix_NWW
    np.testing.assert_allclose(log_determinants(small_NWW), np.trace(small_NWW, axis1=1, axis2=2), rtol=1e-10)


def test_a_mapped_pool_is_represented_by_its_first_questions(tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    gradient_RD = rng.normal(size=(30, 4))
    np.save(tmp_path / "gradient.npy", gradient_RD)
    place_NQ, _, root_NQW = questions(rng, 25, 30, 4)
    rows = QuestionRows(np.load(tmp_path / "gradient.npy", mmap_mode="r"), place_NQ, root_NQW)
    for count in (7, 25):
        with mock.patch.object(question_information, "MAPPED_TARGETS", count):
            target_XD = pool_targets(rows)
        outer = [
            np.mean(
                [np.outer(x, x) for x in (gradient_RD[a] - gradient_RD[b] for a, b in combinations(r[r >= 0], 2))], 0
            )
            for r in place_NQ[:count]
        ]
        np.testing.assert_allclose(target_XD.T @ target_XD / len(target_XD), np.mean(outer, axis=0), atol=1e-12)


def test_what_cannot_be_picked_from_is_refused() -> None:
    gradient_RD, none_PD = np.ones((6, 3)), np.empty((0, 3))
    place_NQ, _, root_NQW = questions(np.random.default_rng(0), 4, 6, 3)
    rows = QuestionRows(gradient_RD, place_NQ, root_NQW)
    with pytest.raises(BudgetError, match="5 and 4 rows"):
        pick_greedily(rows, none_PD, 1.0, 5)
    with pytest.raises(BudgetError, match="5 and 4 rows"):
        reduce_trace(rows, none_PD, gradient_RD, 1.0, 5)
    with pytest.raises(DuelistError, match="same dimensions"):
        pick_greedily(rows, np.empty((0, 2)), 1.0, 2)
    gradient_RD[place_NQ[0, 0], 1] = np.nan
    with pytest.raises(NumericalError, match="holds NaN"):
        pick_greedily(QuestionRows(gradient_RD, place_NQ, root_NQW), none_PD, 1.0, 2)
