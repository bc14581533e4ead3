"""Answers to larger questions in the record: all or none, each act once, changed only in words, exported whole."""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from itertools import permutations, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import small_sets
from duelist.answers import REST, Retraction
from duelist.errors import DataError, LabelConflictError, StorageError
from duelist.store.codecs import questions
from duelist.store.decisions import decided_margins, decision_from, decision_json
from duelist.store.export import implied_pairs, label_rows, trl_rows
from duelist.store.layout import DATABASE
from duelist.store.opening import open_folder
from duelist.store.store import Store
from duelist.types import Answer, Draws, Label, Preference, RankedSet

ASKED = small_sets.questions_of(1)
RANKING, BEST_WORST, BEST, OTHER, PAIR = (x.question for x in ASKED)
GOOD = small_sets.answers_of(1)


@pytest.fixture(scope="module")
def asked_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study's folder whose first round was asked and has no answer yet."""
    path = tmp_path_factory.mktemp("asked") / "study"
    small_sets.begun(path).close()
    return path


@contextmanager
def a_store(asked_folder: Path, path: Path) -> Iterator[Store]:
    shutil.copytree(asked_folder, path)
    store = Store(path, migrate=False)
    try:
        yield store
    finally:
        store.close()


@pytest.fixture
def store(asked_folder: Path, tmp_path: Path) -> Iterator[Store]:
    with a_store(asked_folder, tmp_path / "study") as store:
        yield store


def order_of(question: Any) -> list[str]:
    return [r.id for r in question.responses]


def test_what_comes_back_is_what_was_asked_and_answered(store: Store) -> None:
    assert store.asked() == ASKED
    assert store.batch(1).questions == tuple(x.question for x in ASKED)
    assert store.add_answers(GOOD) == 5
    assert store.answers() == GOOD
    again = Store(store.folder, migrate=False)
    assert again.answers() == GOOD and again.asked() == ASKED
    assert (again.damaged_labels(), again.answered()) == ([], {x.question.id for x in ASKED})
    again.close()


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (Label(RANKING.id, "x", "a"), r"has 4 responses and needs an `Answer` with `ranking`, but got a `Label`"),
        (Label(BEST_WORST.id, "x", "a"), r"needs an `Answer` with `best` and `worst`, but got a `Label`"),
        (Answer(PAIR.id, "x", order_of(PAIR)), r"has 2 responses and needs a `Label` with outcome a, b.*an? `Answer`"),
        (Answer(PAIR.id, "x", outcome="skip"), r"needs a `Label`"),
        (Answer(BEST.id, "x", order_of(BEST)), "asks for an `Answer` with `best`, but got an `Answer` with `ranking`"),
        (Answer(RANKING.id, "x", best=order_of(RANKING)[0]), "asks for an `Answer` with `ranking`"),
        (Answer(RANKING.id, "x", order_of(RANKING)[:3]), "is missing: add it, or set `stopped=True`"),
        (Answer(RANKING.id, "x", order_of(OTHER)), "is not one of question"),
        (Answer(RANKING.id, "x", [*order_of(RANKING), "r9"]), "'r9' is not one of question"),
        (Answer(RANKING.id, "x", outcome="skip", shown=order_of(OTHER)), "`shown` must list the 4 responses"),
        (Answer("nobody", "x", ["r1"]), "An answer must be for a question that was asked, but 'nobody' never was"),
        (Answer(RANKING.id, "x", order_of(RANKING), replaces="y"), "has not answered question"),
        (Answer(RANKING.id, "ann", order_of(RANKING)), r"'ann' has answered \(id 1-0\)"),
        (Answer(RANKING.id, "ann", order_of(RANKING), replaces="1-1"), r"'ann' has answered \(id 1-0\)"),
        (Answer(RANKING.id, "ann", order_of(RANKING), id="1-0"), "is recorded as"),
        (Label(PAIR.id, "ann", "tie", id="1-0"), "is recorded as"),
        (Retraction(RANKING.id, "bob", "1-0", "r"), "must take back an own answer to the same question"),
        (Retraction(RANKING.id, "ann", "1-1", "r"), "must take back an own answer to the same question"),
        (Retraction("nobody", "ann", "1-0", "r"), "must take back an own answer to the same question"),
    ],
)
def test_a_bad_answer_records_none_of_its_call(bad: Any, said: str, store: Store) -> None:
    store.add_answers(GOOD[:1])
    for call in ([*GOOD[1:], bad], [bad, *GOOD[1:]]):
        with pytest.raises((DataError, LabelConflictError), match=said) as caught:
            store.add_answers(call)
        assert store.answers() == GOOD[:1] and store.answer_count() == 1
    assert "Nothing of this call was recorded" in str(caught.value) or "`shown`" in said
    assert store.add_answers(GOOD) == 4


