"""Faults of a judge's server: no verdict is invented or flipped, and only what was in flight is paid for twice."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from chat_server import ChatServer, Exchange, serving
from judging import Notes, assert_right, comparisons

from duelist.errors import ModelError
from duelist.judges.base import Comparison
from duelist.judges.cache import VerdictCache
from duelist.judges.config import JudgeConfig
from duelist.judges.server import ServerJudge
from duelist.progress import Silent
from duelist.types import Prompt


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with serving(ChatServer(position=0.4)) as server:
        yield server


def judge(
    server: ChatServer, folder: Path | None = None, pause: Callable[[float], None] | None = None, **settings: Any
) -> ServerJudge:
    given = {"base_url": server.url, "model": "m", "concurrency": 3, "retries": 2, "timeout": 30, **settings}
    return ServerJudge(JudgeConfig.model_validate(given), folder, pause=pause)


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("duelist.judges.chat_client.FIRST_PAUSE", 0.001)


def status(code: int, **headers: str) -> Callable[[Exchange], bool]:
    def fault(exchange: Exchange) -> bool:
        exchange.answer(code, {"error": "told to fail"}, **headers)
        return True

    return fault


def body(change: Callable[[dict[str, Any]], Any]) -> Callable[[Exchange], bool]:
    """An answer that is changed: what `change` returns is sent, as bytes or as JSON."""

    def fault(exchange: Exchange) -> bool:
        changed = change(exchange.server.completion(exchange.content))
        exchange.write(200, changed if isinstance(changed, bytes) else json.dumps(changed).encode())
        return True

    return fault


def cut(exchange: Exchange) -> bool:
    """Close the connection in the middle of the answer."""
    exchange.handler.send_response(200)
    exchange.handler.send_header("Content-Length", "1000")
    exchange.handler.end_headers()
    exchange.handler.wfile.write(b'{"choices": [')
    exchange.handler.wfile.flush()
    exchange.handler.connection.shutdown(socket.SHUT_RDWR)
    exchange.handler.close_connection = True
    return True


def without_logprobs(content: dict[str, Any]) -> dict[str, Any]:
    del content["choices"][0]["logprobs"]
    return content


def truncated(content: dict[str, Any]) -> bytes:
    return json.dumps(content)[:-20].encode()


def reversed_alternatives(content: dict[str, Any]) -> dict[str, Any]:
    content["choices"][0]["logprobs"]["content"][0]["top_logprobs"].reverse()
    return content


def impossible(content: dict[str, Any]) -> dict[str, Any]:
    for row in content["choices"][0]["logprobs"]["content"][0]["top_logprobs"]:
        row["logprob"] = -0.01  # together far more than 1
    return content


PASSING = {
    "too many, for a time": status(429, Retry_After="0.01"),
    "too many, until a date": status(429, Retry_After="Wed, 21 Oct 2015 07:28:00 GMT"),
    "too many": status(429),
    "overloaded": status(503),
    "broken": status(500),
    "cut off": cut,
    "truncated": body(truncated),
    "no JSON": body(lambda content: b"<html>Bad gateway</html>"),
    "another JSON": body(lambda content: [content]),
    "without log-probabilities": body(without_logprobs),
    "impossible log-probabilities": body(impossible),
    "no choices": body(lambda content: {**content, "choices": []}),
    "null": body(lambda content: {**content, "choices": None}),
    "nested too deeply": body(lambda content: b"[" * 200_000),
}


@pytest.mark.parametrize("fault", PASSING, ids=str)
def test_a_fault_that_passes_changes_no_verdict(server: ChatServer, fault: str) -> None:
    server.faults = {0: PASSING[fault], 1: PASSING[fault], 4: PASSING[fault]}
    asked = comparisons(4)
    assert_right(server, asked, judge(server, retries=3).judge(asked, 0, Silent()))
    assert server.comparisons == 8 + 3


def test_the_order_of_alternatives_does_not_matter(server: ChatServer) -> None:
    server.faults = dict.fromkeys(range(100), body(reversed_alternatives))
    asked = comparisons(4)
    assert_right(server, asked, judge(server).judge(asked, 0, Silent()))


def odd_token(content: dict[str, Any]) -> dict[str, Any]:
    rows = content["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
    rows += [{"token": "\ud83d", "logprob": -30}, {"token": "x", "logprob": -(10**400)}]
    return {**content, "usage": {"prompt_tokens": 10**30, "completion_tokens": 2}}


def test_odd_tokens_and_counts_beside_the_answer_do_no_harm(server: ChatServer, tmp_path: Path) -> None:
    """Half a surrogate pair, which tokens of emojis are, and numbers that no database holds."""
    server.faults = dict.fromkeys(range(8), body(odd_token))
    asked = comparisons(4)
    for _ in range(2):
        found = judge(server, tmp_path).judge(asked, 0, Silent())
        assert_right(server, asked, found)
        assert {(x.tokens_in, x.tokens_out) for x in found} == {(0, 4)}
    assert server.comparisons == 8, "kept, and not asked for again"


def test_a_retry_is_the_same_request(server: ChatServer) -> None:
    server.faults = {0: status(500), 1: cut, 2: status(429)}
    judge(server, concurrency=1, retries=3).judge(comparisons(2)[1:], 0, Silent())
    sent = [r for r in server.requests if "[response A" in r["messages"][0]["content"]]
    assert sent[0] == sent[1] == sent[2] == sent[3] != sent[4]


def test_the_pause_is_what_the_server_says_or_grows(server: ChatServer, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("duelist.judges.chat_client.FIRST_PAUSE", 1.0)
    server.faults = {0: status(503, Retry_After="7"), 1: status(503), 2: status(503), 3: status(503)}
    judge(server, concurrency=1, retries=4, pause=pauses.append).judge(comparisons(2)[1:], 0, Silent())
    assert pauses[0] == 7
    assert [1 <= pauses[1] <= 2, 2 <= pauses[2] <= 4, 4 <= pauses[3] <= 8] == [True] * 3


def test_after_too_many_requests_nobody_sends_before_the_time(
    server: ChatServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock goes on only by pauses: what is sent after the 429 is sent when its time has passed."""
    clock, lock, sent = [1000.0], threading.Lock(), []

    def pause(seconds: float) -> None:
        with lock:
            clock[0] += seconds

    def fault(exchange: Exchange) -> bool:
        with lock:
            sent.append(clock[0])
        return len(sent) == 1 and status(429, Retry_After="50")(exchange)

    monkeypatch.setattr("duelist.judges.chat_client.time.monotonic", lambda: clock[0])
    server.faults = dict.fromkeys(range(100), fault)
    judge(server, concurrency=1, pause=pause, timeout=1000).judge(comparisons(3), 0, Silent())
    assert sent[0] == 1000
    assert min(sent[1:]) >= 1050


