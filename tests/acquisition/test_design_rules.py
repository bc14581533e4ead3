"""The design rules, each against the definition: matrices formed and inverted, every candidate tried at every pick."""

from __future__ import annotations

import dataclasses
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from duelist.acquisition.a_v_opt import AOpt, AOptConfig, VOpt, VOptConfig
from duelist.acquisition.activedpo import ActiveDPO, ActiveDPOConfig
from duelist.acquisition.apo import APO, APOConfig
from duelist.acquisition.base import Acquisition
from duelist.acquisition.d_opt import DOpt, DOptConfig, PastAwareDOpt, XtX
from duelist.acquisition.numerics import variance_search
from duelist.acquisition.options import AcquisitionOptions
from duelist.errors import RecipeError
from duelist.testing import check_acquisition, random_features
from duelist.types import Features, Selection
from tiers import first

RNG = np.random.default_rng(0)
D_RULES = [DOpt, PastAwareDOpt, XtX]


def pool(rule: Acquisition, n: int = 24, seed: int = 0, **changes: Any) -> Features:
    return random_features(n, rule.needs | {"cost_N"} if "cost_N" in changes else rule.needs, seed=seed)


def weights(margin_N: np.ndarray | None, n: int) -> np.ndarray:
    if margin_N is None:
        return np.ones(n)
    p = 1 / (1 + np.exp(-margin_N))
    return p * (1 - p)


