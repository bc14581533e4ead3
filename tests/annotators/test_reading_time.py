"""The model of reading time: recovered where it is known, whatever else was recorded."""

from __future__ import annotations

import dataclasses
import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duelist import Answer, Label, Study, parse_recipe
from duelist.acquisition.base import Acquisition
from duelist.annotators.reading_time import DEFAULT, ENOUGH, comparisons, fit, study_reading_time, tokens_to_read
from duelist.cli.console import status_rows
from duelist.errors import RecipeError
from duelist.report.status import status
from duelist.types import Features, Prompt, Question, Response, Selection


class Cheapest(Acquisition):
    """Picks what costs the fewest seconds."""

    honours_cost = True

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"margin_N", "past"})

    def select(self, features: Features, budget: int, rng: np.random.Generator) -> Selection:
        assert features.cost_N is not None and features.past is not None and features.past.cost_N is not None
        order_N = np.argsort(features.cost_N, kind="stable")[:budget]
        return Selection(order_N, features.cost_N[order_N], "seconds", {})


def recorded(rng: np.random.Generator, n: int, constant: float, rate: float) -> tuple[Any, Any]:
    tokens_N = rng.integers(20, 900, n).astype(float)
    return tokens_N, (constant + rate * tokens_N) * rng.lognormal(0, 0.2, n)


@pytest.mark.parametrize(("constant", "rate"), [(8.0, 0.1), (2.0, 0.4), (30.0, 0.02)])
def test_a_known_model_is_recovered(constant: float, rate: float) -> None:
    tokens_N, seconds_N = recorded(np.random.default_rng(0), 400, constant, rate)
    found = fit(tokens_N, seconds_N)
    expected_N = constant + rate * tokens_N
    assert found.times == 400
    assert np.median(np.abs(found.seconds(tokens_N) / expected_N - 1)) < 0.1


@pytest.mark.parametrize("seed", range(5))
def test_coffee_breaks_do_not_matter(seed: int) -> None:
    """One time in ten is an hour; least squares would be off by minutes."""
    rng = np.random.default_rng(seed)
    tokens_N, seconds_N = recorded(rng, 200, 8.0, 0.1)
    undisturbed = fit(tokens_N, seconds_N)
    seconds_N[rng.choice(200, 20, replace=False)] = 3600.0
    disturbed = fit(tokens_N, seconds_N)
    at = np.array([50, 300, 800])
    assert np.allclose(disturbed.seconds(at), undisturbed.seconds(at), rtol=0.2)
    assert np.allclose(disturbed.seconds(at), 8 + 0.1 * at, rtol=0.3)


def test_exact_times_give_the_exact_model() -> None:
    tokens_N = np.arange(20.0, 60.0)
    found = fit(tokens_N, 3 + 0.5 * tokens_N)
    assert [found.constant + found.decision, found.rate] == pytest.approx([3, 0.5], rel=1e-3)


@given(st.lists(st.tuples(st.integers(1, 10_000), st.floats(1e-3, 1e5, allow_nan=False)), min_size=1, max_size=30))
def test_no_cost_is_ever_zero_or_negative(times: list[tuple[int, float]]) -> None:
    """Not with falling times either, nor equal lengths, nor one time alone."""
    tokens_N, seconds_N = np.array(times, float).T
    found = fit(tokens_N, seconds_N)
    assert found.constant >= 0 and found.decision >= 0 and found.rate >= 0
    cost_N = found.seconds(np.array([0, 1, 100, 10**6]))
    assert (cost_N > 0).all() and np.isfinite(cost_N).all()


def test_falling_times_give_a_constant() -> None:
    tokens_N = np.linspace(10, 500, 50)
    found = fit(tokens_N, 60 - 0.1 * tokens_N)
    assert found.rate == pytest.approx(0, abs=1e-3) and 10 < found.constant + found.decision < 60


