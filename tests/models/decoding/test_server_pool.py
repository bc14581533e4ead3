"""Requests are shared among servers: at most so many at one, none lost when some fail, none to one that is down."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duelist.models.decoding.completion_server import CompletionServer, RequestRefused, ServerFailed
from duelist.models.decoding.server_config import ServerConfig
from duelist.models.decoding.server_pool import ServerPool

CONFIG = ServerConfig(url="http://unused/v1", model="m", adapter_folder="unused", retries=0)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Servers:
    """Servers that fail as told; counts what each is sent."""

    def __init__(self, count: int, concurrency: int = 2, recheck: float = 10.0) -> None:
        self.clock = Clock()
        nobody = httpx2.MockTransport(lambda request: httpx2.Response(500))
        self.servers = [CompletionServer(f"http://{i}/v1", CONFIG, nobody) for i in range(count)]
        self.down: set[str] = set()
        self.fails_next: Counter[str] = Counter()
        self.readied: Counter[str] = Counter()
        self.done: Counter[str] = Counter()
        self.in_flight: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.lock = threading.Lock()
        self.pool = ServerPool(self.servers, concurrency, recheck, self.ready, self.clock)

    def ready(self, server: CompletionServer) -> None:
        with self.lock:
            self.readied[server.url] += 1
            if server.url in self.down:
                raise ServerFailed("down")

    def send(self, server: CompletionServer) -> str:
        with self.lock:
            self.in_flight[server.url] += 1
            self.most[server.url] = max(self.most[server.url], self.in_flight[server.url])
        try:
            with self.lock:
                if server.url in self.down or self.fails_next[server.url] > 0:
                    self.fails_next[server.url] -= 1
                    raise ServerFailed("down")
                self.done[server.url] += 1
            return server.url
        finally:
            with self.lock:
                self.in_flight[server.url] -= 1


@given(failures=st.lists(st.integers(0, 6), min_size=2, max_size=4), requests=st.integers(1, 40))
def test_no_request_is_lost_and_no_server_is_given_too_many(failures: Sequence[int], requests: int) -> None:
    """The first server never fails, so all requests are answered, each once."""
    world = Servers(len(failures))
    world.fails_next.update({f"http://{i}/v1": n for i, n in enumerate(failures) if i})
    world.pool.prepare()
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: world.pool.ask(world.send), range(requests)))
    assert len(answers) == requests == sum(world.done.values())
    assert max(world.most.values()) <= 2


def test_a_request_goes_to_the_least_loaded_server() -> None:
    world = Servers(3)
    world.pool.prepare()
    busy: list[str] = []

    def nested(server: CompletionServer) -> str:
        busy.append(server.url)
        return world.pool.ask(nested) if len(busy) < 6 else server.url

    world.pool.ask(nested)
    assert Counter(busy) == {s.url: 2 for s in world.servers}
    assert len(set(busy[:3])) == 3


def test_a_server_that_is_down_is_asked_again_after_a_while_and_made_ready_anew() -> None:
    world = Servers(2)
    world.pool.prepare()
    one, two = (s.url for s in world.servers)
    assert {world.pool.ask(world.send) for _ in range(3)} == {one}
    world.down.add(one)
    assert world.pool.ask(world.send) == two
    assert world.readied[one] == 2  # checked at once: it might have been started anew
    world.pool.ask(world.send)
    assert world.readied[one] == 2
    world.down.clear()
    world.clock.now = 9.9
    assert world.pool.ask(world.send) == two
    world.clock.now = 10.0
    assert world.pool.ask(world.send) == one
    assert world.readied[one] == 3 and len(world.pool.failures) == 1


def test_a_server_that_comes_up_but_fails_every_request_is_left_alone() -> None:
    world = Servers(2)
    world.pool.prepare()
    one, two = (s.url for s in world.servers)
    world.fails_next[one] = 10**6
    assert [world.pool.ask(world.send) for _ in range(5)] == [two] * 5
    assert world.fails_next[one] == 10**6 - 1


def test_all_down_is_an_error_that_names_them() -> None:
    world = Servers(2)
    world.pool.prepare()
    world.down |= {s.url for s in world.servers}
    with pytest.raises(ServerFailed, match=r"http://0/v1: down; http://1/v1: down"):
        world.pool.ask(world.send)
    with pytest.raises(ServerFailed, match="down"):
        world.pool.prepare()


def test_a_refusal_is_the_callers() -> None:
    world = Servers(2)
    world.pool.prepare()

    def refused(server: CompletionServer) -> str:
        raise RequestRefused("no")

    for _ in range(5):
        with pytest.raises(RequestRefused):
            world.pool.ask(refused)
    assert len(world.pool.up) == 2


def test_a_late_failure_says_nothing_of_a_server_that_came_up_since() -> None:
    world = Servers(1)
    world.pool.prepare()
    world.pool.ask(world.send)
    attempts: list[str] = []

    def slow(server: CompletionServer) -> str:
        attempts.append(server.url)
        if len(attempts) == 1:  # meanwhile another request fails, and the server comes up again
            world.fails_next[server.url] = 1
            world.pool.ask(world.send)
            raise ServerFailed("late")
        return server.url

    world.pool.ask(slow)
    assert world.pool.failures == [f"The server at {world.servers[0].url} failed: down."]