def parts(rule: Acquisition, features: Features, prior_variance: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """M before any pick, δ and w, as they are defined."""
    name = f"{rule.config.features}_ND"  # type: ignore[attr-defined]
    delta_ND = np.asarray(getattr(features, name))
    matrix_DD = np.eye(delta_ND.shape[1]) / prior_variance
    if "past" in rule.needs:
        assert features.past is not None
        past_PD = getattr(features.past, name)
        for row, w in zip(past_PD, weights(features.past.margin_N, len(past_PD)), strict=True):
            matrix_DD = matrix_DD + w * np.outer(row, row)
    return matrix_DD, delta_ND, weights(features.margin_N, features.n)


def with_rows(matrix_DD: np.ndarray, delta_ND: np.ndarray, w_N: np.ndarray, rows: Any) -> np.ndarray:
    return matrix_DD + sum((w_N[i] * np.outer(delta_ND[i], delta_ND[i]) for i in rows), np.zeros_like(matrix_DD))


def logdet(matrix_DD: np.ndarray) -> float:
    return float(np.linalg.slogdet(matrix_DD)[1])


def select(rule: Acquisition, features: Features, budget: int) -> Selection:
    return rule.select(features, budget, np.random.default_rng(0))


@pytest.mark.parametrize("kind", D_RULES)
@pytest.mark.parametrize("which", ["gradient", "embedding"])
def test_one_shot_takes_the_highest_at_the_whole_pool(kind: Any, which: Any) -> None:
    rule = kind(DOptConfig(features=which, prior_variance=3.0, prior_relative=False))
    features = pool(rule)
    matrix_DD, delta_ND, w_N = parts(rule, features, 3.0)
    inverse = np.linalg.inv(with_rows(matrix_DD, delta_ND, w_N, range(24)))
    score_N = w_N * np.einsum("nd,de,ne->n", delta_ND, inverse, delta_ND)
    found = select(rule, features, 9)
    assert found.indices_B.tolist() == np.argsort(-score_N)[:9].tolist()
    np.testing.assert_allclose(found.scores_B, np.sort(score_N)[::-1][:9])
    batch = found.indices_B.tolist()
    reached = logdet(with_rows(matrix_DD, delta_ND, w_N, batch))
    assert found.diagnostics["logdet_nats"] == pytest.approx(reached)
    assert found.diagnostics["gain_nats"] == pytest.approx(best_left(matrix_DD, delta_ND, w_N, batch))


def best_left(matrix_DD: np.ndarray, delta_ND: np.ndarray, w_N: np.ndarray, batch: list[int]) -> float:
    """What the best of the pairs that are left would add to logdet M."""
    reached = logdet(with_rows(matrix_DD, delta_ND, w_N, batch))
    left = [i for i in range(len(delta_ND)) if i not in batch]
    return max(logdet(with_rows(matrix_DD, delta_ND, w_N, [*batch, i])) - reached for i in left)


def greedy_oracle(matrix_DD: np.ndarray, delta_ND: np.ndarray, w_N: np.ndarray, budget: int, cost_N: Any) -> list[int]:
    picks: list[int] = []
    for _ in range(budget):
        left = [i for i in range(len(delta_ND)) if i not in picks]
        before = logdet(with_rows(matrix_DD, delta_ND, w_N, picks))
        gain = [(logdet(with_rows(matrix_DD, delta_ND, w_N, [*picks, i])) - before) / cost_N[i] for i in left]
        picks.append(left[int(np.argmax(gain))])
    return picks


@pytest.mark.parametrize("kind", D_RULES)
@pytest.mark.parametrize("per_second", [False, True])
def test_greedy_takes_the_largest_gain_of_logdet(kind: Any, per_second: bool) -> None:
    rule = kind(DOptConfig(prior_variance=2.0, prior_relative=False, optimizer="greedy"))
    features = pool(rule)
    cost_N = np.random.default_rng(5).uniform(5, 60, 24)
    if per_second:
        features = dataclasses.replace(features, cost_N=cost_N)
    matrix_DD, delta_ND, w_N = parts(rule, features, 2.0)
    expected = greedy_oracle(matrix_DD, delta_ND, w_N, 8, cost_N if per_second else np.ones(24))
    found = select(rule, features, 8)
    assert found.indices_B.tolist() == expected
    last = logdet(with_rows(matrix_DD, delta_ND, w_N, expected)) - logdet(
        with_rows(matrix_DD, delta_ND, w_N, expected[:-1])
    )
    bound = best_left(matrix_DD, delta_ND, w_N, expected) if per_second else last
    assert found.diagnostics["gain_nats"] == pytest.approx(bound)
    if per_second:
        assert found.scores_B[-1] == pytest.approx(last / cost_N[expected[-1]])


@pytest.mark.parametrize("kind", D_RULES)
def test_the_certificate_holds_for_every_batch(kind: Any) -> None:
    values = {}
    for optimizer in ("one-shot", "greedy", "exchange"):
        rule = kind(DOptConfig(features="embedding", optimizer=optimizer, prior_relative=False, certificate=True))
        features = pool(rule, n=10)
        diagnostics = select(rule, features, 4).diagnostics
        matrix_DD, delta_ND, w_N = parts(rule, features, 100.0)
        best = max(logdet(with_rows(matrix_DD, delta_ND, w_N, batch)) for batch in combinations(range(10), 4))
        assert diagnostics["logdet_nats"] <= best + 1e-9 <= diagnostics["logdet_upper_bound_nats"] + 2e-9
        lacking = 1 - np.exp((diagnostics["logdet_nats"] - diagnostics["logdet_upper_bound_nats"]) / 4)
        assert diagnostics["within_percent_of_optimum"] == pytest.approx(100 * lacking)
        values[optimizer] = diagnostics["logdet_nats"]
    assert values["exchange"] >= values["greedy"] > values["one-shot"] - 1e-12


def test_the_certificate_is_only_computed_when_wanted_and_cheap() -> None:
    from duelist.acquisition.numerics.design_bound import affordable_iterations

    assert affordable_iterations(20_000, 64) >= 40  # it converges in about 30 there
    assert affordable_iterations(3_000, 3_000) == 0
    for setting, there in (("auto", True), (True, True), (False, False)):
        rule = XtX(DOptConfig(certificate=setting))
        assert ("within_percent_of_optimum" in select(rule, pool(rule), 5).diagnostics) == there
    costly = dataclasses.replace(pool(rule), cost_N=np.ones(24))
    assert "within_percent_of_optimum" not in select(XtX(DOptConfig()), costly, 5).diagnostics


@pytest.mark.parametrize("kind", [*D_RULES, AOpt, VOpt])
def test_a_relative_prior_makes_the_scale_of_the_features_irrelevant(kind: Any) -> None:
    rule = kind({AOpt: AOptConfig, VOpt: VOptConfig}.get(kind, DOptConfig)())
    features = pool(rule)
    assert features.gradient_ND is not None
    scaled = dataclasses.replace(features, gradient_ND=features.gradient_ND * 2.0**-20)
    if features.past is not None:
        past = dataclasses.replace(features.past, gradient_ND=features.past.gradient_ND * 2.0**-20)  # type: ignore[operator]
        scaled = dataclasses.replace(scaled, past=past)
    assert select(rule, features, 9).indices_B.tolist() == select(rule, scaled, 9).indices_B.tolist()
    mean = float((weights(features.margin_N, 24) * (features.gradient_ND**2).sum(axis=1)).mean())
    assert select(rule, features, 9).diagnostics["prior_precision"] == pytest.approx(mean / 100)


def test_exchange_cannot_count_costs() -> None:
    with pytest.raises(RecipeError, match="per_second"):
        AcquisitionOptions(per_second=True).needs(DOpt(DOptConfig(optimizer="exchange")))
    assert "cost_N" in AcquisitionOptions(per_second=True).needs(DOpt(DOptConfig(optimizer="greedy")))


def test_activedpo_counts_costs_and_certifies() -> None:
    rule = ActiveDPO(ActiveDPOConfig(lambda_=0.5, lambda_relative=False, certificate=True))
    features = pool(rule)
    assert features.gradient_ND is not None and features.past is not None and features.past.gradient_ND is not None
    base = 0.5 * np.eye(24) + features.past.gradient_ND.T @ features.past.gradient_ND
    found = select(rule, features, 6)
    reached = logdet(with_rows(base, features.gradient_ND, np.ones(24), found.indices_B))
    assert found.diagnostics["logdet_nats"] == pytest.approx(reached)
    assert found.diagnostics["logdet_upper_bound_nats"] >= reached
    cost_N = np.random.default_rng(3).uniform(5, 60, 24)
    found = select(rule, dataclasses.replace(features, cost_N=cost_N), 6)
    expected = greedy_oracle(base, features.gradient_ND, np.ones(24), 6, cost_N)
    assert found.indices_B.tolist() == expected
    last = logdet(with_rows(base, features.gradient_ND, np.ones(24), expected)) - logdet(
        with_rows(base, features.gradient_ND, np.ones(24), expected[:-1])
    )
    assert found.scores_B[-1] == pytest.approx(last / cost_N[expected[-1]])
    # Of a batch picked by gain per second, the last pick may be cheap rather than good.
    assert found.diagnostics["gain_nats"] == pytest.approx(best_left(base, features.gradient_ND, np.ones(24), expected))
    assert found.diagnostics["gain_nats"] > last
    everything = select(rule, dataclasses.replace(features, cost_N=cost_N), 24)
    assert everything.diagnostics["gain_nats"] == pytest.approx(
        everything.scores_B[-1] * cost_N[everything.indices_B[-1]]
    )


def variance(rule: Any, inverse: np.ndarray, targets_MD: np.ndarray | None) -> float:
    if targets_MD is None:
        return float(np.trace(inverse))
    each = np.einsum("md,de,me->m", targets_MD, inverse, targets_MD)
    return float(each.max() if rule.config.criterion == "worst" else each.mean())


@given(
    which=st.sampled_from(["a", "V pool", "V drawn", "G pool", "G drawn"]),
    weighted=st.booleans(),
    per_second=st.booleans(),
    n=st.integers(3, 14),
    past=st.integers(0, 4),
    refresh=st.integers(1, 5),
    seed=st.integers(0, 10**6),
)
def test_variance_rules_remove_most_variance_at_every_pick(
    which: str, weighted: bool, per_second: bool, n: int, past: int, refresh: int, seed: int
) -> None:
    """Traces and maxima recomputed from inverses; n below and above the dimensions, so rotated and not."""
    common: dict[str, Any] = {"weighted": weighted, "prior_variance": 2.0, "prior_relative": False}
    rule: AOpt | VOpt
    if which == "a":
        rule = AOpt(AOptConfig(features="embedding", **common))
    else:
        target: Any = which.split()[1]
        criterion: Any = "worst" if which[0] == "G" else "average"
        rule = VOpt(
            VOptConfig(
                criterion=criterion, target=target, features="gradient" if target == "drawn" else "embedding", **common
            )
        )
    features = random_features(n, rule.needs | {"cost_N"}, seed=seed, past=past)
    cost_N = features.cost_N if per_second else np.ones(n)
    assert cost_N is not None
    if not per_second:
        features = dataclasses.replace(features, cost_N=None)
    matrix_DD, delta_ND, w_N = parts(rule, features, 2.0)
    targets_MD = None if which == "a" else features.target_MD if "drawn" in which else delta_ND
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(variance_search, "REFRESH", refresh)
        patch.setattr(variance_search, "WIDEST", 1 + seed % 3)
        patch.setattr(variance_search, "BLOCK_NUMBERS", 1 + seed % 40)
        found = select(rule, features, n - 1)
    picks: list[int] = []
    for pick, score in zip(found.indices_B.tolist(), found.scores_B, strict=True):
        before = variance(rule, np.linalg.inv(with_rows(matrix_DD, delta_ND, w_N, picks)), targets_MD)
        left = [i for i in range(n) if i not in picks]
        fall = {
            i: (before - variance(rule, np.linalg.inv(with_rows(matrix_DD, delta_ND, w_N, [*picks, i])), targets_MD))
            / cost_N[i]
            for i in left
        }
        assert fall[pick] == pytest.approx(max(fall.values()), rel=1e-7, abs=1e-9)
        assert score == pytest.approx(fall[pick], rel=1e-7, abs=1e-9)
        picks.append(pick)
    final = np.linalg.inv(with_rows(matrix_DD, delta_ND, w_N, picks))
    key = {"a": "trace_of_inverse", "V": "mean_variance", "G": "largest_variance"}[which[0]]
    assert found.diagnostics[key] == pytest.approx(variance(rule, final, targets_MD), rel=1e-8)
    assert found.diagnostics["gain_nats"] == pytest.approx(
        best_left(matrix_DD, delta_ND, w_N, picks), rel=1e-6, abs=1e-9
    )


def test_drawn_targets_have_no_embeddings() -> None:
    with pytest.raises(ValidationError, match="features: gradient"):
        VOptConfig(target="drawn", features="embedding")


@pytest.mark.parametrize("which", ["gradient", "embedding"])
def test_apo_scores_once_with_the_past_alone(which: Any) -> None:
    rule = APO(APOConfig(features=which, v0=1e-5))
    features = pool(rule, n=40)
    assert features.past is not None
    delta_ND, past_PD = getattr(features, f"{which}_ND"), getattr(features.past, f"{which}_ND")
    inverse = np.linalg.inv(1e-5 * np.eye(delta_ND.shape[1]) + past_PD.T @ past_PD)
    norm_N = np.sqrt(np.einsum("nd,de,ne->n", delta_ND, inverse, delta_ND))
    found = select(rule, features, 11)
    assert found.indices_B.tolist() == np.argsort(-norm_N)[:11].tolist()
    np.testing.assert_allclose(found.scores_B, np.sort(norm_N)[::-1][:11], rtol=1e-6)


def test_apo_keeps_its_digits_where_float32_would_not() -> None:
    """Float32 embeddings of large norm in the span of many past ones, V₀ = 1e-5."""
    rng = np.random.default_rng(1)
    rule = APO(APOConfig())
    basis = rng.normal(size=(6, 30)) * 1e3
    features = random_features(50, rule.needs)
    assert features.past is not None
    past = dataclasses.replace(features.past, embedding_ND=np.repeat(basis[:5], 1, axis=0).astype(np.float32))
    rows_ND = (rng.normal(size=(50, 6)) @ basis).astype(np.float32)
    found = select(rule, dataclasses.replace(features, embedding_ND=rows_ND, past=past), 50)
    assert np.isfinite(found.scores_B).all() and (found.scores_B > 0).all()
    assert (np.diff(found.scores_B) <= 1e-9 * found.scores_B[0]).all()


def test_apo_equals_exact_arithmetic_on_features_of_any_scale() -> None:
    """V₀ = 1e-5 beside features of 1e8: |δ|² in a direction not asked, and nearly nothing in one that was."""
    rule = APO(APOConfig())
    features = random_features(6, rule.needs, past=3)
    assert features.past is not None
    past_PD = 1e8 * np.array([[1.0, 0, 1, 0], [0, 1, 1, 0], [1, 1, 2, 0]])
    rows_ND = np.array(
        [[0, 0, 0, 3], [0, 0, 0, 2], [1, 1, -1, 0], [1e8, 1e8, 2e8, 0], [2e8, 0, 2e8, 0], [0, 0, 0, 1.0]]
    )
    past = dataclasses.replace(features.past, embedding_ND=past_PD)
    found = select(rule, dataclasses.replace(features, embedding_ND=rows_ND, past=past), 6)
    assert found.indices_B.tolist() == [0, 1, 2, 5, 4, 3]
    # (1, 1, −1) is orthogonal to all that was asked. In the plane of the past, V = 1e16 (aaᵀ + bbᵀ + (a + b)(a + b)ᵀ).
    exact = [9e5, 4e5, 3e5, 1e5, 8 / 3, 2 / 3]
    np.testing.assert_allclose(found.scores_B**2, exact, rtol=1e-9)


RULES: list[Acquisition] = [
    *(DOpt(DOptConfig(optimizer=o)) for o in ("one-shot", "exchange")),
    PastAwareDOpt(DOptConfig(optimizer="greedy", features="embedding")),
    ActiveDPO(ActiveDPOConfig(certificate=True)),
    AOpt(AOptConfig(features="embedding", weighted=False)),
    VOpt(VOptConfig(criterion="worst", target="drawn")),
    APO(APOConfig(features="gradient")),
    # Those above differ most from the defaults, which are in test_conformance.py.
    *(kind(DOptConfig(optimizer=o)) for kind in D_RULES[1:] for o in ("one-shot", "greedy", "exchange")),
    DOpt(DOptConfig(optimizer="greedy")),
    *(kind(DOptConfig(features="embedding")) for kind in D_RULES),
    AOpt(AOptConfig()),
    VOpt(VOptConfig()),
    VOpt(VOptConfig(criterion="worst")),
    VOpt(VOptConfig(target="drawn", weighted=False)),
    APO(APOConfig()),
]


@pytest.mark.parametrize("rule", first(7, RULES), ids=lambda r: f"{type(r).__name__}-{r.config!r}"[:60])
def test_conformance(rule: Acquisition) -> None:
    check_acquisition(rule)


@pytest.mark.parametrize(
    "rule",
    [XtX(DOptConfig(optimizer="greedy")), DOpt(DOptConfig()), ActiveDPO(ActiveDPOConfig()), AOpt(AOptConfig()),
     VOpt(VOptConfig()), APO(APOConfig())],
    ids=lambda r: type(r).__name__,
)  # fmt: skip
def test_calling_a_response_b_changes_nothing(rule: Acquisition) -> None:
    features = pool(rule)
    name = f"{getattr(rule.config, 'features', 'gradient')}_ND"  # type: ignore[attr-defined]
    swap_N = np.where(RNG.random(24) < 0.5, -1.0, 1.0)
    changes = {name: getattr(features, name) * swap_N[:, None]}
    if features.margin_N is not None:
        changes["margin_N"] = features.margin_N * swap_N
    swapped = dataclasses.replace(features, **changes)
    assert select(rule, features, 9).indices_B.tolist() == select(rule, swapped, 9).indices_B.tolist()
