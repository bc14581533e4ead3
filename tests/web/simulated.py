"""Simulated annotators over HTTP: each votes, sends twice, undoes, loses answers, and keeps a record of its own."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Condition, Event
from typing import Any

import httpx2
from desk_world import answer_to, uuid
from http_world import bootstrap_of

from duelist.web.ledger import Event as LedgerEvent
from duelist.web.record import derive

TROUBLE = (httpx2.TransportError,)  # the server was killed: nothing came back


class Crowd:
    """What the simulated annotators of one test share: whether the server is up, whether it is enough, who voted."""

    def __init__(self) -> None:
        self.up, self.enough, self.voted = Event(), Event(), Condition()
        self.up.set()


@dataclass
class Annotator:
    """One person with a browser. Sends an act again until it is acknowledged, as the page does."""

    name: str
    link: str
    seed: int
    votes: int
    crowd: Crowd
    acknowledged: dict[str, dict[str, Any]] = field(default_factory=dict)
    undone: dict[str, str] = field(default_factory=dict)  # act by its undo
    shown: dict[str, list[str]] = field(default_factory=dict)  # by task, as displayed
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.client = httpx2.Client(timeout=30, follow_redirects=True)
        self.address = self.link.partition("/join/")[0]
        self.csrf = ""

    def work(self) -> None:
        """Vote until so many votes are acknowledged, nothing is left, or somebody gives up."""
        try:
            self.persist(lambda: self.client.get(self.link))
            self.csrf = bootstrap_of(self.persist(lambda: self.client.get(f"{self.address}/")).text)["csrf"]
            while len(self.acknowledged) < self.votes and not self.crowd.enough.is_set():
                found = self.post("/api/next", {"hold": []}).json()
                if found["task"] is None:
                    return
                self.answer(found["task"])
        except Exception as error:
            self.problems.append(f"{self.name}: {error!r}")
        finally:
            self.client.close()

    def answer(self, task: dict[str, Any]) -> None:
        shown = [r["id"] for r in task["responses"]]
        self.shown[task["task_id"]] = shown
        outcome = self.rng.choice(["prefer", "prefer", "prefer", "tie", "skip"])
        sent = answer_to(task["task_id"], task["question_id"], shown, outcome, self.rng.choice(shown))
        sent["act_id"] = uuid(self.rng)
        told = self.post("/api/acts", sent)
        if told.status_code != 200:
            self.problems.append(f"{self.name}: {told.status_code} {told.text}")
            return
        with self.crowd.voted:
            self.acknowledged[sent["act_id"]] = sent
            self.crowd.voted.notify_all()
        if self.rng.random() < 0.1 and not self.post("/api/acts", sent).json()["duplicate"]:
            self.problems.append(f"{self.name}: {sent['act_id']} was recorded twice")
        if told.json()["counts"] and self.rng.random() < 0.1:
            undo = uuid(self.rng)
            undone = self.post("/api/undo", {"act_id": undo, "undoes": sent["act_id"]})
            if undone.status_code != 200 or undone.json()["previous"] != sent:
                self.problems.append(f"{self.name}: undo of {sent['act_id']}: {undone.status_code} {undone.text}")
            self.undone[sent["act_id"]] = undo

    def post(self, path: str, body: Any) -> httpx2.Response:
        return self.persist(
            lambda: self.client.post(f"{self.address}{path}", json=body, headers={"X-CSRF-Token": self.csrf})
        )

    def persist(self, call: Callable[[], httpx2.Response]) -> httpx2.Response:
        """Repeat a request until an answer comes."""
        while True:
            try:
                found = call()
            except TROUBLE:
                if self.crowd.enough.is_set():
                    raise
                self.crowd.up.wait()
                continue
            if found.status_code != 503:
                return found


def work_together(people: Sequence[Annotator]) -> None:
    """Let everybody work at once, to the end."""
    with ThreadPoolExecutor(len(people)) as pool:
        list(pool.map(Annotator.work, people))


def require_faithful(events: Sequence[LedgerEvent], people: Sequence[Annotator], k: int) -> None:
    """Compare the ledger with what every client remembers: nothing lost, doubled or on the wrong side."""
    problems = [problem for person in people for problem in person.problems]
    assert problems == []
    record = derive(events)
    votes = [e for e in events if e.kind in ("voted", "skipped")]
    assert len({e.id for e in votes}) == len(votes)
    remembered = {i: (person.name, sent) for person in people for i, sent in person.acknowledged.items()}
    recorded = {e.id: (e.annotator, e.body["act"]) for e in votes}
    assert recorded == remembered, "every acknowledged vote is there once, as it was sent, and there is no other"
    for person in people:
        for act_id, sent in person.acknowledged.items():
            act = record.acts[act_id]
            assert act.sent["shown"] == person.shown[sent["task_id"]] == list(record.leases[act.lease].shown)
            assert act.undone == (act_id in person.undone)
    for question in {a.question_id for a in record.acts.values()}:
        answering = [a.annotator for a in record.answers(question)]
        assert len(answering) <= k and len(set(answering)) == len(answering)
