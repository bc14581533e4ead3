"""A small server that speaks the page's side of `duelist annotate` and records every act strictly."""

from __future__ import annotations

import json
import re
import threading
import uuid
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jinja2
from page_questions import Question

WEB = Path(__file__).parents[3] / "src" / "duelist" / "web"
TYPES = {".js": "text/javascript", ".css": "text/css"}
KEYS = {
    "first": ["ArrowLeft", "1"],
    "second": ["ArrowRight", "2"],
    "tie": ["ArrowDown"],
    "both_bad": ["b"],
    "both_good": ["g"],
    "skip": ["s"],
    "undo": ["u"],
    "guidelines": ["?"],
    "diff": ["d"],
    "scroll_together": ["l"],
    "comment": ["c"],
    "submit": ["Enter"],
}
FIELDS = {
    *("act_id", "task_id", "question_id", "shown", "outcome", "chosen", "ranking", "stopped", "best", "worst"),
    *("placed", "active_seconds", "idle_seconds", "strength", "reasons", "comment", "better"),
}
OUTCOMES = {
    "pair": {"prefer", "tie", "both_bad", "both_good", "skip"},
    "ranking": {"ranked", "all_bad", "all_good", "skip"},
    "best_worst": {"ranked", "all_bad", "all_good", "skip"},
    "best_of_k": {"ranked", "all_bad", "all_good", "skip"},
}


LOST = -1


