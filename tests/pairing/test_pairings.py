"""Which responses become pairs, and with what weight."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from scipy import stats

from duelist.errors import DataError
from duelist.pairing.as_drawn import AsDrawn
from duelist.pairing.as_given import AsGiven
from duelist.pairing.base import Pairing
from duelist.pairing.in_prompt import InPrompt
from duelist.types import DrawnSet, Draws, GivenResponses, Pair, Prompt, Response, content_id

PROMPT = Prompt.of("question")
A, B, C, D = (Response.of(PROMPT, text, [1], [2 + k, 9], "policy", 3) for k, text in enumerate("abcd"))
SAME_TEXT = Response.of(PROMPT, "a", [1], [7, 8, 9], "minus", 3)
NOTHING = GivenResponses({}, {})


def responses(n: int) -> list[Response]:
    return [Response.of(PROMPT, f"text {k}", [1], [2 + k, 9], "dataset", 3) for k in range(n)]


def test_the_order_in_which_two_responses_are_given_changes_nothing() -> None:
    for a, b in itertools.combinations(responses(20), 2):
        pair = Pair.of(a, b, 3, 0.5)
        assert pair == Pair.of(b, a, 3, 0.5) and {pair.a, pair.b} == {a, b}
        assert pair.id == content_id("pair", *sorted((a.id, b.id)))  # as in every study so far
        plus, minus = replace(a, drawn_from="plus"), replace(b, drawn_from="minus")
        drawn = Pair.of(plus, minus, 3)
        assert (drawn.a.id, drawn.b.id) == (pair.a.id, pair.b.id) and {drawn.a, drawn.b} == {plus, minus}


def test_a_response_is_a_in_half_of_its_pairs() -> None:
    """Neither its id nor its place in the pool decides: of two hundred pairs each response has both sides."""
    some = responses(200)
    pairs = [Pair.of(a, b, 3) for a, b in itertools.combinations(some, 2)]
    low, high = stats.binom.interval(1 - 1e-6, len(pairs), 0.5)
    assert low <= sum(int(p.a.text[5:]) < int(p.b.text[5:]) for p in pairs) <= high
    assert low <= sum(p.a.id < p.b.id for p in pairs) <= high
    low, high = stats.binom.interval(1 - 1e-6, len(some) - 1, 0.5)
    for response in some:
        assert low <= sum(p.a.id == response.id for p in pairs) <= high


def test_as_given_does_not_say_which_response_was_chosen() -> None:
    some = responses(400)
    chosen = {a.text for a in some[::2]}
    rows = [(a.text, b.text) for a, b in zip(some[::2], some[1::2], strict=True)]
    pairs = AsGiven().pairs(Draws(tuple(some)), GivenResponses({}, {PROMPT.id: rows}), 1)
    low, high = stats.binom.interval(1 - 1e-6, len(pairs), 0.5)
    assert len(pairs) == 200 and low <= sum(p.a.text in chosen for p in pairs) <= high


def test_as_drawn_makes_the_sets_and_nothing_else() -> None:
    sets = (DrawnSet(A.id, B.id, 0.5), DrawnSet(D.id, C.id, 2.0), DrawnSet(B.id, A.id, 0.5))
    pairs = AsDrawn().pairs(Draws((A, B, C, D), sets), NOTHING, 3)
    assert [({p.a.text, p.b.text}, p.round, p.weight) for p in pairs] == [({"a", "b"}, 3, 0.5), ({"c", "d"}, 3, 2.0)]


@pytest.mark.parametrize("pairing", [AsDrawn(), InPrompt()])
def test_a_pair_knows_from_where_its_own_set_drew_the_two(pairing: Pairing) -> None:
    sets = (DrawnSet(B.id, A.id, 1.0, ("policy", "reference")), DrawnSet(A.id, C.id, 1.0, ("policy", "reference")))
    draws = Draws((A, B, C), sets)
    pairs = pairing.pairs(draws, NOTHING, 3)
    origins = [{r.text: r.drawn_from for r in (p.a, p.b)} for p in pairs]
    for expected in ({"b": "policy", "a": "reference"}, {"a": "policy", "c": "reference"}):
        assert expected in origins
    assert draws.responses == (A, B, C)


def test_a_set_of_equal_texts_makes_no_pair() -> None:
    sets = (DrawnSet(A.id, A.id), DrawnSet(A.id, SAME_TEXT.id), DrawnSet(A.id, C.id))
    pairs = AsDrawn().pairs(Draws((A, SAME_TEXT, C), sets), NOTHING, 3)
    assert [{p.a, p.b} for p in pairs] == [{A, C}]


def test_responses_that_were_not_drawn_in_sets_are_refused() -> None:
    with pytest.raises(DataError, match=r"two by two.*use pairing `in_prompt`"):
        AsDrawn().pairs(Draws((A, B)), NOTHING, 3)
    assert AsDrawn().pairs(Draws(()), NOTHING, 3) == []


def test_sets_join_the_pool_with_their_weights() -> None:
    pairs = InPrompt().pairs(Draws((A, B, C), (DrawnSet(C.id, A.id, 1.75), DrawnSet(B.id, B.id, 4.0))), NOTHING, 3)
    assert {frozenset((p.a.text, p.b.text)): p.weight for p in pairs} == {
        frozenset("ab"): 1.0,
        frozenset("ac"): 1.75,
        frozenset("bc"): 1.0,
    }
