"""Which labels of a judge count: the rule on hand-made rounds, and the randomness that it rests on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from scipy import stats

from duelist.annotators.base import History
from duelist.cascade.evidence import coin, confidence, judged_pairs, one_vote
from duelist.cascade.labelling import Policy, labels_of
from duelist.cascade.trust import level_of, own_slices
from duelist.cascade.words import in_words
from duelist.judgement import Judgement
from duelist.people.certification import audits_needed
from duelist.types import Batch, Label, Prompt, Question, Response, Votes

SURE_A = Judgement((0.9, 0.1, 0.0), (0.9, 0.1, 0.0))
SURE_B = Judgement((0.1, 0.9, 0.0), (0.1, 0.9, 0.0))
UNSURE = Judgement((0.6, 0.4, 0.0), (0.6, 0.4, 0.0))
TIE = Judgement((0.1, 0.1, 0.8), (0.1, 0.1, 0.8))
TORN = Judgement((0.9, 0.1, 0.0), (0.1, 0.9, 0.0))
SILENT = Judgement((0.9, 0.1, 0.0), None)
POLICY = Policy("judge", 0.3, 0.2)
SLICED = Policy("judge", 0.3, 0.2, "topic")


def prompt(topic: str) -> Prompt:
    return Prompt.of(f"about {topic}", {"topic": topic})


def question(name: str, t: int, topic: str = "x") -> Question:
    a, b = (Response(f"{name}{side}", prompt(topic).id, side, (1,), (2,), t) for side in "ab")
    return Question(name, (a, b), t)


class Rounds:
    """A study made by hand: each round's pairs are judged, and a person answers what is left."""

    def __init__(self, looks: int = 3) -> None:
        self.questions: dict[str, Question] = {}
        self.labels: list[Label] = []
        self.looks, self.round, self.said = looks, 0, list[str]()

    def history(self) -> History:
        prompts = {p.id: p for p in (prompt("x"), prompt("y"), prompt("z"))}
        return History(dict(self.questions), prompts, list(self.labels), self.looks)

    def run(
        self, judgements: Sequence[Judgement], votes: Any = "a", topics: Any = "x", policy: Policy = POLICY
    ) -> list[Label]:
        """Judge a round of so many pairs, let the person vote, and return the judge's labels."""
        self.round += 1
        names = [f"{self.round}.{i}" for i in range(len(judgements))]
        topics = [topics] * len(names) if isinstance(topics, str) else topics
        votes = [votes] * len(names) if isinstance(votes, str) else votes
        batch_of = tuple(question(n, self.round, topic) for n, topic in zip(names, topics, strict=True))
        batch = Batch(self.round, batch_of, self.history().prompts, (0.0,) * len(names), "none")
        found, _ = labels_of(batch, judgements, self.history(), policy, 0)
        self.said = in_words(found.info)
        self.info = found.info
        self.labels += found.labels
        self.questions |= {q.id: q for q in batch_of}
        for label, vote in zip(found.labels, votes, strict=True):
            if label.advisory and vote:
                self.labels.append(Label(label.pair_id, "ann", vote, id=f"{label.pair_id} ann"))
        return list(found.labels)


def test_nothing_is_taken_before_there_are_votes_and_audits_never() -> None:
    study = Rounds()
    assert all(x.advisory for x in study.run([SURE_A] * 100))
    found = study.run([SURE_A] * 100)
    assert {x.pair_id for x in found if x.advisory} == {x.pair_id for x in found if coin(0, x.pair_id) < 0.2}
    assert study.info["taken"] == sum(not x.advisory for x in found) > 60
    assert all(x.judgement == SURE_A and x.outcome == "a" and x.annotator == "judge" for x in found)


def test_ties_contradictions_and_missing_verdicts_go_to_people() -> None:
    study = Rounds()
    study.run([SURE_A, SURE_B] * 60, votes=["a", "b"] * 60)
    found = study.run([TIE, TORN, SILENT, SURE_B] * 30)
    assert {x.outcome for x in found if not x.advisory} == {"b"}
    assert {x.outcome for x in found} == {"tie", "inconsistent", "unparsed", "b"}
    assert [confidence(x) for x in (TIE, TORN, SILENT)] == [None] * 3
    assert (confidence(SURE_B), confidence(UNSURE)) == (pytest.approx(0.9), pytest.approx(0.6))


def test_an_unsure_judge_that_errs_is_trusted_only_where_it_is_sure() -> None:
    study = Rounds()
    study.run([SURE_A, UNSURE] * 80, votes=["a", "b"] * 80)
    found = study.run([SURE_A, UNSURE] * 40)
    assert {x.judgement for x in found if not x.advisory} == {SURE_A}


@pytest.mark.parametrize("vote", ["b", "tie", "both_bad", "both_good"])
def test_every_other_vote_is_a_disagreement(vote: str) -> None:
    study = Rounds()
    study.run([SURE_A] * 100, votes=["a", vote] * 50)
    assert all(x.advisory for x in study.run([SURE_A] * 100))
    (trust,) = study.info["trust"]
    assert trust["threshold"] is None
    assert 0.35 < trust["errors"] / trust["audits"] < 0.65
    assert "not trusted" in study.said[1]


def test_skips_are_missing_and_counted() -> None:
    study = Rounds()
    study.run([SURE_A] * 100, votes=["skip", "a"] * 50)
    study.run([SURE_A] * 10)
    (trust,) = study.info["trust"]
    census = [i for i in range(100) if coin(0, f"1.{i}") < 0.8]
    assert trust["audits"] == sum(i % 2 for i in census) and trust["skipped"] == sum(1 - i % 2 for i in census)
    assert f"({trust['skipped']} more were skipped)" in study.said[1]


