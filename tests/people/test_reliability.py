"""The one-coin model against simulated people, against EM written here, and what it must not depend on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from voters import crowd, renamed, swapped, vote, votes_on

from duelist.errors import ModelError
from duelist.people.reliability import Reliability, dawid_skene
from duelist.types import Label

ACCURACIES = (0.92, 0.85, 0.75, 0.65, 0.5)


def fitted(votes: Sequence[Label]) -> Reliability:
    found = dawid_skene(votes)
    assert found is not None
    return found


def one_coin(votes: Sequence[Label], steps: int = 3000) -> tuple[dict[str, float], dict[str, float]]:
    """EM for votes a and b with equal shares of both: skills, and the probability of a by question."""
    people, questions = (sorted({getattr(v, key) for v in votes}) for key in ("annotator", "pair_id"))
    sign = np.zeros((len(questions), len(people)))
    for v in votes:
        sign[questions.index(v.pair_id), people.index(v.annotator)] = 1 if v.outcome == "a" else -1
    p = 0.5 + sign.sum(axis=1) / np.abs(sign).sum(axis=1) / 2
    for _ in range(steps):
        right = np.where(sign > 0, p[:, None], 1 - p[:, None]) * (sign != 0)
        skill = np.clip(right.sum(axis=0) / np.abs(sign).sum(axis=0), 1e-9, 1 - 1e-9)
        p = 1 / (1 + np.exp(-sign @ np.log(skill / (1 - skill))))
    return dict(zip(people, skill, strict=True)), dict(zip(questions, p, strict=True))


@pytest.fixture(scope="module")
def simulated() -> tuple[list[Label], list[str], Reliability]:
    votes, truth = crowd(ACCURACIES, 200, seed=1)
    return votes, truth, fitted(votes)


def test_people_of_known_accuracy_get_it_back(simulated: tuple[list[Label], list[str], Reliability]) -> None:
    votes, truth, found = simulated
    for i, accuracy in enumerate(ACCURACIES):
        assert found.skill[f"p{i}"] == pytest.approx(accuracy, abs=0.08)
    right = [found.posterior[f"q{q:04d}"][t] > 0.5 for q, t in enumerate(truth)]
    majority = [sum(v.outcome == t for v in votes if v.pair_id == f"q{q:04d}") > 2 for q, t in enumerate(truth)]
    assert np.mean(right) > np.mean(majority) and np.mean(right) > 0.9
    for posterior in found.posterior.values():
        assert sum(posterior.values()) == pytest.approx(1)


def test_crowd_kit_finds_what_em_written_here_finds(simulated: tuple[list[Label], list[str], Reliability]) -> None:
    votes, _, found = simulated
    skill, p = one_coin(votes)
    assert [found.skill[name] for name in skill] == pytest.approx(list(skill.values()), abs=5e-3)
    assert [found.posterior[q]["a"] for q in p] == pytest.approx(list(p.values()), abs=0.03)


def test_sides_order_and_names_change_nothing(simulated: tuple[list[Label], list[str], Reliability]) -> None:
    votes = [v for v in simulated[0] if v.pair_id < "q0025"]
    votes = [v if i % 7 else vote(v.pair_id, v.annotator, "tie") for i, v in enumerate(votes)]
    rng = np.random.default_rng(0)
    questions = {v.pair_id for v in votes if rng.random() < 0.5}
    found, turned = fitted(votes), fitted(swapped(votes, questions))
    assert turned.skill == pytest.approx(found.skill, abs=1e-6)
    for question, p in found.posterior.items():
        sides = ("b", "a") if question in questions else ("a", "b")
        again = turned.posterior[question]
        assert [again[o] for o in (*sides, "tie")] == pytest.approx([p["a"], p["b"], p["tie"]], abs=1e-6)
    shuffled = fitted([votes[i] for i in rng.permutation(len(votes))])
    assert shuffled == found
    others = fitted(renamed(votes))
    assert list(others.skill.values())[::-1] == pytest.approx(list(found.skill.values()), abs=1e-6)


def test_a_vote_alone_has_its_annotators_skill(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("duelist.people.reliability.STEPS", 10)  # of both fits: they need not have converged
    votes, _ = crowd([0.9, 0.8, 0.7], 25, seed=2)
    plain = fitted(votes)
    found = fitted([*votes, vote("alone", "p1", "b"), vote("stranger", "p9", "a"), vote("odd", "p1", "both_bad")])
    assert {k: v for k, v in found.skill.items() if k != "p9"} == plain.skill and found.skill["p9"] is None
    assert {q: p for q, p in found.posterior.items() if q in plain.posterior} == plain.posterior
    assert found.posterior["alone"] == pytest.approx({"a": 1 - plain.skill["p1"], "b": plain.skill["p1"]})  # type: ignore[operator]
    assert found.posterior["stranger"]["a"] == pytest.approx(np.mean(list(plain.skill.values())))
    assert sum(found.posterior["odd"].values()) == pytest.approx(1) and found.posterior["odd"]["a"] > 0


def test_without_shared_questions_or_without_two_outcomes_there_is_no_fit() -> None:
    for votes in ([], votes_on({"q1": "a.", "q2": ".b", "q3": "as"}), votes_on({"q1": "tt", "q2": "ttt", "q3": "a"})):
        assert dawid_skene(votes) is None
    assert fitted(votes_on({"q1": "aa"})).skill == pytest.approx({"0": 1.0, "1": 1.0})


def test_names_that_pandas_takes_for_missing_values_are_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("duelist.people.reliability.STEPS", 5)
    votes = crowd([0.9, 0.8, 0.7], 15, seed=4)[0]
    odd = {"p0": "nan", "p1": "None", "p2": "NA"}
    found = fitted([vote(v.pair_id, odd[v.annotator], v.outcome) for v in votes])
    assert {name: found.skill[odd[name]] for name in odd} == pytest.approx(fitted(votes).skill)


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("duelist.people.libraries.find_spec", {"crowdkit": None}.__getitem__)
    with pytest.raises(ModelError, match=r"needs the library crowd-kit.*`pip install crowd-kit`.*`annotate`"):
        dawid_skene(votes_on({"q1": "ab"}))