def test_the_same_act_told_again_is_recorded_once(store: Store) -> None:
    assert store.add_answers([*GOOD, *GOOD]) == 5
    assert store.add_answers([replace(x) for x in GOOD]) == 0
    assert store.answer_count() == 5


def test_the_order_of_arrival_changes_nothing(store: Store, asked_folder: Path, tmp_path: Path) -> None:
    others = [Answer(RANKING.id, name, order_of(RANKING)[::-1], id=f"other {name}") for name in ("cy", "al")]
    store.add_answers([*GOOD, *others])
    decisions, rows = store.decisions(), list(trl_rows(store))
    for seed in range(3):
        shuffled = random.Random(seed).sample([*GOOD, *others], 7)
        with a_store(asked_folder, tmp_path / str(seed)) as other:
            for answer in shuffled:
                other.add_answers([answer])
            assert other.decisions() == decisions and list(trl_rows(other)) == rows


def test_threads_that_tell_the_same_answers_record_each_once_and_one_first_answer_each(store: Store) -> None:
    answers = [Answer(q.id, f"person {i}", order_of(q)) for q in (RANKING, OTHER) for i in range(8)]
    with ThreadPoolExecutor(8) as threads:
        new = list(threads.map(lambda i: sum(store.add_answers([x]) for x in answers[i:] + answers[:i]), range(8)))
    assert sum(new) == len(answers) == store.answer_count()

    def first(i: int) -> int:
        try:
            return store.add_answers([Answer(RANKING.id, "ann", order_of(RANKING), id=f"try {i}")])
        except LabelConflictError:
            return 0

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(first, range(8))) == 1


def test_a_changed_answer_says_which_one_it_replaces(store: Store) -> None:
    first = Answer(RANKING.id, "ann", order_of(RANKING), id="1")
    second = Answer(RANKING.id, "ann", order_of(RANKING)[::-1], id="2", replaces="1")
    with pytest.raises(LabelConflictError, match="has not answered"):
        store.add_answers([second])
    assert store.add_answers([first, second]) == 2
    assert store.current_answers() == [second]
    with pytest.raises(LabelConflictError, match=r"answered \(id 2\)"):
        store.add_answers([replace(first, id="3", replaces="1")])
    assert store.add_answers([first]) == 0  # an echo of the first act changes nothing
    assert store.current_answers() == [second]


def test_what_is_taken_back_does_not_count_and_what_came_later_does(store: Store) -> None:
    first = Answer(RANKING.id, "ann", order_of(RANKING), id="1")
    second = Answer(RANKING.id, "ann", outcome="skip", id="2", replaces="1")
    store.add_answers([first, second, Retraction(RANKING.id, "ann", "1", "back 1")])
    assert store.current_answers() == [second]  # what was taken back had been replaced already
    with pytest.raises(LabelConflictError, match=r"answered \(id 2\)"):
        store.add_answers([replace(first, id="3")])
    back = Retraction(RANKING.id, "ann", "2", "back 2")
    assert store.add_answers([back, back]) == 1
    assert (store.current_answers(), store.answered(), store.decisions()) == ([], set(), [])
    with pytest.raises(DataError, match="must take back an own answer"):
        store.add_answers([Retraction(RANKING.id, "ann", "back 2", "back 3")])
    with pytest.raises(LabelConflictError, match="has not answered"):
        store.add_answers([replace(first, id="3", replaces="2")])
    assert store.add_answers([replace(first, id="3")]) == 1
    assert [x.id for x in store.current_answers()] == ["3"]