def test_a_better_judge_may_stand_in_for_people() -> None:
    study = Rounds()
    study.run([SURE_A] * 100, votes="")
    for i in range(100):
        study.labels.append(Label(f"1.{i}", "better", "a", id=f"better {i}", judgement=SURE_A))
    found = study.run([SURE_A] * 100)
    assert any(not x.advisory for x in found)
    torn = [Label(f"1.{i}", "torn", "inconsistent", id=f"torn {i}", judgement=TORN) for i in range(100)]
    assert one_vote(torn[:1], 0) is None


def test_a_judge_that_becomes_bad_is_no_longer_trusted() -> None:
    study = Rounds(looks=20)
    study.run([SURE_A] * 100)
    while study.round < 20:
        found = study.run([SURE_A] * 100, votes="b")
        if all(x.advisory for x in found):
            break
    assert 2 < study.round < 15
    assert any(not x.advisory for x in study.labels if x.pair_id.startswith("2."))


def test_once_trusted_only_audits_test_and_only_the_calibration_slice_orders() -> None:
    study = Rounds()
    study.run([SURE_A] * 100)
    study.run([SURE_A, UNSURE] * 100)
    pairs = judged_pairs(study.history(), "judge", None, 0)
    assert pairs.taken_N.any()
    sampled_N = pairs.sampled(0.2)
    first = pairs.round_N == 1
    np.testing.assert_array_equal(sampled_N[first], pairs.coin_N[first] < 0.8)
    np.testing.assert_array_equal(sampled_N[~first], pairs.coin_N[~first] < 0.2)


def test_the_coin_is_uniform_and_depends_on_seed_and_pair_only() -> None:
    coins = [coin(3, f"pair {i}") for i in range(2000)]
    assert stats.kstest(coins, "uniform").pvalue > 0.01
    assert coins[5] == coin(3, "pair 5") != coin(4, "pair 5")


# Slices


def test_slices_get_thresholds_of_their_own_and_small_ones_share_one() -> None:
    study = Rounds()
    topics = ["x"] * 60 + ["y"] * 60 + ["z"] * 6
    votes = ["a"] * 60 + ["b"] * 60 + ["a"] * 6  # the judge is bad at y, and little is known of z
    study.run([SURE_A] * 126, votes, topics, SLICED)
    found = study.run([SURE_A] * 126, "a", topics, SLICED)
    assert {topics[int(x.pair_id.split(".")[1])] for x in found if not x.advisory} == {"x"}
    assert [x["slices"] for x in study.info["trust"]] in ([["x"], ["y"], ["z"]], [["y"], ["x"], ["z"]])
    needed = audits_needed(0.3, level_of(3) / 3)
    assert {x["needed"] for x in study.info["trust"]} == {needed}, "the level is divided over the slices"


def test_slices_too_small_to_be_tested_are_pooled() -> None:
    study = Rounds()
    topics = ["x", "y", "z"] * 12
    study.run([SURE_A] * 36, "a", topics, SLICED)
    found = study.run([SURE_A] * 36, "a", topics, SLICED)
    (trust,) = study.info["trust"]
    assert trust["slices"] == ["x", "y", "z"] and trust["needed"] == audits_needed(0.3, level_of(3))
    assert any(not x.advisory for x in found)


def test_a_slice_never_seen_is_left_to_people() -> None:
    study = Rounds()
    study.run([SURE_A] * 100, policy=SLICED)
    found = study.run([SURE_A] * 100, topics=["x", "y"] * 50, policy=SLICED)
    assert {int(x.pair_id.split(".")[1]) % 2 for x in found if not x.advisory} == {0}


@pytest.mark.parametrize("sizes", [(), (3,), (40, 40), (40, 5), (60, 30, 12, 11, 2), (11, 11, 11)])
def test_own_slices_are_as_many_as_have_enough_at_their_share(sizes: tuple[int, ...]) -> None:
    slice_N = np.array([f"s{i}" for i, n in enumerate(sizes) for _ in range(n)], np.str_)
    found = own_slices(slice_N, len(sizes), 0.3, 0.05)

    def fits(m: int) -> bool:
        share = 0.05 / (m + (m < len(sizes)))
        return all(n >= audits_needed(0.3, share) for n in sizes[:m])

    best = max(m for m in range(len(sizes) + 1) if m == 0 or fits(m))
    assert found == [f"s{i}" for i in range(best)]


# One vote of a random person


def vote(who: str, outcome: Any, **more: Any) -> Label:
    return Label("p", who, outcome, id=who, **more)


def test_one_vote_is_that_of_a_random_person() -> None:
    labels = [vote("ann", "a"), vote("bob", "b"), vote("cem", "b")]
    drawn = [one_vote(labels, seed) for seed in range(600)]
    assert drawn == [one_vote(labels[::-1], seed) for seed in range(600)]
    assert stats.binomtest(drawn.count("a"), 600, 1 / 3).pvalue > 0.01


def test_skips_and_adjudicators_have_no_vote_and_counts_have_many() -> None:
    assert one_vote([], 0) is None and one_vote([vote("ann", "skip")], 0) is None
    assert {one_vote([vote("ann", "skip"), vote("bob", "tie")], s) for s in range(9)} == {"tie"}
    assert {one_vote([vote("ann", "a"), vote("eve", "b", adjudicates=True)], s) for s in range(9)} == {"a"}
    counted = [vote("data", "a", votes=Votes(6, 3, 1))]
    drawn = [one_vote(counted, s) for s in range(1000)]
    expected = [600, 300, 100]
    assert stats.chisquare([drawn.count(x) for x in ("a", "b", "tie")], expected).pvalue > 0.01
