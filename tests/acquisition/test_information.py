"""`information` and `policy_gap` against brute force: the criterion from dense inverses, for every candidate."""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duelist.acquisition.activedpo import ActiveDPO, ActiveDPOConfig
from duelist.acquisition.base import choose
from duelist.acquisition.information import Information, InformationConfig
from duelist.acquisition.numerics.calibration import fit_temperature
from duelist.acquisition.numerics.evidence import fit_precision
from duelist.acquisition.numerics.trace_design import reduce_trace
from duelist.acquisition.policy_gap import PolicyGap, PolicyGapConfig
from duelist.errors import BudgetError, DuelistError, RecipeError
from duelist.testing import check_acquisition, random_features
from duelist.types import Features, Selection
from tiers import first

NEEDS = frozenset(
    {"margin_N", "gradient_ND", "embedding_ND", "past", "votes_N2", "asked_margin_N", "target_MD", "cost_N"}
)


def pool(n: int = 25, seed: int = 0, past: int = 6, cost: bool = False) -> Features:
    features = random_features(n, NEEDS, seed=seed, past=past)
    return features if cost else dataclasses.replace(features, cost_N=None)


def logistic(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def matrices(features: Features, field: str, temperature: float, relative: float) -> tuple[np.ndarray, ...]:
    """I before the batch, and the candidates' p(1 − p) φφᵀ, by the definitions."""
    past: Any = features.past
    p_N, p_P = logistic(features.margin_N / temperature), logistic(past.margin_N / temperature)
    phi_ND, phi_PD = getattr(features, field), getattr(past, field)
    one_NDD = (p_N * (1 - p_N))[:, None, None] * phi_ND[:, :, None] * phi_ND[:, None, :] / temperature**2
    of_past_PDD = (p_P * (1 - p_P))[:, None, None] * phi_PD[:, :, None] * phi_PD[:, None, :] / temperature**2
    regularizer = relative * np.trace(one_NDD, axis1=1, axis2=2).mean()
    return regularizer * np.eye(phi_ND.shape[1]) + of_past_PDD.sum(axis=0), one_NDD


def brute_force(
    information_DD: np.ndarray, one_NDD: np.ndarray, budget: int, cost_N: np.ndarray | None, target_DD: Any = None
) -> tuple[list[int], list[float]]:
    """The criterion of every candidate's own dense matrix, at every pick: logdet, or −tr(T I⁻¹)."""

    def criterion(matrix_DD: np.ndarray) -> float:
        if target_DD is None:
            return float(np.linalg.slogdet(matrix_DD)[1])
        return -float(np.trace(target_DD @ np.linalg.inv(matrix_DD)))

    picks: list[int] = []
    worths: list[float] = []
    for _ in range(budget):
        before = criterion(information_DD)
        worth = np.array([criterion(information_DD + one_DD) - before for one_DD in one_NDD])
        worth = worth if cost_N is None else worth / cost_N
        worth[picks] = -np.inf
        picks.append(int(worth.argmax()))
        worths.append(float(worth.max()))
        information_DD = information_DD + one_NDD[picks[-1]]
    return picks, worths


def chosen(rule: Any, features: Features, budget: int) -> Selection:
    return choose(rule, features, budget, np.random.default_rng(0))


@pytest.mark.parametrize("cost", [False, True])
@pytest.mark.parametrize("field", ["gradient", "embedding"])
@pytest.mark.parametrize("past", [0, 6, 40])
def test_information_is_greedy_for_the_log_determinant(field: Any, past: int, cost: bool) -> None:
    features = pool(past=past, cost=cost)
    selection = chosen(Information(InformationConfig(features=field)), features, 10)
    known: Any = features.past
    temperature = fit_temperature(known.asked_margin_N, known.votes_N2)
    information_DD, one_NDD = matrices(features, f"{field}_ND", temperature, 0.01)
    picks, gains = brute_force(information_DD, one_NDD, 10, features.cost_N)
    assert selection.indices_B.tolist() == picks
    np.testing.assert_allclose(selection.scores_B, gains, rtol=1e-8)
    assert selection.unit.endswith("per second") == cost
    assert selection.diagnostics["temperature"] == temperature
    bound = gains[-1]
    if cost:  # the last pick may be cheap rather than good: what the best of those that are left would add
        after_DD = information_DD + one_NDD[picks].sum(axis=0)
        left = [np.linalg.slogdet(after_DD + one_NDD[i])[1] for i in range(features.n) if i not in picks]
        bound = max(left) - np.linalg.slogdet(after_DD)[1]
    assert selection.diagnostics["gain_nats"] == pytest.approx(bound)


@pytest.mark.parametrize("cost", [False, True])
@pytest.mark.parametrize("target", ["pool", "drawn"])
@pytest.mark.parametrize("relative", [1e-6, 0.01, 1.0])
@pytest.mark.parametrize("past", [0, 6, 40])
def test_policy_gap_is_greedy_for_the_trace(target: Any, relative: float, past: int, cost: bool) -> None:
    features = pool(past=past, cost=cost)
    rule = PolicyGap(PolicyGapConfig(target=target, lambda_=relative, calibrate=False, temperature=2.0, beta=0.3))
    selection = chosen(rule, features, 12)
    target_MD: Any = features.target_MD if target == "drawn" else features.gradient_ND
    sigma_DD = 0.5 * target_MD.T @ target_MD / len(target_MD)
    information_DD, one_NDD = matrices(features, "gradient_ND", 2.0, relative)
    picks, falls = brute_force(information_DD, one_NDD, 12, features.cost_N, sigma_DD)
    assert selection.indices_B.tolist() == picks
    # The dense inverses are what rounds: with the smallest λ, in 50 digits, the scores are right to 1e-10.
    np.testing.assert_allclose(selection.scores_B, falls, rtol=1e-5, atol=1e-9 * falls[0])
    after_DD = information_DD + one_NDD[picks].sum(axis=0)
    loss = [np.trace(sigma_DD @ np.linalg.inv(m)) for m in (information_DD, after_DD)]
    assert selection.diagnostics["loss_before"] == pytest.approx(loss[0])
    assert selection.diagnostics["loss_after"] == pytest.approx(loss[1], rel=1e-4)
    last = falls[-1] * (features.cost_N[picks[-1]] if features.cost_N is not None else 1)
    assert selection.diagnostics["gain_reward"] == pytest.approx(last / (2 * 0.3), rel=1e-4)


@pytest.mark.parametrize(
    "rule",
    first(
        2,
        [
            Information(InformationConfig(calibrate=False, features="embedding", lambda_relative=False)),
            PolicyGap(PolicyGapConfig(target="pool", features="embedding")),
            Information(InformationConfig()),  # the defaults keep it in test_conformance.py
            PolicyGap(PolicyGapConfig()),
        ],
    ),
    ids=lambda r: f"{type(r).__name__}-{r.config.features}",
)
def test_the_contract(rule: Any) -> None:
    check_acquisition(rule)


@given(
    seed=st.integers(0, 10**6),
    n=st.integers(1, 12),
    d=st.integers(1, 9),
    m=st.integers(0, 12),
    p=st.integers(0, 12),
    logarithm=st.floats(-3, 2),
)
def test_each_update_of_the_trace_is_the_definition(
    seed: int, n: int, d: int, m: int, p: int, logarithm: float
) -> None:
    """Whatever the shapes, also with more past than dimensions: gains add up to the trace's fall, pick by pick."""
    rng = np.random.default_rng(seed)
    rows_ND, past_PD, target_MD = (rng.normal(size=(count, d)) for count in (n, p, m))
    regularizer = 10.0**logarithm
    picks = reduce_trace(rows_ND, past_PD, target_MD, regularizer, n)
    matrix_DD = regularizer * np.eye(d) + past_PD.T @ past_PD
    second_DD = target_MD.T @ target_MD / max(1, m)
    trace = np.trace(second_DD @ np.linalg.inv(matrix_DD))
    assert picks.trace_before == pytest.approx(trace, rel=1e-7, abs=1e-12)
    for i, gain in zip(picks.indices_B, picks.gain_B, strict=True):
        matrix_DD += np.outer(rows_ND[i], rows_ND[i])
        after = np.trace(second_DD @ np.linalg.inv(matrix_DD))
        assert gain == pytest.approx(trace - after, rel=1e-5, abs=1e-9 * picks.trace_before)
        trace = after


def exact_trace(second_DD: list[list[Fraction]], matrix_DD: list[list[Fraction]]) -> Fraction:
    """tr(S M⁻¹) of two dimensions: by M's adjugate, without rounding."""
    (a, b), (c, d) = matrix_DD
    (p, q), (r, s) = second_DD
    return (p * d - q * c - r * b + s * a) / (a * d - b * c)


def test_many_picks_in_few_directions_keep_their_digits() -> None:
    """Gains fall by nine orders of magnitude; without fresh scores what is left of them would be rounding."""
    rows_ND = np.random.default_rng(4).normal(size=(60, 2))
    regularizer = 1e-6
    picks = reduce_trace(rows_ND, np.empty((0, 2)), rows_ND, regularizer, 40)
    outer_N = [[[Fraction(x) * Fraction(y) for y in row] for x in row] for row in rows_ND.tolist()]

    def plus(one: list[list[Fraction]], other: list[list[Fraction]]) -> list[list[Fraction]]:
        return [[x + y for x, y in zip(*rows, strict=True)] for rows in zip(one, other, strict=True)]

    zero, ridge = Fraction(0), Fraction(regularizer)
    second_DD = [[x / 60 for x in row] for row in reduce(plus, outer_N)]
    matrix_DD = [[ridge, zero], [zero, ridge]]
    trace, left = exact_trace(second_DD, matrix_DD), set(range(60))
    for i, gain in zip(picks.indices_B.tolist(), picks.gain_B.tolist(), strict=True):
        best = min(exact_trace(second_DD, plus(matrix_DD, outer_N[j])) for j in left)
        # Rounding costs about 1e-7, depending on the processor; without fresh scores it costs 1e-2.
        assert gain == pytest.approx(float(trace - best), rel=1e-5)
        matrix_DD = plus(matrix_DD, outer_N[i])
        trace = exact_trace(second_DD, matrix_DD)
        left.remove(i)


@pytest.mark.parametrize("average", [False, True])
@pytest.mark.parametrize("fit", ["none", "evidence"])
def test_an_absolute_precision_stands_beside_the_information_of_the_label(fit: Any, average: bool) -> None:
    """The logit is ρ/τ, so the information is p(1 − p)/τ²: its τ does not cancel against an absolute λ."""
    features = pool(past=8)
    past: Any = dataclasses.replace(features.past, votes_N2=np.tile([3, 1], (8, 1)), asked_margin_N=np.full(8, 0.3))
    features = dataclasses.replace(features, past=past)
    temperature = fit_temperature(past.asked_margin_N, past.votes_N2)
    assert 0.2 < temperature < 0.5
    absolute = 0.2
    if fit == "evidence":
        absolute = fit_precision(past.gradient_ND / temperature, past.votes_N2, 0.2)
        assert absolute != pytest.approx(0.2, rel=0.05)
    information_DD, one_NDD = matrices(features, "gradient_ND", temperature, 0.0)
    information_DD += absolute * np.eye(len(information_DD))
    if average:
        covariance_DD = np.linalg.inv(information_DD)
        for i, phi_D in enumerate(np.asarray(features.gradient_ND) / temperature):
            variance = phi_D @ covariance_DD @ phi_D
            t = np.linspace(-40, 40, 20_001)  # of the logit: p(1 − p) is 0 beyond
            density = np.exp(-0.5 * (t - features.margin_N[i] / temperature) ** 2 / variance)  # type: ignore[index]
            weight = np.trapezoid(logistic(t) * logistic(-t) * density, t) / np.sqrt(2 * np.pi * variance)
            one_NDD[i] = weight * np.outer(phi_D, phi_D)
    settings: dict[str, Any] = {"lambda_": 0.2, "lambda_relative": False, "lambda_fit": fit, "average": average}
    selection = chosen(Information(InformationConfig(**settings)), features, 6)
    picks, gains = brute_force(information_DD, one_NDD, 6, None)
    assert selection.indices_B.tolist() == picks
    np.testing.assert_allclose(selection.scores_B, gains, rtol=1e-4 if average else 1e-8)
    assert selection.diagnostics["lambda"] == pytest.approx(absolute)
    sigma_DD = features.target_MD.T @ features.target_MD / (2 * len(features.target_MD))  # type: ignore[union-attr,arg-type]
    gap = chosen(PolicyGap(PolicyGapConfig(**settings)), features, 6)
    picks, falls = brute_force(information_DD, one_NDD, 6, None, sigma_DD)
    assert gap.indices_B.tolist() == picks
    np.testing.assert_allclose(gap.scores_B, falls, rtol=1e-4 if average else 1e-6)


def test_settings_for_pairs_are_refused_for_sets() -> None:
    for told, message in (({"lambda_fit": "evidence"}, "labels of pairs"), ({"average": True}, "margin of a pair")):
        for rule in (Information(InformationConfig(**told)), PolicyGap(PolicyGapConfig(**told))):
            features = random_features(8, rule.needs, sets_of=3)
            with pytest.raises(RecipeError, match=message):
                chosen(rule, features, 2)
    assert Information(InformationConfig()).refused_for_sets is None
    assert {"votes_N2"} <= Information(InformationConfig(calibrate=False, lambda_fit="evidence")).needs


def test_without_margins_information_is_activedpo() -> None:
    """While the policy is the reference every weight is 1/4, a scale that a relative λ takes up."""
    features = pool()
    features = dataclasses.replace(features, margin_N=np.zeros(25))
    past = dataclasses.replace(features.past, margin_N=np.zeros(6), votes_N2=np.zeros((6, 2), np.int64))
    features = dataclasses.replace(features, past=past)
    ours = chosen(Information(InformationConfig()), features, 8)
    theirs = chosen(ActiveDPO(ActiveDPOConfig()), features, 8)
    assert ours.indices_B.tolist() == theirs.indices_B.tolist()
    assert ours.diagnostics["logdet_gain_nats"] == pytest.approx(theirs.diagnostics["logdet_gain_nats"])


def test_a_sure_pair_is_worth_less_than_its_twin_in_doubt() -> None:
    features = pool(n=2, past=0)
    rows: Any = features.gradient_ND
    features = dataclasses.replace(features, gradient_ND=np.stack([rows[0], rows[0]]), margin_N=np.array([6.0, 0.3]))
    for rule in (Information(InformationConfig()), PolicyGap(PolicyGapConfig())):
        assert chosen(rule, features, 1).indices_B.tolist() == [1]


@pytest.mark.parametrize("rule", [Information(InformationConfig()), PolicyGap(PolicyGapConfig(target="pool"))])
def test_a_mapped_pool_gives_the_same_picks(tmp_path: Path, rule: Any) -> None:
    features = pool(n=80)
    np.save(tmp_path / "pool.npy", features.gradient_ND)
    mapped = dataclasses.replace(features, gradient_ND=np.load(tmp_path / "pool.npy", mmap_mode="r"))
    assert chosen(rule, mapped, 20).indices_B.tolist() == chosen(rule, features, 20).indices_B.tolist()


def test_what_cannot_be_picked_from_is_refused() -> None:
    rows_ND, none_PD = np.ones((4, 3)), np.empty((0, 3))
    with pytest.raises(BudgetError, match="5 and 4 rows"):
        reduce_trace(rows_ND, none_PD, rows_ND, 1.0, 5)
    with pytest.raises(DuelistError, match="positive"):
        reduce_trace(rows_ND, none_PD, rows_ND, 0.0, 2)
    with pytest.raises(DuelistError, match="same dimensions"):
        reduce_trace(rows_ND, none_PD, np.ones((4, 2)), 1.0, 2)
