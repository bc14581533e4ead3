"""The comparison of active and random labels: what it is blind to, what it sees, and how often it is wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import duelist.audit.comparison as comparison
from duelist.audit.comparison import connected_groups, cross_fitted, divided
from duelist.audit.head import COMPONENTS, fit, fitted_precision, pair_rows, principal_components
from duelist.audit.power import half_width, power
from duelist.errors import DataError
from duelist.types import Prompt, Question, Response


def world(seed: int, control: int = 60, active: int = 90, d: int = 5, flipped: bool = False) -> tuple[Any, ...]:
    """Pairs with logistic labels, on two prompts each pair; active labels tell the truth, or the contrary."""
    rng = np.random.default_rng(seed)
    n = control + active
    rows_XD = rng.normal(size=(n, d))
    share_X = (rng.random(n) < 1 / (1 + np.exp(-2 * rows_XD @ np.ones(d)))).astype(float)
    control_X = np.arange(n) < control
    if flipped:
        share_X[~control_X] = 1 - share_X[~control_X]
    prompts = np.array([[f"p{i}"] * 2 for i in rng.integers(20, size=n)])
    return rows_XD, share_X, control_X, np.ones(n), prompts


def test_labels_of_one_kind_cannot_be_told_apart() -> None:
    found = cross_fitted(*world(0), repeats=4, rng=np.random.default_rng(0))
    assert not found.accuracy.is_told and not found.log_loss.is_told
    assert found.accuracy.low < found.accuracy.difference < found.accuracy.high
    assert found.accuracy.active - found.accuracy.random == pytest.approx(found.accuracy.difference)
    assert found.accuracy.random > 0.7 and found.splits == 20
    assert 40 < found.trained_on < 55  # four fifths of the control pairs


def test_labels_that_teach_the_contrary_are_seen() -> None:
    found = cross_fitted(*world(1, flipped=True), repeats=4, rng=np.random.default_rng(0))
    assert found.accuracy.high < -0.2 and found.log_loss.low > 0.1


@pytest.mark.full
@pytest.mark.parametrize("d", [5, 49])
def test_the_interval_covers_nothing_where_there_is_nothing(d: int) -> None:
    """Also with more features than labels, where the folds of the control pairs depend on one another."""
    found = []
    for s in range(200):
        rows_XD, share_X, *rest = world(s, control=40, d=d)
        if d == 49:  # no signal
            share_X = np.random.default_rng(s).integers(2, size=len(share_X)).astype(float)
        found.append(cross_fitted(rows_XD, share_X, *rest, repeats=4, rng=np.random.default_rng(s)))
    assert np.mean([f.accuracy.is_told for f in found]) <= 0.08
    assert np.mean([f.log_loss.is_told for f in found]) <= 0.1


def test_no_prompt_is_on_both_sides_and_both_models_have_as_many_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    rows_XD, share_X, control_X, weight_X, prompts_X2 = world(2)
    rows_XD[:, 0] = np.arange(len(rows_XD))  # names the rows
    prompts_X2[:10, 1] = "p7"  # some pairs connect prompts
    used: list[list[int]] = []
    tested: list[list[int]] = []

    def watched(rows: Any, *rest: Any) -> Any:
        used.append(rows[:, 0].astype(int).tolist())
        return np.zeros(rows.shape[1])

    def of_test(margin: Any, share: Any) -> list[float]:
        tested.append([])
        return [float(len(used)), 0.0]

    monkeypatch.setattr(comparison, "fit", watched)
    monkeypatch.setattr(comparison, "_tested", of_test)
    cross_fitted(rows_XD, share_X, control_X, weight_X, prompts_X2, 1, np.random.default_rng(0))
    group_X = connected_groups(prompts_X2)
    assert len(used) == 10 and len(tested) == 10
    seen: set[int] = set()
    for of_random, of_active in zip(used[::2], used[1::2], strict=True):
        assert len(of_random) == len(of_active) == len(set(of_random)) == len(set(of_active))
        assert control_X[of_random].all() and not control_X[of_active].any()
        held = set(group_X[control_X]) - set(group_X[of_random])  # the test prompts are among those left out
        assert held and not held & set(group_X[of_active])
        seen |= held
    assert seen == set(group_X[control_X])


def test_prompts_are_connected_by_pairs() -> None:
    groups = connected_groups(np.array([["a", "b"], ["c", "c"], ["b", "d"], ["e", "f"]]))
    assert groups[0] == groups[2] and len(set(groups.tolist())) == 3
    with pytest.raises(DataError, match="two separate prompts"):
        rows_XD, share_X, control_X, weight_X, _ = world(3)
        one = np.full((len(rows_XD), 2), "p")
        cross_fitted(rows_XD, share_X, control_X, weight_X, one, 1, np.random.default_rng(0))


def test_the_head_is_the_mode_of_the_ridge_loss() -> None:
    from scipy.optimize import minimize

    rows_XD, share_X, _, weight_X, _ = world(4, 20, 10)
    weight_X = weight_X + np.arange(30) / 10

    def loss(theta: Any) -> float:
        z = rows_XD @ theta
        one = share_X * np.logaddexp(0, -z) + (1 - share_X) * np.logaddexp(0, z)
        return float(weight_X @ one + 1.5 * theta @ theta)

    exact = minimize(loss, np.zeros(5), tol=1e-12).x
    np.testing.assert_allclose(fit(rows_XD, share_X, weight_X, 3.0), exact, atol=1e-4)
    assert 0 < fitted_precision(rows_XD, share_X) < 50


def test_rows_are_components_and_lengths_and_swap_with_the_pair() -> None:
    prompt, rng = Prompt.of("x"), np.random.default_rng(0)
    texts = [(" ".join(["w"] * int(a)), " ".join(["w"] * int(b))) for a, b in rng.integers(1, 30, size=(70, 2))]
    pairs = [
        tuple(Response.of(prompt, f"{t} {i} {j}", [], [i, j + 1], 0) for j, t in enumerate(x))
        for i, x in enumerate(texts)
    ]
    questions = tuple(Question(f"q{i}", pair, 1) for i, pair in enumerate(pairs))
    swapped = tuple(Question(f"q{i}", pair[::-1], 1) for i, pair in enumerate(pairs))
    one, other = rng.normal(size=(2, 70, 60))
    rows_XD = pair_rows(questions, one, other)
    assert rows_XD.shape == (70, COMPONENTS + 1)
    np.testing.assert_allclose(np.square(rows_XD).mean(axis=0), 1)
    turned_XD = pair_rows(swapped, other, one)
    np.testing.assert_allclose(np.abs(turned_XD), np.abs(rows_XD), atol=1e-8)
    np.testing.assert_allclose(turned_XD[:, -1], -rows_XD[:, -1])
    lengths_X1 = pair_rows(questions, None, None)
    assert lengths_X1.shape == (70, 1)
    longer = np.array([len(q.a.text.split()) > len(q.b.text.split()) for q in questions])
    assert ((lengths_X1[:, 0] > 0) == longer).all()
    # The components are those of the singular value decomposition, of few and of many columns.
    for difference_XH in (one - other, (one - other)[:40]):
        left_XH = np.linalg.svd(difference_XH, full_matrices=False)[0][:, :COMPONENTS][:, :40]
        found_XD = principal_components(difference_XH)[:, :40] / np.sqrt(len(difference_XH))
        np.testing.assert_allclose(np.abs((left_XH[:, :38] * found_XD[:, :38]).sum(axis=0)), 1, atol=1e-6)
    alike = tuple(
        Question(f"q{i}", (a, Response.of(prompt, a.text[::-1], [], [i], 0)), 1) for i, (a, _) in enumerate(pairs)
    )
    with pytest.raises(DataError, match="equal for all 70 pairs"):
        pair_rows(alike, one, one)


def test_the_power_is_said_beforehand() -> None:
    able = power(40, 5, 20)
    assert "With 40 control labels the 95 % interval will be about ±25 points" in able.words
    assert "±11 if they agree on nine pairs of ten" in able.words
    assert power(160, 5, 20).unlike == pytest.approx(able.unlike / 2)
    assert power(40, 2, 20).unlike > 1.2 * able.unlike  # two folds share more
    assert power(0, 5, 20).unlike == power(40, 1, 20).unlike == 1.0


@pytest.mark.parametrize(("active", "d", "signal"), [(90, 49, False), (90, 5, True), (12, 5, True)])
def test_the_power_is_that_of_the_comparison_itself(
    active: int, d: int, signal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of the interval is what the formula says of the disagreement of the models that were trained."""
    halves, disagreements = [], []
    for s in range(12):
        rows_XD, share_X, control_X, *rest = world(s, control=40, active=active, d=d)
        if not signal:
            share_X = np.random.default_rng(s).integers(2, size=len(share_X)).astype(float)
        trained: list[Any] = []

        def watched(*arguments: Any, trained: list[Any] = trained) -> Any:
            trained.append(fit(*arguments))
            return trained[-1]

        monkeypatch.setattr(comparison, "fit", watched)
        found = cross_fitted(rows_XD, share_X, control_X, *rest, repeats=4, rng=np.random.default_rng(s))
        fresh_XD = np.random.default_rng(1000 + s).normal(size=(200, d))
        of_random, of_active = (np.sign(fresh_XD @ np.array(trained[i::2]).T) for i in (0, 1))
        disagreements.append((of_random != of_active).mean())
        halves.append((found.accuracy.high - found.accuracy.low) / 2)
    assert np.mean(halves) == pytest.approx(half_width(40, 5, 4, float(np.mean(disagreements))), rel=0.2)
    able = power(40, 5, 4)
    assert able.alike < np.mean(halves) < 1.1 * able.unlike


