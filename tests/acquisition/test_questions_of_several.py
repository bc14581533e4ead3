"""Every rule that selects among questions of several responses, against brute force with explicit matrices."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from question_oracle import best_left, greedy, information, logdet, pool_moment

from duelist.acquisition.a_v_opt import AOpt, AOptConfig, VOpt, VOptConfig
from duelist.acquisition.activedpo import ActiveDPO, ActiveDPOConfig
from duelist.acquisition.base import RULES_FOR_SETS, Acquisition, choose, require_selects_sets
from duelist.acquisition.d_opt import DOpt, DOptConfig, PastAwareDOpt, XtX
from duelist.acquisition.information import Information, InformationConfig
from duelist.acquisition.initial_random import InitialRandom
from duelist.acquisition.margin import MaxDiff
from duelist.acquisition.policy_gap import PolicyGap, PolicyGapConfig
from duelist.acquisition.random import Random
from duelist.choice_models.stage_scales import fit_stage_scales
from duelist.errors import DuelistError, NumericalError, RecipeError
from duelist.recipe.component import Component
from duelist.recipe.components import COMPONENTS
from duelist.testing import random_features
from duelist.types import Features, Selection

NEEDS = frozenset(
    {"margin_N", "gradient_ND", "embedding_ND", "past", "votes_N2", "asked_margin_N", "target_MD", "cost_N"}
)


def pool(n: int = 22, seed: int = 0, past: int = 6, cost: bool = False, sets_of: int = 4) -> Features:
    features = random_features(n, NEEDS, seed=seed, past=past, sets_of=sets_of)
    return features if cost else dataclasses.replace(features, cost_N=None)


def chosen(rule: Acquisition, features: Features, budget: int) -> Selection:
    return choose(rule, features, budget, np.random.default_rng(0))


def ridge(one_NDD: np.ndarray, relative: float) -> np.ndarray:
    return np.asarray(relative * np.trace(one_NDD, axis1=1, axis2=2).mean() * np.eye(one_NDD.shape[1]))


def fall(target_DD: np.ndarray) -> Any:
    return lambda matrix_DD: -float(np.trace(target_DD @ np.linalg.inv(matrix_DD)))


@pytest.mark.parametrize("cost", [False, True])
@pytest.mark.parametrize("field", ["gradient", "embedding"])
@pytest.mark.parametrize("past", [0, 6, 20])
def test_information_is_greedy_for_the_log_determinant(field: Any, past: int, cost: bool) -> None:
    """With the temperature and the stage scales that fit the answers to past questions of mixed sizes."""
    features = pool(past=past, cost=cost)
    known: Any = features.past
    selection = chosen(Information(InformationConfig(features=field)), features, 9)
    fitted = fit_stage_scales(known.asked_reward_XQ, known.rank_XQ, known.asks_N[known.answered_X])
    scales = fitted.scale_X if past else (1.0,)
    one_NDD = information(features, field, True, fitted.temperature, scales)
    start_DD = ridge(one_NDD, 0.01) + information(known, field, True, fitted.temperature, scales).sum(axis=0)
    picks, gains, after_DD = greedy(start_DD, one_NDD, 9, logdet, features.cost_N)
    assert selection.indices_B.tolist() == picks
    seconds = np.ones(9) if features.cost_N is None else features.cost_N[picks]
    np.testing.assert_allclose(selection.scores_B, gains / seconds, rtol=1e-8)
    assert selection.diagnostics["temperature"] == fitted.temperature
    assert selection.diagnostics["logdet_gain_nats"] == pytest.approx(sum(gains))
    bound = best_left(after_DD, one_NDD, picks) if cost else gains[-1]
    assert selection.diagnostics["gain_nats"] == pytest.approx(bound)
    if past == 20:
        assert selection.diagnostics["scale_of_stage_2"] == scales[1] != 1


@pytest.mark.parametrize("cost", [False, True])
@pytest.mark.parametrize("target", ["pool", "drawn"])
@pytest.mark.parametrize("relative", [1e-4, 1.0])
@pytest.mark.parametrize("past", [0, 20])
def test_policy_gap_is_greedy_for_the_trace(target: Any, relative: float, past: int, cost: bool) -> None:
    features = pool(past=past, cost=cost)
    known: Any = features.past
    rule = PolicyGap(PolicyGapConfig(target=target, lambda_=relative, calibrate=False, temperature=2.0))
    selection = chosen(rule, features, 9)
    target_MD: Any = features.target_MD
    sigma_DD = 0.5 * (target_MD.T @ target_MD / len(target_MD) if target == "drawn" else pool_moment(features))
    one_NDD = information(features, tau=2.0)
    start_DD = ridge(one_NDD, relative) + information(known, tau=2.0).sum(axis=0)
    picks, falls, after_DD = greedy(start_DD, one_NDD, 9, fall(sigma_DD), features.cost_N)
    assert selection.indices_B.tolist() == picks
    seconds = np.ones(9) if features.cost_N is None else features.cost_N[picks]
    np.testing.assert_allclose(selection.scores_B, falls / seconds, rtol=1e-6)
    assert selection.diagnostics["loss_after"] == pytest.approx(-fall(sigma_DD)(after_DD), rel=1e-6)


@pytest.mark.parametrize("cost", [False, True])
def test_activedpo_takes_the_unweighted_form(cost: bool) -> None:
    features = pool(cost=cost)
    known: Any = features.past
    selection = chosen(ActiveDPO(ActiveDPOConfig(lambda_=0.1)), features, 9)
    one_NDD = information(features, weighted=False)
    start_DD = ridge(one_NDD, 0.1) + information(known, weighted=False).sum(axis=0)
    picks, gains, after_DD = greedy(start_DD, one_NDD, 9, logdet, features.cost_N)
    assert selection.indices_B.tolist() == picks
    scores = np.sqrt(np.expm1(gains)) if features.cost_N is None else gains / features.cost_N[picks]
    np.testing.assert_allclose(selection.scores_B, scores, rtol=1e-8)
    bound = best_left(after_DD, one_NDD, picks) if cost else gains[-1]
    assert selection.diagnostics["gain_nats"] == pytest.approx(bound)


@pytest.mark.parametrize("cost", [False, True])
@pytest.mark.parametrize("which", ["gradient", "embedding"])
@pytest.mark.parametrize("optimizer", ["one-shot", "greedy"])
@pytest.mark.parametrize("kind", [DOpt, PastAwareDOpt, XtX])
def test_d_optimal_rules(kind: Any, optimizer: Any, which: Any, cost: bool) -> None:
    """With more dimensions than responses (gradients of 12 questions), and with fewer (embeddings of 22)."""
    features = pool(cost=cost, n=12 if which == "gradient" else 22)
    rule = kind(DOptConfig(optimizer=optimizer, features=which, prior_variance=3.0))
    selection = chosen(rule, features, 8)
    weighted = kind is not XtX
    one_NDD = information(features, which, weighted)
    start_DD = ridge(one_NDD, 1 / 3)
    prior = start_DD[0, 0]
    if kind is PastAwareDOpt:
        known: Any = features.past
        start_DD = start_DD + information(known, which).sum(axis=0)
    if optimizer == "greedy":
        picks, gains, after_DD = greedy(start_DD, one_NDD, 8, logdet, features.cost_N)
        scores = np.expm1(gains) if features.cost_N is None else gains / features.cost_N[picks]
        bound = best_left(after_DD, one_NDD, picks) if cost else gains[-1]
    else:
        inverse_DD = np.linalg.inv(start_DD + one_NDD.sum(axis=0))
        score_N = np.einsum("nde,ed->n", one_NDD, inverse_DD)
        score_N = score_N if features.cost_N is None else score_N / features.cost_N
        picks = np.argsort(-score_N)[:8].tolist()
        scores, after_DD = score_N[picks], start_DD + one_NDD[picks].sum(axis=0)
        bound = best_left(after_DD, one_NDD, picks)
    assert selection.indices_B.tolist() == picks
    np.testing.assert_allclose(selection.scores_B, scores, rtol=1e-8)
    assert selection.diagnostics["prior_precision"] == pytest.approx(prior)
    assert selection.diagnostics["logdet_nats"] == pytest.approx(logdet(after_DD))
    assert selection.diagnostics["gain_nats"] == pytest.approx(bound)
    everything = chosen(rule, features, features.n)
    assert np.isfinite(everything.diagnostics["gain_nats"])


@pytest.mark.parametrize("cost", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("which", ["a gradient", "a embedding", "v pool", "v drawn"])
def test_a_and_v_optimal_rules(which: str, weighted: bool, cost: bool) -> None:
    features = pool(cost=cost)
    known: Any = features.past
    common: dict[str, Any] = {"weighted": weighted, "prior_variance": 2.0, "prior_relative": False}
    rule: Acquisition
    field = "embedding" if which == "a embedding" else "gradient"
    if which[0] == "a":
        rule = AOpt(AOptConfig(features=field, **common))
    else:
        rule = VOpt(VOptConfig(target=which.split()[1], **common))  # type: ignore[arg-type]
    selection = chosen(rule, features, 9)
    one_NDD = information(features, field, weighted)
    start_DD = np.eye(one_NDD.shape[1]) / 2 + information(known, field, weighted).sum(axis=0)
    target_MD: Any = features.target_MD
    target_DD = {
        "a": np.eye(one_NDD.shape[1]),
        "v pool": pool_moment(features),
        "v drawn": target_MD.T @ target_MD / len(target_MD),
    }[which if which[0] == "v" else "a"]
    picks, falls, after_DD = greedy(start_DD, one_NDD, 9, fall(target_DD), features.cost_N)
    assert selection.indices_B.tolist() == picks
    seconds = np.ones(9) if features.cost_N is None else features.cost_N[picks]
    np.testing.assert_allclose(selection.scores_B, falls / seconds, rtol=1e-8)
    key = "trace_of_inverse" if which[0] == "a" else "mean_variance"
    assert selection.diagnostics[key] == pytest.approx(-fall(target_DD)(after_DD))
    assert selection.diagnostics["gain_nats"] == pytest.approx(best_left(after_DD, one_NDD, picks))


def test_equal_scales_fit_the_temperature_alone() -> None:
    features = pool(past=20)
    both = {
        scales: chosen(Information(InformationConfig(stage_scales=scales)), features, 3).diagnostics
        for scales in ("fitted", "equal")
    }
    assert "scale_of_stage_2" in both["fitted"] and "scale_of_stage_2" not in both["equal"]
    known: Any = features.past
    # In answers without a second stage there is nothing but the temperature to fit.
    first = np.where(known.asks_N == "best_of_k", "best_of_k", "best_worst")
    kept = np.flatnonzero(np.isin(known.asks_N, ["best_of_k", "best_worst"]))
    known = dataclasses.replace(
        known,
        asked_reward_XQ=known.asked_reward_XQ[kept],
        rank_XQ=known.rank_XQ[kept],
        answered_X=known.answered_X[kept],
    )
    assert (first[kept] == known.asks_N[kept]).all()
    one_stage = dataclasses.replace(features, past=known)
    temperatures = [
        chosen(Information(InformationConfig(stage_scales=scales)), one_stage, 3).diagnostics["temperature"]
        for scales in ("fitted", "equal")
    ]
    assert temperatures[0] == pytest.approx(temperatures[1], rel=1e-5) and temperatures[0] != 1


def pairs_in_both_forms(seed: int = 3) -> tuple[Features, Features]:
    """A pool of pairs, and the same with the numbers of its responses."""
    sets = random_features(20, NEEDS, seed=seed, sets_of=3)
    known: Any = sets.past

    def first_two(part: Any) -> Features:
        place_NQ = np.full_like(part.place_NQ, -1)
        place_NQ[:, :2] = part.place_NQ[:, :2]
        return dataclasses.replace(part, place_NQ=place_NQ, asks_N=np.full(part.n, "pair"))

    def of_pairs(part: Any, **more: Any) -> Features:
        a, b = part.place_NQ[:, 0], part.place_NQ[:, 1]
        return dataclasses.replace(
            part,
            place_NQ=None,
            asks_N=None,
            gradient_RD=None,
            embedding_RD=None,
            reward_R=None,
            gradient_ND=part.gradient_RD[a] - part.gradient_RD[b],
            embedding_ND=part.embedding_RD[a] - part.embedding_RD[b],
            margin_N=part.reward_R[a] - part.reward_R[b],
            votes_N2=np.zeros((part.n, 2), np.int64),
            asked_margin_N=np.zeros(part.n),
            **more,
        )

    unanswered = dataclasses.replace(known, asked_reward_XQ=None, rank_XQ=None, answered_X=None)
    responses = dataclasses.replace(first_two(sets), past=first_two(unanswered))
    return of_pairs(responses, past=of_pairs(responses.past)), responses


RULES: list[Acquisition] = [
    Information(InformationConfig()),
    PolicyGap(PolicyGapConfig()),
    PolicyGap(PolicyGapConfig(target="pool", features="embedding")),
    ActiveDPO(ActiveDPOConfig()),
    DOpt(DOptConfig()),
    PastAwareDOpt(DOptConfig(optimizer="greedy")),
    XtX(DOptConfig()),
    AOpt(AOptConfig()),
    VOpt(VOptConfig()),
    VOpt(VOptConfig(target="drawn", weighted=False)),
]


@pytest.mark.parametrize("cost", [False, True])
@pytest.mark.parametrize("rule", RULES, ids=lambda r: type(r).__name__)
def test_pairs_are_the_case_of_two_responses(rule: Acquisition, cost: bool) -> None:
    """The same picks, scores and numbers to report, whether a pair is a row or two responses."""
    pairs, responses = pairs_in_both_forms()
    if not cost:
        pairs, responses = (dataclasses.replace(f, cost_N=None) for f in (pairs, responses))
    ours, theirs = chosen(rule, responses, 9), chosen(rule, pairs, 9)
    assert ours.indices_B.tolist() == theirs.indices_B.tolist()
    np.testing.assert_allclose(ours.scores_B, theirs.scores_B, rtol=1e-7)
    for name in set(theirs.diagnostics) - {"readings_of_the_pool", "within_percent_of_optimum"}:
        if name in ours.diagnostics:
            assert ours.diagnostics[name] == pytest.approx(theirs.diagnostics[name], rel=1e-7), name
    assert {"gain_nats", "lambda", "prior_precision", "loss_after"} & set(ours.diagnostics)


@pytest.mark.parametrize("rule", RULES, ids=lambda r: type(r).__name__)
def test_the_order_of_responses_within_a_question_changes_nothing(rule: Acquisition) -> None:
    features = pool(n=20)
    rng = np.random.default_rng(5)

    def turned(part: Any) -> Features:
        place_NQ = part.place_NQ.copy()
        for row in place_NQ:
            k = (row >= 0).sum()
            row[:k] = rng.permutation(row[:k])
        return dataclasses.replace(part, place_NQ=place_NQ)

    other = dataclasses.replace(turned(features), past=turned(features.past))
    ours, theirs = chosen(rule, features, 9), chosen(rule, other, 9)
    assert ours.indices_B.tolist() == theirs.indices_B.tolist()
    np.testing.assert_allclose(ours.scores_B, theirs.scores_B, rtol=1e-7)


def test_random_needs_nothing_of_a_question() -> None:
    bare = random_features(20, frozenset(), sets_of=5)
    assert bare.gradient_RD is None and bare.reward_R is None
    assert len(set(chosen(Random(), bare, 7).indices_B.tolist())) == 7


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("rule", RULES[:8], ids=lambda r: type(r).__name__)
def test_mapped_gradients_give_the_same_picks(tmp_path: Path, rule: Acquisition, dtype: type) -> None:
    features = pool(n=80, sets_of=3)
    known, gradient_RD, embedding_RD = features.past, features.gradient_RD, features.embedding_RD
    assert known is not None and gradient_RD is not None and embedding_RD is not None
    np.save(tmp_path / "gradient.npy", gradient_RD.astype(dtype))
    np.save(tmp_path / "embedding.npy", embedding_RD.astype(dtype))
    found = []
    for mode in ("r", None):
        vectors: dict[str, Any] = {
            f"{name}_RD": np.load(tmp_path / f"{name}.npy", mmap_mode=mode)  # type: ignore[arg-type]
            for name in ("gradient", "embedding")
        }
        past = dataclasses.replace(known, **vectors)
        found.append(chosen(rule, dataclasses.replace(features, past=past, **vectors), 20).indices_B.tolist())
    assert found[0] == found[1]


@pytest.mark.parametrize("shared", [True, False])
def test_initial_random_counts_its_picks_as_past(shared: bool) -> None:
    features = pool()
    known: Any = features.past
    if not shared:  # the past's own arrays, and smaller questions alone
        small = np.flatnonzero(known.place_NQ[:, 3] < 0)
        assert len(small)
        known = dataclasses.replace(
            known,
            place_NQ=known.place_NQ[small, :3],
            asks_N=known.asks_N[small],
            pair_id_N=known.pair_id_N[small],
            cost_N=known.cost_N[small],
            gradient_RD=known.gradient_RD.copy(),
            reward_R=known.reward_R.copy(),
            embedding_RD=known.embedding_RD.copy(),
            asked_reward_XQ=None,
            rank_XQ=None,
            answered_X=None,
        )
        features = dataclasses.replace(features, past=known)
    rule = Information(InformationConfig(calibrate=False))
    selection = chosen(InitialRandom(rule, 3, 8), features, 8)
    drawn, rest = selection.indices_B[:3], np.setdiff1d(np.arange(22), selection.indices_B[:3])
    one_NDD = information(features)
    start_DD = ridge(one_NDD[rest], 0.01) + information(known).sum(axis=0) + one_NDD[drawn].sum(axis=0)
    picks, _, _ = greedy(start_DD, one_NDD[rest], 5, logdet)
    assert selection.indices_B[3:].tolist() == rest[picks].tolist()


def test_the_rules_that_select_sets_are_listed() -> None:
    able = [n for n in COMPONENTS["acquisition"] if Component.of(Acquisition, n).build().selects_sets]
    assert sorted(able) == sorted(RULES_FOR_SETS)


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (MaxDiff(), "MaxDiff chooses among pairs only.*up to 4 responses.*`sets_of: 2`.*policy_gap"),
        (DOpt(DOptConfig(optimizer="exchange")), "`optimizer: exchange`.*`greedy`"),
        (DOpt(DOptConfig(certificate=True)), "`certificate: true`.*`auto`"),
        (ActiveDPO(ActiveDPOConfig(certificate=True)), "`certificate: true`.*false"),
        (VOpt(VOptConfig(criterion="worst")), "`criterion: worst`.*`average`"),
        (InitialRandom(MaxDiff(), 2, 5), "pairs only"),
        (InitialRandom(VOpt(VOptConfig(criterion="worst")), 2, 5), "criterion"),
    ],
    ids=lambda x: type(x).__name__,
)
def test_what_is_for_pairs_alone_is_refused(rule: Acquisition, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        chosen(rule, pool(), 5)
    with pytest.raises(RecipeError, match=said):
        require_selects_sets(rule, 4)
    require_selects_sets(rule, 2)


def test_a_wholly_random_batch_can_come_before_any_rule() -> None:
    assert len(chosen(InitialRandom(MaxDiff(), 5, 5), pool(), 5).indices_B) == 5


def changed(features: Features, name: str, row: Any, value: Any) -> Features:
    values = getattr(features, name).copy()
    values[row] = value
    spoilt: dict[str, Any] = {name: values}
    return dataclasses.replace(features, **spoilt)


def test_questions_that_cannot_be_are_refused() -> None:
    features, rule = pool(), Information(InformationConfig())
    place_NQ, past = features.place_NQ, features.past
    assert place_NQ is not None and past is not None and features.gradient_RD is not None
    full = int(np.argmax(place_NQ[:, 3] >= 0))
    for value in ([0, 1, 1, -1], [0, -1, 1, -1], [0, -1, -1, -1], [0, 1, 10_000, -1]):
        with pytest.raises(DuelistError, match=f"candidate question candidate{full} has the places"):
            chosen(rule, changed(features, "place_NQ", full, value), 2)
    for value in ("pair", "votes"):
        with pytest.raises(DuelistError, match=f"candidate{full} of 4 asks for '{value[:7]}"):
            chosen(rule, changed(features, "asks_N", full, value), 2)
    with pytest.raises(DuelistError, match="past questions lack one"):
        chosen(rule, dataclasses.replace(features, past=dataclasses.replace(past, asks_N=None)), 2)
    with pytest.raises(DuelistError, match="22 rows"):
        chosen(rule, dataclasses.replace(features, place_NQ=place_NQ[:9]), 2)
    with pytest.raises(DuelistError, match="needs reward_R of the candidate"):
        chosen(rule, dataclasses.replace(features, reward_R=None), 2)
    with pytest.raises(DuelistError, match="one row a response"):
        chosen(rule, dataclasses.replace(features, gradient_RD=features.gradient_RD[:-1]), 2)
    with pytest.raises(NumericalError, match="gradient_RD of a response of candidate question"):
        chosen(rule, changed(features, "gradient_RD", place_NQ[full, 2], np.nan), 2)


def test_answers_that_cannot_be_are_refused() -> None:
    features, rule = pool(), Information(InformationConfig())
    past = features.past
    assert past is not None and past.answered_X is not None
    for spoilt, said in (
        (changed(past, "answered_X", 2, 6), "positions among the 6 past questions"),
        (dataclasses.replace(past, rank_XQ=None), "fill all three"),
        (dataclasses.replace(past, answered_X=past.answered_X[:3]), "one row an answer"),
        (changed(past, "asked_reward_XQ", (4, 0), np.inf), "asked_reward_XQ of past question past4"),
    ):
        with pytest.raises(DuelistError, match=said):
            chosen(rule, dataclasses.replace(features, past=spoilt), 2)
    unasked = dataclasses.replace(past, asked_reward_XQ=None, rank_XQ=None, answered_X=None)
    found = chosen(rule, dataclasses.replace(features, past=unasked), 2)
    assert found.diagnostics["temperature"] == 1.0
