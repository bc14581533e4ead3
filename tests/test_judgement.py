"""Judgements of a pair in both orders."""

import pytest

from duelist.errors import DataError
from duelist.judgement import Judgement

CLEAR, OTHER, EVEN = (0.7, 0.2, 0.1), (0.1, 0.8, 0.1), (0.4, 0.4, 0.2)


@pytest.mark.parametrize(
    ("a_first", "b_first", "outcome", "probability"),
    [
        (CLEAR, CLEAR, "a", 0.75),
        (CLEAR, OTHER, "inconsistent", 0.45),
        (EVEN, EVEN, "tie", 0.5),
        (CLEAR, None, "unparsed", None),
        (None, None, "unparsed", None),
    ],
)
def test_an_outcome_needs_both_orders(a_first, b_first, outcome, probability):
    judgement = Judgement(a_first, b_first, 10, 2, 0.001)
    assert judgement.outcome == outcome
    assert judgement.probability == pytest.approx(probability)
    assert Judgement.from_json(judgement.as_json()) == judgement


@pytest.mark.parametrize("opinion", [(0.5, 0.5), (0.5, 0.5, 0.5), (1.5, -0.5, 0.0), "abc", (float("nan"), 0.5, 0.5)])
def test_an_opinion_is_three_probabilities(opinion):
    with pytest.raises(DataError, match="add up to 1"):
        Judgement(opinion, CLEAR)


def test_what_it_cost_is_a_number():
    with pytest.raises(DataError, match="cost"):
        Judgement(CLEAR, CLEAR, cost=-1.0)


def test_a_judges_outcome_needs_its_judgement():
    from duelist.types import Label

    with pytest.raises(DataError, match="no judgement"):
        Label("p", "judge", "unparsed")
    assert Label("p", "judge", "unparsed", judgement=Judgement(CLEAR, None)).outcome == "unparsed"