def a_pair(prompt_tokens: int, a: int, b: int, other_prompt: bool = False) -> Question:
    prompts = [Prompt.of("one", {}), Prompt.of("two" if other_prompt else "one", {})]
    first, second = (
        Response.of(p, f"{n} {k}", range(prompt_tokens), [k] * n, 1)
        for k, (p, n) in enumerate(zip(prompts, (a, b), strict=True))
    )
    return Question.pair(first, second, 1)


def test_what_is_read_is_both_responses_and_the_prompt_once() -> None:
    assert tokens_to_read([a_pair(5, 7, 9), a_pair(5, 7, 9, other_prompt=True)]).tolist() == [21, 26]


def test_the_default_holds_until_there_are_enough_times() -> None:
    pairs = [a_pair(5, 1, n) for n in range(1, ENOUGH + 1)]
    labels = [Label(p.id, "ann", "a", seconds=4.0 + 0.5 * n) for p, n in zip(pairs, tokens_to_read(pairs), strict=True)]
    assert study_reading_time(pairs, labels[1:]).of("pair") == DEFAULT
    untimed = [dataclasses.replace(labels[0], seconds=s, id="") for s in (None, 0.0)]
    assert study_reading_time(pairs, [*untimed, *labels[1:]]).of("pair") == DEFAULT
    fitted = study_reading_time(pairs, labels).of("pair")
    assert fitted.times == ENOUGH and fitted.rate == pytest.approx(0.5, rel=1e-2)
    assert DEFAULT.seconds(np.array([0, 317])).tolist() == pytest.approx([5.0, 5.0 + 59.9], rel=1e-2)