def test_a_date_to_wait_for_is_read() -> None:
    from datetime import UTC, datetime, timedelta

    import httpx2

    from duelist.judges.chat_client import _retry_after

    later = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    assert 90 < (_retry_after(httpx2.Headers({"Retry-After": later})) or 0) <= 100
    assert [_retry_after(httpx2.Headers(h)) for h in ({}, {"Retry-After": "soon"})] == [None, None]


def test_a_server_that_hangs_is_asked_again(server: ChatServer) -> None:
    release = threading.Event()

    def hang(exchange: Exchange) -> bool:
        release.wait()
        raise BrokenPipeError

    server.faults = {0: hang}
    asked = comparisons(2)
    try:
        assert_right(server, asked, judge(server, timeout=0.5, retries=20).judge(asked, 0, Silent()))
    finally:
        release.set()


def test_an_answer_that_never_ends_is_asked_for_again(server: ChatServer) -> None:
    release = threading.Event()

    def drip(exchange: Exchange) -> bool:
        exchange.handler.send_response(200)
        exchange.handler.send_header("Content-Length", "1000000")
        exchange.handler.end_headers()
        while not release.wait(0.02):
            exchange.handler.wfile.write(b" ")
            exchange.handler.wfile.flush()
        return True

    server.faults = {0: drip}
    asked = comparisons(2)
    try:
        assert_right(server, asked, judge(server, timeout=0.5, retries=20).judge(asked, 0, Silent()))
    finally:
        release.set()


@pytest.mark.parametrize("fault", ["truncated", "without log-probabilities", "impossible log-probabilities", "null"])
def test_an_answer_that_can_never_be_read_is_no_verdict(server: ChatServer, fault: str) -> None:
    """All tries of the first request fail: its order has no verdict, the rest is as it would be."""
    server.faults = dict.fromkeys(range(3), PASSING[fault])
    asked, notes = comparisons(3), Notes()
    first, *others = judge(server, concurrency=1).judge(asked, 0, notes)
    assert first.outcome == "unparsed"
    assert_right(server, asked[1:], others)
    assert any("1 of " in note and "no usable answer" in note for note in notes.notes)


def test_what_the_server_refuses_to_judge_is_no_verdict(server: ChatServer) -> None:
    server.faults = {2: status(400)}
    asked = comparisons(4)[1:]
    found = judge(server, concurrency=1).judge(asked, 0, Silent())
    assert [x.outcome == "unparsed" for x in found] == [False, True, False]
    assert_right(server, [asked[0], asked[2]], [found[0], found[2]])


def test_a_server_that_refuses_everything_stops_the_judge(server: ChatServer) -> None:
    server.faults = dict.fromkeys(range(1000), status(422))
    with pytest.raises(ModelError, match="none of 10 requests got a usable answer"):
        judge(server).judge(comparisons(9), 0, Silent())


@pytest.mark.parametrize("code", [401, 403, 404])
def test_a_key_or_name_that_is_wrong_stops_at_once(server: ChatServer, code: int) -> None:
    server.faults = dict.fromkeys(range(1000), status(code))
    with pytest.raises(ModelError, match=f"refuses with status {code}"):
        judge(server, concurrency=1).judge(comparisons(9), 0, Silent())
    assert server.comparisons == 1