def test_decisions_are_ranks_in_the_order_of_the_question(store: Store) -> None:
    store.add_answers(GOOD)
    decisions = {x.question_id: x for x in store.decisions() if isinstance(x, RankedSet)}
    places = {
        RANKING.id: dict(zip(small_sets.ids(1, 0), (0, 1, 1, 2), strict=True)),
        BEST_WORST.id: dict(zip(small_sets.ids(1, 1), (2, 1, 1, 0), strict=True)),
        BEST.id: dict(zip(small_sets.ids(1, 2), (0, REST, REST, REST), strict=True)),
        OTHER.id: dict(zip(small_sets.ids(1, 3), (REST, 0, REST, REST), strict=True)),
    }
    for question in (RANKING, BEST_WORST, BEST, OTHER):
        found = decisions[question.id]
        assert found.ranks == tuple(places[question.id][r.id] for r in question.responses)
        assert (found.responses, found.asks, found.prompt) == (question.responses, question.asks, small_sets.PROMPT)
        assert found.drawn_from == ("policy",) * 4
    (preference,) = (x for x in store.decisions() if isinstance(x, Preference))
    assert preference.chosen.id == small_sets.ids(1, 4)[0]
    known = {x.question.id: x.question for x in ASKED}
    for decision in store.decisions():
        value = json.loads(json.dumps(decision_json(decision, known)))
        assert decision_from(value, known, store.prompts()) == decision
    store.add_answers([Answer(RANKING.id, "cy", outcome="all_bad"), Answer(BEST.id, "cy", outcome="skip")])
    assert len(store.decisions()) == 5


def test_margins_of_the_pairs_that_an_answer_decides() -> None:
    (_, up), (_, down) = (("", GOOD[0]), ("", GOOD[1]))
    assert sorted(decided_margins(ASKED[0], up)) == [(m, "a") for m in (0.25, 0.5, 0.5, 0.75, 1.0)]
    assert sorted(m for m, _ in decided_margins(ASKED[1], down)) == [-1.0, -0.75, -0.5, -0.5, -0.25]
    assert sorted(m for m, _ in decided_margins(ASKED[2], GOOD[2])) == [0.25, 0.5, 1.0]
    assert decided_margins(ASKED[0], Answer(RANKING.id, "x", outcome="skip")) == []


def test_candidates_come_back_from_their_file(tmp_path: Path) -> None:
    draws = Draws(tuple(r for x in ASKED for r in x.question.responses))
    codec = questions(draws)
    codec.write(tmp_path / "pairs.jsonl", [x.question for x in ASKED])
    assert codec.read(tmp_path / "pairs.jsonl") == [x.question for x in ASKED]


# Export