def test_folds_have_about_equally_many_pairs_though_prompts_have_not() -> None:
    counts = [12, 8, 6, 5, 4, 3, 3, 2, 2, 2, 1, 1, 1]
    group_X = np.repeat(np.arange(len(counts)), counts)
    control_X = np.ones(len(group_X), bool)
    divisions = [divided(group_X, control_X, 5, np.random.default_rng(s)) for s in range(50)]
    for fold_X in divisions:
        assert all(len(set(fold_X[group_X == g].tolist())) == 1 for g in range(len(counts)))
    # Dealt out in turn, the largest of five folds has 17 of the 50 pairs on average.
    assert np.mean([np.bincount(fold_X, minlength=5).max() for fold_X in divisions]) < 15
    assert len({tuple(x.tolist()) for x in divisions}) > 40


def test_folds_with_next_to_no_labels_are_left_out_and_counted() -> None:
    rows_XD, share_X, control_X, weight_X, prompts_X2 = world(5, control=40, active=40)
    prompts_X2[~control_X] = "p0"  # the rule chose on one prompt, which is one fold's in each division
    prompts_X2[np.flatnonzero(~control_X)[:3]] = "p1"
    prompts_X2[np.flatnonzero(control_X)[:4]] = [["p0", "p0"], ["p0", "p0"], ["p1", "p1"], ["p1", "p1"]]
    found = cross_fitted(rows_XD, share_X, control_X, weight_X, prompts_X2, 4, np.random.default_rng(0))
    assert (found.splits, found.left_out) == (16, 4)
    assert found.trained_on > 25
    one = np.where(np.arange(80)[:, None] < 36, "big", prompts_X2)
    with pytest.raises(DataError, match=r"20 of 20 folds have fewer.*pairs on more prompts"):
        cross_fitted(rows_XD, share_X, control_X, weight_X, one, 4, np.random.default_rng(0))
