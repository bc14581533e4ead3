"""Time of an acknowledged vote with people voting at once, as a ratio to a bare fsync in the same run.

    python benchmarks/votes.py [--people 20] [--votes 25] [--pace 0.5] [--store URL] [--training]

Each person answers a question of one study every `--pace` seconds. Three ways to measure the same votes:

    ledger   one event recorded: the writer's thread, its queue and the group commit
    desk     an answer checked and recorded, in the server's process, without HTTP
    http     an answer posted to a server in another process

With `--training` also

    train    the same, while the server's worker process trains the quickstart's model, as `duelist annotate` does

Every vote is acknowledged only after it is committed and synced. The fsync is that of 4 KiB appended to a file in the
same folder, measured before and after. Prints p50 and p99 in milliseconds and as ratios to the p50 of the fsync.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import random
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Event as Flag
from typing import Any
from uuid import uuid4

from duelist import Label, Study, load_recipe
from duelist.progress import quiet_libraries
from duelist.web.assignment import DeskSettings
from duelist.web.desk import Desk
from duelist.web.items import Insight, Item, ItemMessage, ItemResponse, OpenBatch, Standing
from duelist.web.journal import Journal
from duelist.web.ledger import Event, append
from duelist.web.serving import ServerSettings, serving
from duelist.web.sql_ledger import SqlLedger
from duelist.web.tasks import Task
from duelist.web.tokens import Secret
from duelist.web.worker import Worker


class Made:
    """A made-up study."""

    name = "votes"

    def standing(self) -> Standing:
        """Return that the first of two rounds is labelled."""
        return Standing("labelling", 1, 2, 0)

    def insight(self) -> Insight:
        """Return nothing."""
        return Insight()


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=20)
    parser.add_argument("--votes", type=int, default=25, help="votes of each person")
    parser.add_argument("--pace", type=float, default=0.5, help="seconds between two votes of a person")
    parser.add_argument("--store", help="URL of a database; an SQLite file in a temporary folder by default")
    parser.add_argument("--training", action="store_true", help="also measure while a study trains")
    arguments = parser.parse_args()
    quiet_libraries()
    with tempfile.TemporaryDirectory(prefix="duelist-votes-") as scratch:
        folder = Path(scratch)
        before = fsyncs(folder)
        measured = {
            "ledger": ledger_votes(arguments, url_of(arguments, folder, "ledger")),
            "desk": desk_votes(arguments, url_of(arguments, folder, "desk")),
            "http": http_votes(arguments, url_of(arguments, folder, "http")),
        }
        if arguments.training:
            measured["train"] = http_votes(arguments, url_of(arguments, folder, "train"), ready_to_train(folder))
        bare = sorted(before + fsyncs(folder))
    unit = quantile(bare, 0.5)
    print(f"{arguments.people} people, {arguments.votes} votes each, one every {arguments.pace:g} s each")
    print(f"{'':8} {'p50 ms':>8} {'p99 ms':>8} {'p50/fsync':>10} {'p99/fsync':>10}")
    for name, times in {"fsync": bare, **measured}.items():
        p50, p99 = quantile(times, 0.5), quantile(times, 0.99)
        print(f"{name:8} {1000 * p50:8.2f} {1000 * p99:8.2f} {p50 / unit:10.1f} {p99 / unit:10.1f}")


def fsyncs(folder: Path, times: int = 200) -> list[float]:
    """Return the seconds of bare fsyncs of 4 KiB each."""
    found = []
    handle = os.open(folder / "fsync", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    for _ in range(times):
        os.write(handle, bytes(4096))
        began = time.perf_counter()
        os.fsync(handle)
        found.append(time.perf_counter() - began)
    os.close(handle)
    return found


def ledger_votes(arguments: argparse.Namespace, url: str) -> list[float]:
    """Return the seconds of events recorded by threads at once."""
    ledger = SqlLedger(url)
    found = at_once(arguments, lambda who: append(ledger, [Event(uuid4().hex, "voted", who, "q", body={"a": 1})]))
    ledger.close()
    return found


def desk_votes(arguments: argparse.Namespace, url: str) -> list[float]:
    """Return the seconds of answers recorded by threads at once, without HTTP."""
    ledger = SqlLedger(url)
    desk = made_desk(ledger, arguments)
    tasks: dict[str, dict[str, Any]] = {}

    def prepare(who: str) -> None:
        task = desk.next(who)
        assert isinstance(task, Task)
        tasks[who] = answer(task.lease.id, task.item.id, list(task.lease.shown))

    found = at_once(arguments, lambda who: desk.act(who, tasks[who]), prepare)
    ledger.close()
    return found


def at_once(
    arguments: argparse.Namespace, act: Callable[[str], object], prepare: Callable[[str], None] = lambda who: None
) -> list[float]:
    """Return the seconds of acts that threads do at once, one thread a person; `prepare` is not measured."""

    def person(number: int) -> list[float]:
        found = []
        for _ in range(arguments.votes):
            prepare(f"p{number}")
            time.sleep(random.uniform(0.5, 1.5) * arguments.pace)
            began = time.perf_counter()
            act(f"p{number}")
            found.append(time.perf_counter() - began)
        return found

    with ThreadPoolExecutor(arguments.people) as pool:
        return [x for own in pool.map(person, range(arguments.people)) for x in own]


def ready_to_train(folder: Path) -> Path:
    """Return the folder of a quickstart study whose first batch is answered, and whose training takes very long."""
    settings = ("rounds=1", "compare={}", "prepare.settings.prompts=40", "trainer.train.num_train_epochs=100000")
    with Study.create(folder / "study", load_recipe("quickstart", settings)) as study:
        study.tell([Label(pair.id, "made-up", "a") for pair in study.ask().pairs])
    return folder / "study"


def http_votes(arguments: argparse.Namespace, url: str, training: Path | None = None) -> list[float]:
    """Return the seconds of answers posted to a server in a process of its own, which may have a study to train."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    server = context.Process(target=serve, args=(there, url, arguments.people, arguments.votes, training))
    server.start()
    links: list[str] = here.recv()
    try:
        return asyncio.run(everybody(arguments, links))
    finally:
        here.send("end")
        server.join()
        if server.exitcode:
            raise SystemExit("The server must train and take votes until its end, but it failed.")


