"""Questions: the same id and order however the responses come, and a pair where there are two."""

from __future__ import annotations

from collections import Counter
from itertools import permutations
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from duelist.errors import DataError
from duelist.questions import Distribution
from duelist.types import Batch, Features, Prompt, Question, Response, content_id

PROMPT = Prompt.of("question")
RESPONSES = [Response.of(PROMPT, f"text {k}", [1], [2 + k, 9], 1) for k in range(8)]
ELSEWHERE = Response.of(Prompt.of("another"), "text", [1], [2], 1)
ASKS = ("ranking", "best_of_k", "best_worst")


def origins(question: Question) -> dict[str, str]:
    return dict(zip((r.id for r in question.responses), question.drawn_from or (), strict=True))


@given(st.sampled_from(ASKS), st.permutations(range(8)), st.integers(2, 8), st.randoms())
def test_the_order_of_the_responses_changes_nothing(asks: Any, order: list[int], k: int, shuffle: Any) -> None:
    drawn: list[Distribution] = [shuffle.choice(get_args(Distribution)) for _ in range(k)]
    own = [(RESPONSES[i], drawn[n]) for n, i in enumerate(order[:k])]
    question = Question.of([r for r, _ in own], asks, 3, [d for _, d in own])
    shuffle.shuffle(own)
    assert Question.of([r for r, _ in own], asks, 3, [d for _, d in own]) == question
    assert origins(question) == {r.id: d for r, d in own}
    assert (question.k, question.round, question.weight) == (k, 3, 1.0)
    assert question.asks == ("pair" if k == 2 else asks)
    assert Question.of([r for r, _ in own], asks, 4).drawn_from is None


@pytest.mark.parametrize("asks", ["pair", *ASKS])
def test_two_responses_are_a_pair_with_the_id_of_every_study_so_far(asks: Any) -> None:
    a, b = RESPONSES[:2]
    question = Question.of([a, b], asks, 1)
    assert question == Question.pair(a, b, 1) == Question.of([b, a], asks, 1)
    assert question.id == content_id("pair", *sorted((a.id, b.id)))
    assert {question.a, question.b} == {a, b}


def test_what_is_asked_and_of_which_responses_makes_the_id() -> None:
    sets = [RESPONSES[:3], RESPONSES[1:4], RESPONSES[:4]]
    ids = {Question.of(members, asks, 1).id for members in sets for asks in ASKS}  # type: ignore[arg-type]
    assert len(ids) == 9
    assert Question.of(RESPONSES[:3], "ranking", 1).id == Question.of(RESPONSES[:3], "ranking", 2).id


def test_each_response_comes_first_equally_often() -> None:
    """An annotator who reads from the left is no judge of ids: every order of three is as likely as another."""
    pool = [Response.of(PROMPT, f"many {k}", [1], [20 + k], 1) for k in range(40)]
    orders: Counter[tuple[int, ...]] = Counter()
    firsts: Counter[int] = Counter()
    for i in range(38):
        for j in range(i + 1, 39):
            members = sorted((pool[i], pool[j], pool[j + 1]), key=lambda r: r.id)
            question = Question.of(members, "ranking", 1)
            orders[tuple(members.index(r) for r in question.responses)] += 1
            firsts[members.index(question.responses[0])] += 1
    assert set(orders) == set(permutations(range(3)))
    assert stats.chisquare(list(orders.values())).pvalue > 1e-4
    assert stats.chisquare(list(firsts.values())).pvalue > 1e-4


@pytest.mark.parametrize(
    ("responses", "asks", "said"),
    [
        ([RESPONSES[0]] * 2, "ranking", "two different responses"),
        ([RESPONSES[0], RESPONSES[1], RESPONSES[0]], "ranking", "two or more different responses"),
        (RESPONSES[:1], "ranking", "two or more different responses"),
        ([], "best_of_k", "two or more different responses"),
        (RESPONSES[:3], "pair", "got 'pair' about 1 prompts"),
        ([*RESPONSES[:2], ELSEWHERE], "ranking", "got 'ranking' about 2 prompts"),
        (RESPONSES[:3], "order", "one of pair, best_of_k, best_worst, ranking, but got 'order'"),
        (RESPONSES[:2], "order", "one of pair, best_of_k, best_worst, ranking, but got 'order'"),
    ],
)
def test_what_is_no_question_is_refused(responses: list[Response], asks: Any, said: str) -> None:
    with pytest.raises(DataError, match=said):
        Question.of(responses, asks, 1)


def test_only_pairs_have_an_a_and_a_b() -> None:
    question = Question.of(RESPONSES[:3], "ranking", 1)
    for side in ("a", "b"):
        with pytest.raises(DataError, match=r"has 3 responses: use `question\.responses`"):
            getattr(question, side)
    pair = Question.pair(*RESPONSES[:2], 1)
    batch = Batch(1, (pair, question), {PROMPT.id: PROMPT}, (0.5, 0.25), "nats")
    with pytest.raises(DataError, match=r"use `batch\.questions`, and answer those with `Answer`"):
        _ = batch.pairs
    assert batch.only([question.id]) == Batch(1, (question,), batch.prompts, (0.25,), "nats")
    assert batch.only([pair.id]).pairs == (pair,)
    assert Features.identities([]).n == 0
