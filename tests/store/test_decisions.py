"""What labels are worth as training items: `skip` and `both_bad` never anything, ties and votes as asked for."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from duelist.store.decisions import preference_of
from duelist.store.row_codecs import AskedQuestion, Stage
from duelist.store.store import Store
from duelist.types import Label, Outcome, Prompt, Question, Response, Votes

PROMPT = Prompt.of("question")
A, B = (Response.of(PROMPT, f"answer {k}", [1, 2], [3 + k, 4], 1) for k in range(2))
PAIR = replace(Question.pair(A, B, 1), responses=(A, B))


def item(outcome: Outcome, votes: Votes | None = None, rule: str = "majority", ties: bool = False) -> object:
    found = preference_of(Label(PAIR.id, "x", outcome, votes=votes), PAIR, {PROMPT.id: PROMPT}, rule, ties)  # type: ignore[arg-type]
    return None if found is None else ("a" if found.chosen == A else "b", found.share)


@pytest.mark.parametrize("rule", ["majority", "soft"])
@pytest.mark.parametrize("ties", [False, True])
def test_what_is_no_preference_is_never_trained_on(rule: str, ties: bool) -> None:
    for outcome in ("skip", "both_bad"):
        assert item(outcome, None, rule, ties) is None  # type: ignore[arg-type]
        assert item(outcome, Votes(3, 1), rule, ties) is None  # type: ignore[arg-type]
    assert item("a", None, rule, ties) == ("a", 1.0)
    assert item("b", None, rule, ties) == ("b", 1.0)
    assert item("tie", None, rule, ties) == (("a", 0.5) if ties else None)


def test_votes_count_for_the_chosen_response() -> None:
    assert item("b", Votes(1, 3), "majority") == ("b", 1.0)
    assert item("b", Votes(1, 3), "soft") == ("b", 0.75)
    assert item("a", Votes(4, 1, 3), "soft") == ("a", 5.5 / 8)
    assert item("b", Votes(1, 4, 3), "soft") == ("b", 5.5 / 8)
    assert item("tie", Votes(2, 1, 5), "soft", True) == ("a", 4.5 / 8)
    assert item("tie", Votes(2, 1, 5), "majority", True) == ("a", 0.5)
    assert item("a", Votes(0, 0, 0), "soft") == ("a", 1.0)  # counts of nobody say nothing


def test_the_share_makes_one_item_as_good_as_its_votes_one_by_one() -> None:
    """The soft label's loss is the mean of the votes' losses, a vote for neither being half of each."""
    margin, votes = 0.7, Votes(4, 1, 3)
    for_a, for_b = math.log1p(math.exp(-margin)), math.log1p(math.exp(margin))
    one_by_one = (4 * for_a + 1 * for_b + 3 * (for_a + for_b) / 2) / 8
    _, share = item("a", votes, "soft")  # type: ignore[misc]
    assert share * for_a + (1 - share) * for_b == pytest.approx(one_by_one)


def test_the_store_gives_what_is_asked_for(tmp_path: Path) -> None:
    store = Store(tmp_path)
    other = Question.pair(A, Response.of(PROMPT, "answer 2", [1, 2], [5, 4], 1), 1)
    asked = [AskedQuestion(p, 1, i, 0.5, "nats", 0.0) for i, p in enumerate((PAIR, other))]
    store.finish_stage(Stage(1, "select", "x", "00", 0.1, {}), asked, [PROMPT])
    outcomes: list[Outcome] = ["a", "tie", "skip", "both_bad"]
    store.add_answers([Label(PAIR.id, f"p{i}", o, votes=Votes(3, 1)) for i, o in enumerate(outcomes)])
    store.add_answers([Label(other.id, "p0", "b")])
    default = store.decisions()
    assert sorted((p.annotator, p.share) for p in default if p.pair_id == PAIR.id) == [("p0", 1.0)]
    assert len(default) == 2
    assert all(p.weight == 1 for p in default)
    soft = {p.annotator: p.share for p in store.decisions(1, votes="soft", ties=True) if p.pair_id == PAIR.id}
    assert soft == {"p0": 0.75, "p1": 0.75}
    assert store.decisions(2, votes="soft", ties=True) == []
    store.close()
