"""A chat completions server on this machine's loopback, whose judgement is known and whose faults are scripted.

It prefers the response with the higher number in `quality=...`. It sees only the rubric's text, so what it says depends
on the order in which the responses are displayed, as it does with a real judge.
"""

from __future__ import annotations

import json
import math
import random
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SHOWN = re.compile(r"\[response A .*?quality=(\d+).*?\[response B .*?quality=(\d+)", re.DOTALL)
USAGE = {"prompt_tokens": 100, "completion_tokens": 2}
Fault = Callable[["Exchange"], bool]


@dataclass
class Exchange:
    """One request, and the connection to answer it on."""

    content: dict[str, Any]
    handler: BaseHTTPRequestHandler
    server: ChatServer

    def answer(self, status: int, content: Any, **headers: str) -> None:
        self.write(status, json.dumps(content).encode(), **headers)

    def write(self, status: int, body: bytes, **headers: str) -> None:
        self.handler.send_response(status)
        for name, value in headers.items():
            self.handler.send_header(name.replace("_", "-"), value)
        self.handler.send_header("Content-Length", str(len(body)))
        self.handler.end_headers()
        self.handler.wfile.write(body)

    @property
    def is_comparison(self) -> bool:
        return SHOWN.search(self.content["messages"][0]["content"]) is not None


@dataclass
class ChatServer:
    """What the server can do, what it was asked, and the faults of its next answers to comparisons.

    Attributes:
        logprobs, several, varies, constraint: what it honours; anything else is ignored in silence.
        position: added to the log-odds of the response displayed first.
        mass: probability of the letters.
        faults: by number of the comparison's request, from 0: answers in place of the server.
    """

    logprobs: bool = True
    several: bool = True
    varies: bool = True
    constraint: str | None = None
    usage: dict[str, int] | None = field(default_factory=lambda: dict(USAGE))
    position: float = 0.0
    scale: float = 1.0
    mass: float = 0.9
    faults: dict[int, Fault] = field(default_factory=dict)
    requests: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    comparisons: int = 0
    in_flight: int = 0
    most_in_flight: int = 0
    url: str = ""

    def __post_init__(self) -> None:
        self._lock = threading.Lock()

    def handle(self, handler: BaseHTTPRequestHandler) -> None:
        content = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        exchange = Exchange(content, handler, self)
        with self._lock:
            self.requests.append(content)
            self.keys.append(handler.headers.get("Authorization"))
            number = self.comparisons
            self.comparisons += exchange.is_comparison
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            fault = self.faults.get(number) if exchange.is_comparison else None
            if fault is None or not fault(exchange):
                exchange.answer(200, self.completion(content))
        finally:
            with self._lock:
                self.in_flight -= 1

    def probabilities(self, prompt: str) -> dict[str, float]:
        """The probabilities of the letters, as this judge means them."""
        shown = SHOWN.search(prompt)
        assert shown is not None
        odds = self.scale * (int(shown[1]) - int(shown[2])) + self.position
        p = 1 / (1 + math.exp(-odds))
        return {"A": self.mass * p * 0.95, "B": self.mass * (1 - p) * 0.95, "C": self.mass * 0.05}

    def completion(self, content: dict[str, Any]) -> dict[str, Any]:
        n = content.get("n", 1) if self.several else 1
        usage = {} if self.usage is None else {"usage": self.usage}
        return {
            "model": content["model"],
            "choices": [{"index": i, **self.choice(content, i)} for i in range(n)],
            **usage,
        }

    def choice(self, content: dict[str, Any], index: int) -> dict[str, Any]:
        prompt = content["messages"][0]["content"]
        rng = random.Random(f"{content.get('seed')}/{index}/{prompt}" if self.varies else prompt)
        constrained = self.constraint is not None and self.constraint in content
        if SHOWN.search(prompt) is None:
            text = rng.choice("AB") if constrained else f"{rng.random()} hello"
            found = {"A": 0.7, "B": 0.2, " A": 0.05}
        else:
            found = self.probabilities(prompt)
            words = [*found, "I cannot say."]
            weights = [*found.values(), 0 if constrained else 1 - self.mass]
            text = rng.choices(words, weights)[0]
        choice: dict[str, Any] = {"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        if self.logprobs and content.get("logprobs"):
            found = {**found, "I": 1 - sum(found.values())}
            rows = [{"token": t, "logprob": math.log(p)} for t, p in found.items() if p > 0]
            rows.sort(key=lambda row: -row["logprob"])
            top = rows[: content["top_logprobs"]]
            choice["logprobs"] = {"content": [{"token": text, "logprob": 0.0, "top_logprobs": top}]}
        return choice


@contextmanager
def serving(server: ChatServer) -> Iterator[ChatServer]:
    """Serve on a free port while the block runs."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # one packet for an answer

        def do_POST(self) -> None:
            try:
                server.handle(self)
            except (BrokenPipeError, ConnectionResetError):  # the client gave up
                self.close_connection = True

        def log_message(self, *_: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    http.block_on_close = False
    server.url = f"http://127.0.0.1:{http.server_port}/v1"
    thread = threading.Thread(target=http.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
