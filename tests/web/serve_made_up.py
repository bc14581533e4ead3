"""A server in a process of its own, to be killed: `python serve_made_up.py DATABASE_URL PORT QUESTIONS NAME...`.

Prints its address and a personal link for each name as one line of JSON, and serves until it is killed.
"""

from __future__ import annotations

import json
import sys
from threading import Event

from desk_world import FakeSource, batch
from http_world import SECRET

from duelist.web.assignment import DeskSettings
from duelist.web.desk import Desk
from duelist.web.journal import Journal
from duelist.web.serving import ServerSettings, serving
from duelist.web.sql_ledger import SqlLedger


def main(url: str, port: str, questions: str, *names: str) -> None:
    desk = Desk(Journal(SqlLedger(url)), FakeSource(), DeskSettings(labels=2, gold_rate=0.0))
    desk.rounds.open(batch(1, int(questions)))
    with serving(desk, SECRET, ServerSettings(port=int(port))) as served:
        links = {name: served.link(name, "annotator") for name in names}
        sys.stdout.write(json.dumps({"address": served.address, "links": links}) + "\n")
        sys.stdout.flush()
        Event().wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