def test_the_export_of_every_answer_keeps_everything(store: Store) -> None:
    superseding = Answer(RANKING.id, "ann", outcome="all_good", replaces="1-0", id="late")
    back = Retraction(BEST.id, "bob", "1-2", "back")
    store.add_answers([*GOOD, superseding, back])
    rows = [json.loads(json.dumps(row, allow_nan=False)) for row in label_rows(store)]
    for row, x in zip(rows[:4], ASKED, strict=False):
        assert (row["question_id"], row["asks"]) == (x.question.id, x.question.asks)
        assert (row["round"], row["position"], row["score"], row["score_unit"]) == (1, x.position, x.score, "nats")
        assert row["prompt"] == "Say something."
        own = zip(x.question.responses, x.rewards or (), strict=True)
        assert row["responses"] == [{"id": r.id, "text": r.text, "reward": reward} for r, reward in own]
    rebuilt = []
    for row in rows[:4]:
        for act in row["answers"]:
            if act["outcome"] == "undone":
                rebuilt.append(Retraction(row["question_id"], act["annotator"], act["retracts"], act["id"]))
            else:
                rebuilt.append(Answer(question_id=row["question_id"], **act))
    assert sorted(rebuilt, key=lambda x: x.id) == sorted([*GOOD[:4], superseding, back], key=lambda x: x.id)
    assert rows[4]["pair_id"] == PAIR.id and rows[4]["labels"][0]["outcome"] == GOOD[4].outcome


def test_implied_pairs_are_exported_with_their_weights(store: Store) -> None:
    store.add_answers(GOOD)
    text = {r.id: r.text for x in ASKED for r in x.question.responses}
    rows = list(trl_rows(store))
    assert {tuple(row) for row in rows} == {("prompt", "chosen", "rejected", "weight", "question_id")}
    r, s, u, v = (small_sets.ids(1, i) for i in range(4))
    said = {
        RANKING.id: {(r[0], r[1]), (r[0], r[2]), (r[0], r[3]), (r[1], r[3]), (r[2], r[3])},
        BEST_WORST.id: {(s[3], s[1]), (s[3], s[2]), (s[3], s[0]), (s[1], s[0]), (s[2], s[0])},
        BEST.id: {(u[0], x) for x in u[1:]},
        OTHER.id: {(v[1], x) for x in (v[0], v[2], v[3])},
        PAIR.id: {tuple(small_sets.ids(1, 4))},
    }
    for question_id, pairs in said.items():
        own = [row for row in rows if row["question_id"] == question_id]
        assert {(row["chosen"], row["rejected"]) for row in own} == {(text[a], text[b]) for a, b in pairs}
        assert len({row["weight"] for row in own}) == 1
    assert next(row["weight"] for row in rows if row["question_id"] == PAIR.id) == 1.0
    neighbours = list(trl_rows(store, "adjacent"))
    assert {row["weight"] for row in neighbours} == {1.0}
    ranking = {(row["chosen"], row["rejected"]) for row in neighbours if row["question_id"] == RANKING.id}
    assert ranking == {(text[a], text[b]) for a, b in said[RANKING.id] if (a, b) != (r[0], r[3])}


def test_a_study_of_pairs_exports_no_weights(store: Store) -> None:
    store.add_answers([GOOD[4], Answer(RANKING.id, "ann", outcome="skip")])
    assert [tuple(row) for row in trl_rows(store)] == [("prompt", "chosen", "rejected")]


def test_preferences_of_rankings_are_not_mistaken_for_a_lost_database(tmp_path: Path) -> None:
    small_sets.finished(tmp_path / "study", extra=[Answer(RANKING.id, "cy", small_sets.ids(1, 0))])
    assert len((tmp_path / "study/preferences.jsonl").read_text().splitlines()) > 11 + 20
    open_folder(tmp_path / "study").close()
    with closing(sqlite3.connect(tmp_path / "study" / DATABASE)) as connection:
        connection.execute("DELETE FROM answers WHERE id NOT IN ('1-0', '1-1')")
        connection.commit()
    with pytest.raises(StorageError, match=r"preferences\.jsonl has 10 preferences, the database 2 labels"):
        open_folder(tmp_path / "study")


# Weights against enumeration


def likelihood(ranks: tuple[int, ...], reward_R: np.ndarray) -> float:
    """The Plackett-Luce probability of the orders that agree with some ranks."""
    order_XR = np.array(list(permutations(range(len(ranks)))))
    agreeing_XR = order_XR[(np.diff(np.array(ranks)[order_XR], axis=1) >= 0).all(axis=1)]
    odds_XR = np.exp(reward_R)[agreeing_XR]
    left_XR = odds_XR[:, ::-1].cumsum(axis=1)[:, ::-1]
    return float((odds_XR / left_XR).prod(axis=1).sum())


