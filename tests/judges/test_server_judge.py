"""Judge over HTTP: what it reads, both orders, what a server can do, costs and the cache."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chat_server import ChatServer, serving
from judging import Notes, assert_right, comparisons, expected

from duelist.errors import BudgetError, ModelError, RecipeError
from duelist.judges.config import JudgeConfig
from duelist.judges.server import ServerJudge
from duelist.progress import Silent


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with serving(ChatServer()) as server:
        yield server


def judge(server: ChatServer, folder: Path | None = None, **settings: Any) -> ServerJudge:
    given = {"base_url": server.url, "model": "m", "concurrency": 3, "retries": 3, "timeout": 5, **settings}
    return ServerJudge(JudgeConfig.model_validate(given), folder, pause=lambda seconds: None)


def test_both_orders_are_read_from_the_log_probabilities(server: ChatServer) -> None:
    server.position = 0.7
    asked = comparisons()
    found = judge(server).judge(asked, 0, Silent())
    assert_right(server, asked, found)
    assert server.comparisons == 2 * len(asked)
    sent = server.requests[-1]
    assert (sent["max_tokens"], sent["logprobs"], sent["top_logprobs"]) == (1, True, 20)
    assert "seed" not in sent
    assert "n" not in sent


def test_a_judge_that_goes_by_place_contradicts_itself(server: ChatServer) -> None:
    server.position, server.scale = 5.0, 0.01
    assert {x.outcome for x in judge(server).judge(comparisons(), 0, Silent())} == {"inconsistent"}


def test_too_little_probability_on_the_letters_is_no_verdict(server: ChatServer) -> None:
    server.mass = 0.4
    notes = Notes()
    assert {x.outcome for x in judge(server).judge(comparisons(), 0, notes)} == {"unparsed"}
    assert "10 of 10 verdicts are not usable" in notes.notes[-1]
    assert_right(server, comparisons(), judge(server, min_mass=0.3).judge(comparisons(), 0, Silent()))


def test_the_temperature_flattens_the_choices(server: ChatServer) -> None:
    asked = comparisons(2)[1:]
    (found,) = judge(server, temperature=2.0).judge(asked, 0, Silent())
    roots = [math.sqrt(p) for p in expected(server, asked[0])[0]]
    assert found.a_first == pytest.approx([r / sum(roots) for r in roots])


@pytest.mark.parametrize("several", [True, False])
def test_a_server_without_logprobs_is_sampled(server: ChatServer, several: bool) -> None:
    server.logprobs, server.several, server.mass = False, several, 1.0
    notes = Notes()
    asked = comparisons(9)
    one = judge(server, samples=12).judge(asked, 3, notes)
    assert "gives no log-probabilities: it ignores `logprobs`" in notes.notes[0]
    of_comparison = [r for r in server.requests if "[response A" in r["messages"][0]["content"]]
    assert len(of_comparison) == 18 * (1 if several else 12)
    assert len({(r["seed"], r["messages"][0]["content"]) for r in of_comparison}) == len(of_comparison)
    shares = [p for x in one for of_order in (x.a_first, x.b_first) if of_order for p in of_order]
    assert all(p * 12 == pytest.approx(round(p * 12)) for p in shares)
    # 216 samples: the mean of P(a) lies near the judge's own, with a standard error of at most 0.034.
    truth = [expected(server, c)[0] for c in asked]
    probability = [x.probability for x in one]
    assert None not in probability
    mean = sum(p for p in probability if p is not None) / len(asked)
    assert mean == pytest.approx(sum(a + e / 2 for a, _, e in truth) / len(asked), abs=0.1)
    again = judge(server, samples=12).judge(asked[1:3], 3, Silent())
    assert [(x.a_first, x.b_first) for x in one[1:3]] == [(x.a_first, x.b_first) for x in again]
    other = judge(server, samples=12).judge(asked[1:3], 4, Silent())
    assert [(x.a_first, x.b_first) for x in one[1:3]] != [(x.a_first, x.b_first) for x in other]


def test_log_probabilities_that_are_demanded_and_ignored_stop_the_judge(server: ChatServer) -> None:
    server.logprobs = False
    with pytest.raises(ModelError, match="`verdicts: logprobs` needs a server"):
        judge(server, verdicts="logprobs").judge(comparisons(), 0, Silent())
    assert server.comparisons == 0


def test_a_server_that_does_not_sample_is_asked_once(server: ChatServer) -> None:
    server.logprobs, server.varies = False, False
    notes = Notes()
    found = judge(server, samples=8).judge(comparisons(3), 0, notes)
    assert server.comparisons == 6
    assert any("does not sample" in note for note in notes.notes)
    assert {p for x in found if x.a_first for p in x.a_first} <= {0.0, 1.0}


@pytest.mark.parametrize("field", ["structured_outputs", "guided_choice", "response_format"])
def test_sampled_answers_are_constrained_where_the_server_can(server: ChatServer, field: str) -> None:
    server.logprobs, server.constraint, server.mass = False, field, 0.6
    found = judge(server, samples=4).judge(comparisons(3), 0, Silent())
    assert "unparsed" not in {x.outcome for x in found}
    assert field in server.requests[-1]
    judge(server, samples=4, constrain=False).judge(comparisons(3), 0, Silent())
    assert not {"structured_outputs", "guided_choice", "response_format"} & set(server.requests[-1])


def test_samples_that_are_no_letter_are_not_counted_as_one(server: ChatServer) -> None:
    server.logprobs, server.mass = False, 0.0
    assert {x.outcome for x in judge(server, samples=4).judge(comparisons(3), 0, Silent())} == {"unparsed"}


def test_without_ties_two_letters_are_asked_for(server: ChatServer) -> None:
    (found,) = judge(server, ties=False).judge(comparisons(1), 0, Silent())
    assert found.a_first is not None
    assert found.a_first[2] == 0.0
    assert sum(found.a_first) == pytest.approx(1)


def test_tokens_and_money_are_counted_and_limited(server: ChatServer, tmp_path: Path) -> None:
    prices = {"price_in": 10.0, "price_out": 100.0}
    asked = comparisons(4)
    found = judge(server, tmp_path / "one", **prices).judge(asked, 0, Silent())
    assert [(x.tokens_in, x.tokens_out) for x in found] == [(200, 4)] * 4
    assert [x.cost for x in found] == pytest.approx([2 * (100 * 10 + 2 * 100) / 1e6] * 4)

    notes, before = Notes(), server.comparisons
    with pytest.raises(BudgetError, match=r"may use 0\.006 USD \(`max_cost`\)"):
        judge(server, tmp_path / "two", max_cost=0.006, **prices).judge(asked, 0, notes)
    assert server.comparisons - before == 4  # with the probe, 5 requests at 0.0012
    judge(server, tmp_path / "two", **prices).judge(asked, 0, notes)
    assert server.comparisons - before == 8  # what was paid for before is not asked again

    with pytest.raises(BudgetError, match="may use 300 tokens"):
        judge(server, max_tokens_total=300).judge(asked, 0, Silent())


def test_prices_need_a_server_that_counts_tokens(server: ChatServer) -> None:
    server.usage = None
    with pytest.raises(ModelError, match="counts tokens"):
        judge(server, price_in=1.0).judge(comparisons(), 0, Silent())
    assert [x.tokens_in for x in judge(server).judge(comparisons(1), 0, Silent())] == [0]


def test_nothing_is_asked_twice(server: ChatServer, tmp_path: Path) -> None:
    asked = comparisons(4)
    one = judge(server, tmp_path).judge(asked, 0, Silent())
    again = judge(server, tmp_path).judge([*asked, *asked[:2]], 1, Silent())
    assert server.comparisons == 8
    assert again == [*one, *one[:2]]
    judge(server, tmp_path, rubric="harmlessness").judge(asked[:1], 0, Silent())
    assert server.comparisons == 10


def test_no_more_requests_are_in_flight_than_allowed(server: ChatServer) -> None:
    server.most_in_flight = 0
    judge(server, concurrency=2).judge(comparisons(20), 0, Silent())
    assert server.most_in_flight <= 2


def test_the_key_comes_from_the_environment_only(server: ChatServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RecipeError, match="SOME_KEY is not set"):
        judge(server, api_key_variable="SOME_KEY")
    monkeypatch.setenv("SOME_KEY", "sk-1")
    judge(server, api_key_variable="SOME_KEY").judge(comparisons(1), 0, Silent())
    assert set(server.keys) == {"Bearer sk-1"}


def test_extra_fields_are_sent_and_null_removes_one(server: ChatServer) -> None:
    extra = {"reasoning_effort": "low", "max_tokens": None, "max_completion_tokens": 1}
    judge(server, extra_body=extra).judge(comparisons(1), 0, Silent())
    assert server.requests[-1]["reasoning_effort"] == "low"
    assert "max_tokens" not in server.requests[-1]


def test_progress_counts_comparisons(server: ChatServer, tmp_path: Path) -> None:
    done: list[int] = []

    class Counting(Silent):
        def stage(self, description: str, total: int) -> Any:
            from contextlib import nullcontext

            return nullcontext(done.append)

    asked = comparisons(6)
    judge(server, tmp_path).judge(asked[:2], 0, Counting())
    assert sum(done) == 2
    done.clear()
    judge(server, tmp_path).judge([*asked, asked[0]], 0, Counting())
    assert sum(done) == 7