def test_a_death_in_mid_batch_loses_only_the_requests_in_flight(server: ChatServer, tmp_path: Path) -> None:
    """The server dies after seven answers: the judge stops, and a later call goes on with what is missing."""
    asked = comparisons(9)[1:]
    server.faults = dict.fromkeys(range(7, 1000), status(500))
    with pytest.raises(ModelError, match="3 tries of a request failed: status 500"):
        judge(server, tmp_path).judge(asked, 0, Silent())
    paid, server.faults = 7, {}
    server.comparisons = 0
    notes = Notes()
    assert_right(server, asked, judge(server, tmp_path).judge(asked, 0, notes))
    distinct = len({(c.prompt.id, *sides) for c in asked for sides in ((c.a, c.b), (c.b, c.a))})
    assert server.comparisons == distinct - paid
    assert not any("in flight" in note for note in notes.notes)  # every request was answered, if only with an error


def killed_judge(url: str, folder: str) -> None:
    settings = {"base_url": url, "model": "m", "concurrency": 3, "timeout": 30}
    ServerJudge(JudgeConfig.model_validate(settings), Path(folder)).judge(comparisons(9)[1:], 0, Silent())


def test_a_killed_judge_pays_twice_for_the_requests_in_flight_only(server: ChatServer, tmp_path: Path) -> None:
    """A process is killed while three requests hang. The next one counts them and asks nothing else again."""
    hanging, release = threading.Semaphore(0), threading.Event()

    def hang(exchange: Exchange) -> bool:
        hanging.release()
        release.wait()
        raise BrokenPipeError

    server.faults = dict.fromkeys(range(6, 1000), hang)
    process = multiprocessing.get_context("spawn").Process(target=killed_judge, args=(server.url, str(tmp_path)))
    process.start()
    try:
        for _ in range(3):
            assert hanging.acquire(timeout=120)
        os.kill(process.pid or 0, signal.SIGKILL)
        process.join()
    finally:
        release.set()
    answered = 6
    server.faults, server.comparisons = {}, 0
    asked, notes = comparisons(9)[1:], Notes()
    assert_right(server, asked, judge(server, tmp_path).judge(asked, 0, notes))
    assert "3 requests were in flight to a judge when a process ended before" in notes.notes[0]
    distinct = len({(c.prompt.id, *sides) for c in asked for sides in ((c.a, c.b), (c.b, c.a))})
    assert server.comparisons == distinct - answered
    assert VerdictCache(tmp_path).spent("judge:m:helpfulness").lost == 3
    notes = Notes()
    judge(server, tmp_path).judge(asked, 0, notes)
    assert not any("in flight" in note for note in notes.notes)  # reported once


def test_requests_of_a_living_process_are_not_lost(tmp_path: Path) -> None:
    living, other = VerdictCache(tmp_path), VerdictCache(tmp_path)
    living.sent("key", "judge")
    assert other.count_lost() == 0
    living.close()
    assert other.count_lost() == 1
    assert other.count_lost() == 0


def test_a_server_that_answers_other_requests_late_mixes_nothing_up(server: ChatServer) -> None:
    """Every second request waits until a later one was answered, so answers arrive in another order than asked."""
    passed = threading.Semaphore(0)
    numbers = iter(range(1000))
    lock = threading.Lock()

    def late(exchange: Exchange) -> bool:
        with lock:
            number = next(numbers)
        if number % 2 == 0:
            passed.acquire(timeout=30)
        exchange.answer(200, exchange.server.completion(exchange.content))
        if number % 2:
            passed.release()
        return True

    server.faults = dict.fromkeys(range(1000), late)
    prompts = [Prompt.of(f"Question {i}") for i in range(8)]
    asked = [Comparison(p, f"a quality={i % 4}", f"b quality={(3 * i) % 5}") for i, p in enumerate(prompts)]
    assert_right(server, asked, judge(server, concurrency=4).judge(asked, 0, Silent()))


def test_a_budget_is_used_up_whatever_is_in_flight(tmp_path: Path) -> None:
    """A request in flight that is kept already counts twice, so a refusal is asked about again when it has ended."""
    from duelist.errors import BudgetError
    from duelist.judges.asking import Asking
    from duelist.judges.cache import Kept
    from duelist.judges.chat_client import ChatRequest

    class Client:
        def __init__(self) -> None:
            self.sent = 0

        def ask(self, request: ChatRequest, usable: object) -> Kept:
            self.sent += 1
            return Kept({})

    client, limit, ended = Client(), 4, list[str]()

    def may_send(flying: int) -> BudgetError | None:
        spent = client.sent  # also those that have not been taken from the pool
        return BudgetError("spent") if spent + flying + 1 > limit else None

    def wait_for_the_pool(flying: int) -> BudgetError | None:
        while client.sent < len(ended) + flying:
            pass
        return may_send(flying)

    asking = Asking(client, bool, 3, False, wait_for_the_pool, ended.append)  # type: ignore[arg-type]
    asking.ask([ChatRequest(b"", str(i)) for i in range(9)], {})
    assert client.sent == limit and isinstance(asking.failure, BudgetError)