def test_a_study_counts_cost_by_its_own_times(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    rule = {"name": f"{__name__}:Cheapest", "per_second": True}
    recipe = parse_recipe({**tiny_recipe, "annotator": None, "budget": 20, "initial_random": 10, "acquisition": rule})
    folder = tmp_path / "study"
    with Study.create(folder, recipe) as study:
        batch = study.ask()
        of_rule = batch.pairs[10:]  # the first half was drawn at random
        expected_N = DEFAULT.seconds(tokens_to_read(of_rule))
        assert batch.scores_B[10:] == tuple(expected_N.tolist()) == tuple(sorted(expected_N.tolist()))
        assert status(folder)["reading_time"] is None
        tokens_N = tokens_to_read(batch.pairs).tolist()
        study.tell([Label(p.id, "x", "a", seconds=1 + 2.0 * n) for p, n in zip(batch.pairs, tokens_N, strict=True)])
        study.update()
        second = study.ask()
        assert second.scores_B == pytest.approx((1 + 2.0 * tokens_to_read(second.pairs)).tolist(), rel=1e-2)
    found = status(folder)
    assert found["reading_time"] == {
        "constant": pytest.approx(0.674, abs=0.2),
        "per_comparison": pytest.approx(0.326, abs=0.1),
        "seconds_per_token": pytest.approx(2, rel=1e-2),
        "times": 20,
    }
    assert status_rows(found)["reading time"].endswith("from 20 recorded times")


def test_a_rule_that_cannot_count_cost_is_refused_first(tiny_recipe: dict[str, Any]) -> None:
    from duelist.preflight.examination import examine

    with pytest.raises(RecipeError, match="whose gain can be divided by a cost"):
        examine(parse_recipe({**tiny_recipe, "acquisition": {"name": "random", "per_second": True}}))
    examine(parse_recipe({**tiny_recipe, "acquisition": {"name": "activedpo", "per_second": True}}))


def test_select_counts_cost_by_the_default(tiny_model: Path) -> None:
    import duelist

    rows = [{"prompt": "w1 w2", "responses": ["w3", "w4 w5 w6", "w7 w8 w9 w10 w11"]}]
    rule = {"name": f"{__name__}:Cheapest", "per_second": True}
    picks = duelist.select(
        rows,
        str(tiny_model),
        budget=2,
        acquisition=rule,
        labelled=[{"prompt": "w1 w2", "response_a": "w3", "response_b": "w4"}],
    )
    assert [{p.response_a, p.response_b} for p in picks] == [{"w3", "w4 w5 w6"}, {"w3", "w7 w8 w9 w10 w11"}]
    assert picks[1].score - picks[0].score == pytest.approx(2 * DEFAULT.rate)  # two tokens more to read


PROMPT = Prompt.of("one")


def a_set(k: int, asks: Any, first: int = 0, tokens: int = 9) -> Question:
    """A question of k responses of so many tokens, numbered from `first`."""
    return Question.of(
        [Response.of(PROMPT, f"r {first + i}", range(5), [first + i] * tokens, 1) for i in range(k)], asks, 1
    )


def test_comparisons_of_each_type_of_question() -> None:
    asked = [a_set(k, asks) for k in (2, 3, 4, 6) for asks in ("ranking", "best_of_k", "best_worst")]
    expected = [1, 1, 1, math.log2(6), 2, 3, math.log2(24), 3, 4, math.log2(720), 5, 7]
    np.testing.assert_allclose(comparisons(asked), expected)
    assert tokens_to_read(asked[3:6]).tolist() == [5 + 3 * 9] * 3


def test_the_default_of_a_pair_is_five_seconds_and_reading() -> None:
    pairs = [a_pair(5, 7, 9), a_pair(0, 100, 200), a_pair(50, 1, 1, other_prompt=True)]
    found = study_reading_time([], []).seconds(pairs)
    np.testing.assert_allclose(found, 5 + 60 / 238 * 0.75 * tokens_to_read(pairs))
    ranking = study_reading_time([], []).seconds([a_set(4, "ranking")])
    np.testing.assert_allclose(ranking, 3.37 + 1.63 * math.log2(24) + 60 / 238 * 0.75 * 41)


@pytest.mark.parametrize(("share", "rate"), [(1.0, 0.19), (3.0, 0.05), (0.4, 0.5)])
def test_each_type_of_question_has_its_own_times(share: float, rate: float) -> None:
    """Rankings of several sizes, timed as the model says with one share of its constants, next to faster pairs."""
    sets = [a_set(3 + n % 4, "ranking", 10 * n, tokens=3 + n) for n in range(ENOUGH)]
    best = [a_set(4, "best_worst", 1000 + 10 * n, tokens=3 + n) for n in range(ENOUGH - 1)]
    pairs = [a_pair(5, 1, n) for n in range(1, ENOUGH + 1)]
    true_N = share * (DEFAULT.constant + DEFAULT.decision * comparisons(sets)) + rate * tokens_to_read(sets)
    answers: list[Any] = [
        Answer(q.id, "ann", [r.id for r in q.responses], seconds=float(s)) for q, s in zip(sets, true_N, strict=True)
    ]
    answers += [Label(p.id, "ann", "a", seconds=2 + 0.1 * n) for p, n in zip(pairs, tokens_to_read(pairs), strict=True)]
    answers += [Answer(q.id, "ann", outcome="skip", seconds=30.0) for q in best]
    asked = [*sets, *pairs, *best]
    found = study_reading_time(asked, answers)
    assert set(found.by_type) == {"ranking", "pair"}
    np.testing.assert_allclose(found.seconds(sets), true_N, rtol=1e-3)
    assert found.of("ranking").rate == pytest.approx(rate, rel=1e-2)
    np.testing.assert_allclose(found.seconds(pairs), 2 + 0.1 * tokens_to_read(pairs), rtol=1e-2)
    # Too few of this type: by all times together. Of a type that was never timed: the same.
    assert found.of("best_worst") == found.of("best_of_k") == found.other
    assert found.other.times == len(answers)
    assert study_reading_time(asked, random.Random(0).sample(answers, len(answers))).of("ranking").times == ENOUGH
