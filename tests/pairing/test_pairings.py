"""Which responses become pairs, and with what weight."""

from __future__ import annotations

import pytest

from duelist.errors import DataError
from duelist.pairing.as_drawn import AsDrawn
from duelist.pairing.base import Pairing
from duelist.pairing.in_prompt import InPrompt
from duelist.types import DrawnSet, Draws, GivenResponses, Prompt, Response

PROMPT = Prompt.of("question")
A, B, C, D = (Response.of(PROMPT, text, [1], [2 + k, 9], "policy", 3) for k, text in enumerate("abcd"))
SAME_TEXT = Response.of(PROMPT, "a", [1], [7, 8, 9], "minus", 3)
NOTHING = GivenResponses({}, {})


def test_as_drawn_makes_the_sets_and_nothing_else() -> None:
    sets = (DrawnSet(A.id, B.id, 0.5), DrawnSet(D.id, C.id, 2.0), DrawnSet(B.id, A.id, 0.5))
    pairs = AsDrawn().pairs(Draws((A, B, C, D), sets), NOTHING, 3)
    assert [(p.a, p.b, p.round, p.weight) for p in pairs] == [(A, B, 3, 0.5), (D, C, 3, 2.0)]


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
    assert [(p.a, p.b) for p in pairs] == [(A, C)]


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