class PageStub:
    """Questions in order, leases, acts; `fail` and `end_session` make trouble on purpose."""

    def __init__(self, questions: Iterable[Question], **bootstrap: Any) -> None:
        self.questions = list(questions)
        self.bootstrap: dict[str, Any] = {
            "study": "tea and rivers",
            "annotator": {"name": "ann", "role": "annotator"},
            "keys": KEYS,
            "strength": False,
            "reasons": [],
            "comment": True,
            "write_better": False,
            "guidelines_html": "",
            "idle_after_seconds": 60,
        } | bootstrap
        self.acts: list[dict[str, Any]] = []  # recorded acts, oldest first; an undone one leaves
        self.undone: list[dict[str, Any]] = []
        self.received: list[str] = []  # act_id of every POST to /api/acts, also of refused ones
        self.attempts: list[tuple[str, Any]] = []  # path and body of every POST, also of failed ones
        self.shown: list[dict[str, Any]] = []
        self.violations: list[str] = []  # breaches of the contract, and of the content-security policy
        self.failures: dict[str, deque[tuple[int, dict[str, str], Any]]] = {}
        self.wait: dict[str, Any] = {"reason": "finished", "retry_seconds": 60}
        self.session = "token-1"
        self.csrf = "csrf-1"
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self.leases: dict[str, str] = {}  # question id -> task id, oldest first
        self.url = ""
        loader = jinja2.FileSystemLoader(WEB / "templates")
        self.templates = jinja2.Environment(loader=loader, autoescape=True)

    # What a test arranges and waits for.

    def fail(self, path: str, *statuses: int, body: Any = None, **headers: str) -> None:
        """Answer the next requests to `path` with these statuses; LOST acts on the request, then drops the answer."""
        with self.lock:
            self.failures.setdefault(path, deque()).extend((status, headers, body) for status in statuses)

    def end_session(self) -> None:
        with self.lock:
            self.session = self.csrf = ""

    def renew_session(self) -> str:
        """Return the personal link, which signs in anew with another CSRF token."""
        with self.lock:
            self.session, self.csrf = f"token-{uuid.uuid4()}", f"csrf-{uuid.uuid4()}"
            return f"{self.url}/join/{self.session}"

    def wait_until(self, condition: Any, seconds: float = 20) -> None:
        """Block until `condition()` holds; every request wakes it up."""
        with self.changed:
            assert self.changed.wait_for(condition, timeout=seconds), f"not reached: {self.acts} {self.violations}"

    # The contract.

    def progress(self) -> dict[str, Any]:
        done = len(self.acts)
        total = len(self.questions)
        pace = {"mine": done, "budget_left": 96 - done, "round": 2, "rounds": 4, "seconds_median": 21.5}
        return {"batch": total, "batch_done": done, **pace}

    def task(self, question: Question) -> dict[str, Any]:
        identity = self.leases.setdefault(question["question_id"], f"lease-{uuid.uuid4()}")
        return {"task_id": identity, "expires_at": "2100-01-01T00:00:00Z", **question}

    def next(self, body: dict[str, Any]) -> dict[str, Any]:
        answered = {act["question_id"] for act in self.acts}
        open_ = [q for q in self.questions if q["question_id"] not in answered | set(body["hold"])]
        open_.sort(key=lambda q: list(self.leases).index(q["question_id"]) if q["question_id"] in self.leases else 1e9)
        task = self.task(open_[0]) if open_ else None
        return {"task": task, "wait": None if task else self.wait, "progress": self.progress()}

    def act(self, act: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        self.received.append(act["act_id"])
        known = [a for a in self.acts + self.undone if a["act_id"] == act["act_id"]]
        if known and known[0] != act:
            return 409, {"error": "act_conflict", "message": "An act keeps its content; this one changed."}
        if not known:
            self.check(act)
            self.acts.append(act)
        counts = {"recorded": True, "duplicate": bool(known), "counts": True, "note": ""}
        return 200, counts | {"progress": self.progress()}

    def undo(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        found = [act for act in self.acts if act["act_id"] == body["undoes"]]
        if not found:
            return 404, {"error": "unknown_act", "message": "There is no such act."}
        self.acts.remove(found[0])
        self.undone.append(found[0])
        question = next(q for q in self.questions if q["question_id"] == found[0]["question_id"])
        self.leases.pop(question["question_id"], None)
        return 200, {"task": self.task(question), "previous": found[0], "progress": self.progress()}

    def history(self) -> dict[str, Any]:
        names = ("act_id", "question_id", "outcome")
        acts = [{name: act[name] for name in names} | {"at": "2026-01-01T00:00:00Z"} for act in reversed(self.acts)]
        return {"acts": acts}

    def check(self, act: dict[str, Any]) -> None:
        """Note every breach of the contract in an act."""
        question = next(q for q in self.questions if q["question_id"] == act["question_id"])
        ids = [one["id"] for one in question["responses"]]
        asks = question["asks"]
        ranked = [identity for group in act["ranking"] or [] for identity in group]
        rules = {
            "fields": set(act) == FIELDS,
            "uuid": re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", act["act_id"]) is not None,
            "lease": act["task_id"] == self.leases.get(act["question_id"]),
            "once": act["question_id"] not in {known["question_id"] for known in self.acts},
            "shown": act["shown"] == ids,
            "outcome": act["outcome"] in OUTCOMES[asks],
            "chosen": (act["outcome"] == "prefer") == (act["chosen"] in ids),
            "ranking": (act["ranking"] is not None) == (asks == "ranking" and act["outcome"] == "ranked"),
            "complete": act["ranking"] is None or act["stopped"] == (sorted(ranked) != sorted(ids)),
            "once each": len(set(ranked)) == len(ranked) and set(ranked) <= set(ids),
            "placed": {entry["id"] for entry in act["placed"]} >= set(ranked),
            "placed in time": [e["seconds"] for e in act["placed"]] == sorted(e["seconds"] for e in act["placed"]),
            "seconds": act["active_seconds"] >= 0 and act["idle_seconds"] >= 0,
        }
        self.violations.extend(f"{name}: {act}" for name, holds in rules.items() if not holds)


class Handler(BaseHTTPRequestHandler):
    stub: PageStub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Stay silent: the test reads the stub's record."""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        with self.stub.changed:
            if path.startswith("/static/"):
                file = WEB / "static" / Path(path).name
                self.reply(200, file.read_bytes(), TYPES[file.suffix])
            elif path.startswith("/join/"):
                cookie = f"session={path.removeprefix('/join/')}; Path=/; HttpOnly; SameSite=Strict"
                self.reply(303, b"", "text/plain", Location="/", Set_Cookie=cookie)
            elif path in ("/", "/adjudicate"):
                self.page()
            elif path == "/api/history":
                self.api(path, lambda _: (200, self.stub.history()), None)
            else:
                self.stub.violations.append(f"unknown address {path}")
                self.reply(404, b"", "text/plain")

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        body = json.loads(raw)
        stub = self.stub
        calls: dict[str, Any] = {
            "/api/next": lambda sent: (200, stub.next(sent)),
            "/api/acts": stub.act,
            "/api/undo": stub.undo,
            "/api/shown": lambda sent: (stub.shown.append(sent), (200, {}))[1],
        }
        with stub.changed:
            stub.attempts.append((self.path, body))
            if len(raw) > 65536:
                stub.violations.append(f"body of {len(raw)} bytes")
            self.api(self.path, calls[self.path], body)
            stub.changed.notify_all()

    def page(self) -> None:
        nonce = uuid.uuid4().hex
        signed_in = self.signed_in()
        name = "annotate.html.j2" if signed_in else "signed_out.html.j2"
        bootstrap = self.stub.bootstrap | {"csrf": self.stub.csrf}
        text = self.stub.templates.get_template(name).render(nonce=nonce, bootstrap=bootstrap)
        policy = (
            f"default-src 'none'; script-src 'nonce-{nonce}' 'self'; style-src 'self' 'nonce-{nonce}'; "
            "img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
        )
        status = 200 if signed_in else 401
        self.reply(status, text.encode(), "text/html; charset=utf-8", Content_Security_Policy=policy)

    def api(self, path: str, call: Any, body: Any) -> None:
        headers: dict[str, str] = {}
        if self.stub.failures.get(path):
            status, headers, answer = self.stub.failures[path].popleft()
            if status == LOST:
                call(body)
                self.close_connection = True
                return
        elif not self.signed_in():
            status, answer = 401, {"error": "session_expired", "message": "Open your personal link again."}
        elif self.headers["X-CSRF-Token"] != self.stub.csrf:
            status, answer = 403, {"error": "csrf", "message": "Reload the page."}
        else:
            status, answer = call(body)
        self.reply(status, json.dumps(answer).encode(), "application/json", **headers)

    def signed_in(self) -> bool:
        return bool(self.stub.session) and f"session={self.stub.session}" in self.headers.get("Cookie", "")

    def reply(self, status: int, body: bytes, kind: str, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Content-Type-Options", "nosniff")
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def serving(stub: PageStub) -> Iterator[PageStub]:
    """Serve the stub on a free port of this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("BoundHandler", (Handler,), {"stub": stub}))
    server.daemon_threads = True
    stub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield stub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