def best_worst_likelihood(ranks: tuple[int, ...], reward_R: np.ndarray) -> float:
    odds = {(b, w): np.exp(reward_R[b] - reward_R[w]) for b, w in permutations(range(len(ranks)), 2)}
    return float(odds[ranks.index(0), ranks.index(2)] / sum(odds.values()))


def trace_of_information(probability: Any, ranks: tuple[int, ...]) -> float:
    """Minus the sum of the second derivatives of the log-likelihood at equal rewards, by differences."""
    k, h = len(ranks), 1e-3
    at_zero = np.log(probability(ranks, np.zeros(k)))
    steps = h * np.eye(k)
    return -sum(np.log(probability(ranks, s)) + np.log(probability(ranks, -s)) - 2 * at_zero for s in steps) / h**2


def ranked(ranks: tuple[int, ...], asks: Any = "ranking") -> RankedSet:
    responses = tuple(small_sets.responses_of(1, 0)[:1]) * len(ranks)
    return RankedSet(small_sets.PROMPT, responses, ranks, asks, "q", "ann")


def answers_of_size(k: int) -> list[tuple[tuple[int, ...], str]]:
    """Every ranking of k, with ties and stopped ones, whose first place is not shared by all; sorted ranks only."""
    found = []
    for splits in product((0, 1), repeat=k - 1):
        ranks = (0, *np.cumsum(splits).tolist())
        for stopped in (False, True):
            own = tuple(REST if stopped and r == ranks[-1] else r for r in ranks)
            if own[0] != own[-1]:
                found.append((own, "ranking"))
    return [*found, ((0, *[1] * (k - 2), 2), "best_worst")] if k > 2 else found


@pytest.mark.parametrize("k", [2, 3, 4, 5, 6])
def test_weights_keep_the_information_of_the_answer(k: int) -> None:
    for ranks, asks in answers_of_size(k):
        pairs = implied_pairs(ranked(ranks, asks))
        assert {(i, j) for i, j, _ in pairs} == {(i, j) for i, j in permutations(range(k), 2) if ranks[i] < ranks[j]}
        # The information of one pair at equal rewards is (e_i − e_j)(e_i − e_j)ᵀ/4, whose trace is 1/2.
        kept = sum(weight / 2 for _, _, weight in pairs)
        probability = best_worst_likelihood if asks == "best_worst" else likelihood
        assert kept == pytest.approx(trace_of_information(probability, ranks), rel=1e-4), (ranks, asks)


def test_weights_of_whole_rankings_are_those_of_the_formula() -> None:
    for k, weight in ((2, 1.0), (3, 0.778), (4, 0.639)):
        found = {w for _, _, w in implied_pairs(ranked(tuple(range(k))))}
        assert len(found) == 1
        assert found.pop() == pytest.approx(weight, abs=5e-4)
        both = 4 / k**2 * sum(1 - (k - n) / (n * (k - 1)) for n in range(2, k + 1))
        assert 4 / (k * (k - 1)) * sum((n - 1) / n for n in range(2, k + 1)) == pytest.approx(both)


def test_an_answer_that_orders_nothing_implies_no_pair() -> None:
    assert implied_pairs(ranked((0, 0, 0))) == [] == implied_pairs(ranked((0, 0, 0)), "adjacent")
    assert implied_pairs(ranked((0, 2, 1)), "adjacent") == [(0, 2, 1.0), (2, 1, 1.0)]
    stopped = implied_pairs(ranked((REST, 0, REST, 1)), "adjacent")
    assert stopped == [(1, 3, 1.0), (3, 0, 1.0), (3, 2, 1.0)]