def serve(pipe: Connection, url: str, people: int, votes: int, training: Path | None) -> None:
    """Serve a made-up study until told to end; train meanwhile if there is a study to train."""
    ledger = SqlLedger(url)
    desk = made_desk(ledger, argparse.Namespace(people=people, votes=votes))
    with serving(desk, Secret.fresh(), ServerSettings(port=0)) as served, trained(training):
        pipe.send([served.link(f"p{i}", "annotator") for i in range(people)])
        pipe.recv()
    ledger.close()


@contextmanager
def trained(folder: Path | None) -> Iterator[None]:
    """Train a study in a worker process during the block; it must have begun before, and go on at its end."""
    if folder is None:
        yield
        return
    began, enough = Flag(), Flag()

    def note(text: str) -> None:
        if text.startswith("Training"):
            began.set()

    with Study.open(folder), Worker(folder, note) as worker, ThreadPoolExecutor(1) as pool:
        done = pool.submit(worker.run, "update", enough.is_set)
        try:
            while not began.wait(0.5):
                assert not done.done(), done.result()
            yield
            assert not done.done(), "the training ended too early"
        finally:
            enough.set()


async def everybody(arguments: argparse.Namespace, links: Sequence[str]) -> list[float]:
    """Return the seconds of everybody's votes."""
    found = await asyncio.gather(*(voter(arguments, link) for link in links))
    return [x for own in found for x in own]


async def voter(arguments: argparse.Namespace, link: str) -> list[float]:
    """Return the seconds of one person's votes, on one connection as a browser keeps it."""
    host, _, path = link.removeprefix("http://").partition("/")
    reader, writer = await asyncio.open_connection(*host.split(":"))

    async def call(method: str, path: str, headers: str = "", body: bytes = b"") -> tuple[str, bytes]:
        head = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
        writer.write(head.encode() + body)
        answered = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = re.search(r"content-length: (\d+)", answered, re.I)
        return answered, await reader.readexactly(int(length[1]) if length else 0)

    answered, _ = await call("GET", f"/{path}")
    cookie = re.search(r"set-cookie: ([^;]+)", answered, re.I)
    assert cookie is not None, answered
    signed = f"Cookie: {cookie[1]}\r\n"
    _, page = await call("GET", "/", signed)
    bootstrap = re.search(r'id="bootstrap"[^>]*>(.*?)</script', page.decode(), re.S)
    assert bootstrap is not None
    signed += f"X-CSRF-Token: {json.loads(bootstrap[1])['csrf']}\r\nContent-Type: application/json\r\n"
    found = []
    await asyncio.sleep(random.uniform(0, arguments.pace))
    for _ in range(arguments.votes):
        task = json.loads((await call("POST", "/api/next", signed, b'{"hold": []}'))[1])["task"]
        sent = answer(task["task_id"], task["question_id"], [r["id"] for r in task["responses"]])
        await asyncio.sleep(random.uniform(0.5, 1.5) * arguments.pace)
        began = time.perf_counter()
        answered, _ = await call("POST", "/api/acts", signed, json.dumps(sent).encode())
        found.append(time.perf_counter() - began)
        assert " 200 " in answered.partition("\r\n")[0], answered
    writer.close()
    return found


def made_desk(ledger: SqlLedger, arguments: argparse.Namespace) -> Desk:
    """Return a desk with a question for each vote, of a paragraph a response."""
    paragraph = "A response of some length, as people read them. " * 20
    items = [
        Item(
            f"q{i}", "pair", (ItemMessage("user", "Which?"),), tuple(ItemResponse(f"q{i}{x}", paragraph) for x in "ab")
        )
        for i in range(arguments.people * arguments.votes + arguments.people)
    ]
    desk = Desk(Journal(ledger), Made(), DeskSettings())
    desk.rounds.open(OpenBatch(1, tuple(items)))
    return desk


def answer(task_id: str, question_id: str, shown: list[str]) -> dict[str, Any]:
    """Return an answer: the first displayed response wins."""
    return {
        "act_id": str(uuid4()),
        "task_id": task_id,
        "question_id": question_id,
        "shown": shown,
        "outcome": "prefer",
        "chosen": shown[0],
        "active_seconds": 1.0,
    }


def url_of(arguments: argparse.Namespace, folder: Path, name: str) -> str:
    """Return the URL of the database."""
    return str(arguments.store or f"sqlite:///{folder / name}.db")


def quantile(times: Sequence[float], share: float) -> float:
    """Return a quantile: the smallest time that at least that share does not exceed."""
    ordered = sorted(times)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


if __name__ == "__main__":
    main()
