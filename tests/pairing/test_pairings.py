"""Which responses become pairs, and with what weight."""

from __future__ import annotations

import itertools

import pytest
from scipy import stats

from duelist.errors import DataError
from duelist.pairing.as_drawn import AsDrawn
from duelist.pairing.as_given import AsGiven
from duelist.pairing.base import Pairing
from duelist.pairing.cross_prompt import CrossPrompt, CrossPromptConfig
from duelist.pairing.in_prompt import InPrompt, InPromptConfig
from duelist.types import Distribution, DrawnSet, Draws, GivenResponses, Prompt, Question, Response, content_id

PROMPT = Prompt.of("question")
A, B, C, D = (Response.of(PROMPT, text, [1], [2 + k, 9], 3) for k, text in enumerate("abcd"))
SAME_TEXT = Response.of(PROMPT, "a", [1], [7, 8, 9], 3)
NOTHING = GivenResponses({}, {})


def responses(n: int) -> list[Response]:
    return [Response.of(PROMPT, f"text {k}", [1], [2 + k, 9], 3) for k in range(n)]


def origins(pair: Question) -> dict[str, str]:
    return dict(zip((pair.a.text, pair.b.text), pair.drawn_from or (), strict=True))


def test_the_order_in_which_two_responses_are_given_changes_nothing() -> None:
    for a, b in itertools.combinations(responses(20), 2):
        pair = Question.pair(a, b, 3, 0.5)
        assert pair == Question.pair(b, a, 3, 0.5) and {pair.a, pair.b} == {a, b}
        assert pair.id == content_id("pair", *sorted((a.id, b.id)))  # as in every study so far
        drawn = Question.pair(a, b, 3, drawn_from=("plus", "minus"))
        assert drawn == Question.pair(b, a, 3, drawn_from=("minus", "plus"))
        assert (drawn.id, drawn.a, drawn.b) == (pair.id, pair.a, pair.b)
        assert origins(drawn) == {a.text: "plus", b.text: "minus"}


def test_a_response_is_a_in_half_of_its_pairs() -> None:
    """Neither its id nor its place in the pool decides: of two hundred pairs each response has both sides."""
    some = responses(200)
    pairs = [Question.pair(a, b, 3) for a, b in itertools.combinations(some, 2)]
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


@pytest.mark.parametrize("pairing", [AsDrawn(), InPrompt(InPromptConfig())])
def test_a_pair_knows_from_where_its_own_set_drew_the_two(pairing: Pairing) -> None:
    sets = (DrawnSet(B.id, A.id, 1.0, ("policy", "reference")), DrawnSet(A.id, C.id, 1.0, ("policy", "reference")))
    draws = Draws((A, B, C), sets)
    pairs = pairing.pairs(draws, NOTHING, 3)
    for expected in ({"b": "policy", "a": "reference"}, {"a": "policy", "c": "reference"}):
        assert expected in [origins(p) for p in pairs if p.drawn_from]


def test_responses_that_no_set_drew_together_keep_the_origins_of_their_first_draws() -> None:
    """`in_prompt` and `cross_prompt` compare them all the same, `as_given` and `as_drawn` where rows and sets do."""
    first: dict[str, Distribution] = {A.id: "policy", B.id: "reference", C.id: "plus"}
    given = GivenResponses({}, {PROMPT.id: [("a", "b"), ("c", "a"), ("d", "a")]})
    sets = (DrawnSet(B.id, A.id), DrawnSet(C.id, A.id), DrawnSet(D.id, A.id))
    draws = Draws((A, B, C, D), sets, drawn_from=first)
    for pairing in (AsDrawn(), InPrompt(InPromptConfig()), AsGiven(), CrossPrompt(CrossPromptConfig())):
        found = {frozenset((p.a.text, p.b.text)): p for p in pairing.pairs(draws, given, 3)}
        assert origins(found[frozenset("ab")]) == {"a": "policy", "b": "reference"}
        assert origins(found[frozenset("ca")]) == {"a": "policy", "c": "plus"}
        assert found[frozenset("da")].drawn_from is None  # of D nothing is known


def test_a_set_of_equal_texts_makes_no_pair() -> None:
    sets = (DrawnSet(A.id, A.id), DrawnSet(A.id, SAME_TEXT.id), DrawnSet(A.id, C.id))
    pairs = AsDrawn().pairs(Draws((A, SAME_TEXT, C), sets), NOTHING, 3)
    assert [{p.a, p.b} for p in pairs] == [{A, C}]


def test_responses_that_were_not_drawn_in_sets_are_refused() -> None:
    with pytest.raises(DataError, match=r"two by two.*use pairing `in_prompt`"):
        AsDrawn().pairs(Draws((A, B)), NOTHING, 3)
    assert AsDrawn().pairs(Draws(()), NOTHING, 3) == []


def test_sets_join_the_pool_with_their_weights() -> None:
    pairs = InPrompt(InPromptConfig()).pairs(
        Draws((A, B, C), (DrawnSet(C.id, A.id, 1.75), DrawnSet(B.id, B.id, 4.0))), NOTHING, 3
    )
    assert {frozenset((p.a.text, p.b.text)): p.weight for p in pairs} == {
        frozenset("ab"): 1.0,
        frozenset("ac"): 1.75,
        frozenset("bc"): 1.0,
    }
