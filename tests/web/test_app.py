"""The JSON API and the pages, as a browser uses them."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import anyio.to_thread
import pytest
from desk_world import Clock, batch, desk_with, item
from http_world import BASE, bootstrap_of, sent, world

from duelist.web.assignment import DeskSettings
from duelist.web.items import OpenBatch
from duelist.web.page_settings import KEYS, PageSettings


def test_a_person_labels_a_batch() -> None:
    place = world()
    ann = place.person("ann")
    for n in range(3):
        found = ann.next()
        assert found["wait"] is None and found["progress"]["batch_done"] == n
        told = ann.post("/api/acts", sent(found["task"]))
        assert told.status_code == 200
        assert told.json()["recorded"] and told.json()["counts"] and not told.json()["duplicate"]
        assert told.json()["progress"]["batch_done"] == n + 1
    assert ann.next() == {
        "task": None,
        "wait": {"reason": "others_labelling", "retry_seconds": 5},
        "progress": told.json()["progress"],
    }
    assert [a.annotator for a in place.desk.rounds.acts(1)] == ["ann"] * 3


def test_a_task_shows_its_responses_in_displayed_order() -> None:
    place = world()
    ann = place.person("ann")
    task = ann.next()["task"]
    lease = place.desk.journal.record.leases[task["task_id"]]
    assert [r["id"] for r in task["responses"]] == list(lease.shown)
    assert task["prompt"] == [{"role": "user", "html": "<p>Question r1q0?</p>\n", "text": "Question r1q0?"}]
    assert task["responses"][0]["html"].startswith("<p>answer") and task["responses"][0]["direction"] == "auto"


def test_the_bootstrap_is_that_of_the_contract() -> None:
    settings = PageSettings(strength=True, reasons=("more correct",), guidelines="# Be fair")
    found = world(settings=settings).person("ann").open("/")
    assert found.pop("csrf")
    assert found == {
        "study": "made-up",
        "annotator": {"name": "ann", "role": "annotator"},
        "keys": {action: list(keys) for action, keys in KEYS.items()},
        "strength": True,
        "reasons": ["more correct"],
        "comment": True,
        "write_better": False,
        "guidelines_html": '<p class="heading-1">Be fair</p>\n',
        "idle_after_seconds": 60.0,
    }


def test_sending_again_undo_and_history() -> None:
    ann = world().person("ann")
    first = sent(ann.next()["task"], comment="why")
    assert not ann.post("/api/acts", first).json()["duplicate"]
    assert ann.post("/api/acts", first).json()["duplicate"]
    conflict = ann.post("/api/acts", first | {"outcome": "tie", "chosen": None})
    assert (conflict.status_code, conflict.json()["error"]) == (409, "act_conflict")
    assert [a["act_id"] for a in ann.get("/api/history").json()["acts"]] == [first["act_id"]]
    undone = ann.post("/api/undo", {"act_id": str(UUID(int=1)), "undoes": first["act_id"]})
    assert undone.json()["previous"] == first, "as it was sent"
    assert undone.json()["task"]["question_id"] == first["question_id"]
    assert [r["id"] for r in undone.json()["task"]["responses"]] == first["shown"]
    assert ann.get("/api/history").json() == {"acts": []}


def test_undo_after_the_round_is_too_late() -> None:
    place = world()
    ann = place.person("ann")
    first = sent(ann.next()["task"])
    ann.post("/api/acts", first)
    place.desk.rounds.close(1)
    late = ann.post("/api/undo", {"act_id": str(UUID(int=1)), "undoes": first["act_id"]})
    assert (late.status_code, late.json()["error"]) == (409, "too_late")


def test_what_came_on_screen_is_recorded_once() -> None:
    place = world()
    ann = place.person("ann")
    task = ann.next()["task"]
    body = {k: task[k] for k in ("task_id", "question_id")} | {"shown": [r["id"] for r in task["responses"]]}
    for _ in range(2):
        assert ann.post("/api/shown", body).status_code == 200
    assert [e.kind for e in place.desk.journal.record.events.values()].count("shown") == 1


def test_a_session_that_expired_and_its_renewal() -> None:
    clock = Clock()
    place = world(desk_with(3, clock=clock), session_seconds=3600)
    ann = place.person("ann")
    act = sent(ann.next()["task"])
    clock.forward(3600)
    refused = ann.post("/api/acts", act)
    assert (refused.status_code, refused.json()["error"]) == (401, "session_expired")
    page = ann.get("/")
    assert page.status_code == 401 and "personal link again" in page.text
    ann.client.get(f"/join/{place.roster.invite('ann', 'annotator')}")
    stale = ann.post("/api/acts", act)
    assert (stale.status_code, stale.json()["error"]) == (403, "csrf")
    ann.open("/")
    assert ann.post("/api/acts", act).json()["counts"]


def test_revoking_ends_sessions_and_links_at_once() -> None:
    place = world()
    ann, owner = place.person("ann"), place.person("olga", "owner")
    link = owner.post("/api/owner/invite", {"name": "bob", "role": "annotator"}).json()["link"]
    assert link.startswith(f"{BASE}/join/")
    ann.next()
    assert owner.post("/api/owner/revoke", {"name": "ann"}).status_code == 200
    assert ann.post("/api/next", {"hold": []}).status_code == 401
    assert place.desk.journal.record.open_leases() == []
    assert owner.post("/api/owner/revoke", {"name": "bob"}).status_code == 200
    assert place.browser().get(link.removeprefix(BASE)).status_code == 404
    again = place.person("ann")
    assert again.next()["task"] is not None
    assert owner.post("/api/owner/revoke", {"name": "olga"}).json()["error"] == "yourself"
    assert owner.post("/api/owner/revoke", {"name": "nobody"}).status_code == 404


def test_pause_and_overlap() -> None:
    place = world()
    ann, bob, owner = place.person("ann"), place.person("bob"), place.person("olga", "owner")
    task = ann.next()["task"]
    owner.post("/api/owner/pause", {"paused": True})
    assert bob.next()["wait"]["reason"] == "paused"
    assert ann.post("/api/acts", sent(task)).json()["counts"], "who has a question may answer it"
    owner.post("/api/owner/pause", {"paused": False})
    assert owner.post("/api/owner/overlap", {"question_id": "r1q0", "labels": 2}).status_code == 200
    assert bob.next()["task"]["question_id"] == "r1q0"
    assert owner.post("/api/owner/overlap", {"question_id": "r1q0", "labels": 1}).status_code == 422
    assert owner.post("/api/owner/overlap", {"question_id": "other", "labels": 2}).status_code == 404
    place.desk.rounds.close(1)
    assert owner.post("/api/owner/overlap", {"question_id": "r1q0", "labels": 3}).json()["error"] == "too_late"


def test_roles_see_what_is_theirs() -> None:
    place = world(desk_with(2, DeskSettings(labels=2)))
    people = [place.person("ann"), place.person("bob")]
    for person, which in zip(people, (0, 1), strict=True):
        for _ in range(2):
            task = person.next()["task"]
            chosen = sorted(r["id"] for r in task["responses"])[which]
            person.post("/api/acts", sent(task, chosen=chosen))
    ann, eve = people[0], place.person("eve", "adjudicator")
    assert eve.get("/").headers["location"] == "/adjudicate"
    assert eve.open("/adjudicate")["annotator"]["role"] == "adjudicator"
    task = eve.next()["task"]
    assert task["question_id"] == "r1q0" and "votes" not in task
    assert eve.post("/api/acts", sent(task)).json()["counts"]
    assert ann.get("/adjudicate").status_code == 403 and ann.get("/owner").status_code == 403
    for path in ("/api/owner/state", "/owner/events"):
        assert ann.get(path).json()["error"] == "forbidden" and eve.get(path).status_code == 403
    assert ann.post("/api/owner/pause", {"paused": True}).status_code == 403
    assert not place.desk.journal.record.paused


def test_an_owner_may_label_and_adjudicate() -> None:
    place = world()
    owner = place.person("olga", "owner", "/")
    assert owner.next()["task"]["question_id"] == "r1q0"
    assert owner.open("/adjudicate")["annotator"]["role"] == "adjudicator"
    assert owner.next()["task"] is None, "nothing is disputed"


@pytest.mark.parametrize(
    "body",
    [{}, {"hold": ["x"] * 65}, {"hold": [1]}, {"hold": [], "more": 1}, {"hold": ["a b"]}, [], "x", None],
)
def test_bodies_of_another_form_are_refused(body: Any) -> None:
    ann = world().person("ann")
    found = ann.post("/api/next", body)
    if body == {}:
        assert found.status_code == 200
    else:
        assert found.status_code == 422 and set(found.json()) == {"error", "message"}


@pytest.mark.parametrize("body", [b"{", b"\xff", b'{"hold": ["\\ud800"]}', b"[" * 30_000, b'{"hold": NaN}', b""])
def test_bodies_that_are_no_json_are_refused(body: bytes) -> None:
    ann = world().person("ann")
    headers = {"X-CSRF-Token": ann.csrf, "Content-Type": "application/json"}
    assert ann.client.post("/api/next", content=body, headers=headers).status_code in (400, 422)


def test_hostile_values_of_an_act_are_stored_or_refused_never_an_error() -> None:
    ann = world().person("ann")
    task = ann.next()["task"]
    for changes in ({"comment": "\ud800"}, {"active_seconds": float("1e300")}, {"act_id": "x"}, {"shown": []}):
        raw = json.dumps(sent(task) | changes)
        found = ann.client.post(
            "/api/acts", content=raw, headers={"X-CSRF-Token": ann.csrf, "Content-Type": "application/json"}
        )
        assert found.status_code == 422, (changes, found.text)
    kept = sent(task, comment="NUL \0, \u202e, <b>, \U0001f600")
    assert ann.post("/api/acts", kept).json()["recorded"]


def test_rankings_over_http() -> None:
    desk = desk_with(0)
    desk.rounds.open(OpenBatch(1, (item("q", "ranking", 4),)))
    ann = world(desk).person("ann")
    task = ann.next()["task"]
    ids = [r["id"] for r in task["responses"]]
    answer = sent(
        task, "ranked", ranking=[[ids[2]], ids[:2], [ids[3]]], placed=[{"id": ids[2], "seconds": 1.5}], stopped=False
    )
    assert ann.post("/api/acts", answer).json()["counts"]
    assert desk.rounds.acts(1)[0].sent == answer


def test_the_dashboard_has_the_numbers() -> None:
    place = world(
        desk_with(2, DeskSettings(labels=2)),
        settings=PageSettings(hourly_wage=36.0),
        statistics=lambda acts: {"alpha": 0.25, "answers": len(acts)},
    )
    owner = place.person("olga", "owner")
    for person, which in ((place.person("ann"), 0), (place.person("bob"), 1)):
        task = person.next()["task"]
        chosen = sorted(r["id"] for r in task["responses"])[which]
        person.post("/api/acts", sent(task, chosen=chosen, active_seconds=10.0))
    state = owner.get("/api/owner/state").json()
    assert state["batch"] == {"size": 2, "done": 1, "open_leases": 0}
    assert state["labels"]["answers"] == 2 and state["labels"]["hours"][-1]["labels"] == 2
    assert state["cost"]["total"] == {"acts": 2, "seconds": 20.0, "money": pytest.approx(0.2)}
    assert state["cost"]["by_purpose"]["overlap"]["acts"] == 1
    assert state["agreement"] == {"pairwise": 0.0, "compared": 1, "alpha": 0.25, "answers": 2}
    assert [d["question_id"] for d in state["disputed"]] == ["r1q0"] and state["disputed"][0]["dispute"] == 1.0
    assert [a["name"] for a in state["annotators"]] == ["olga", "ann", "bob"]
    assert state["stopping"] is None and state["curve"] == []
    page = owner.get("/owner")
    assert bootstrap_of(page.text)["name"] == "olga"


def test_the_dashboard_follows_answers_that_are_taken_back() -> None:
    place = world(desk_with(1, DeskSettings(labels=2)))
    owner, people = place.person("olga", "owner"), [place.person("ann"), place.person("bob")]
    for person in people:
        task = person.next()["task"]
        body = sent(task, chosen=min(r["id"] for r in task["responses"]))
        person.post("/api/acts", body)
    assert owner.get("/api/owner/state").json()["agreement"] == {"pairwise": 1.0, "compared": 1}
    undo = {"act_id": sent(task)["act_id"], "undoes": body["act_id"]}
    again = people[1].post("/api/undo", undo).json()["task"]
    state = owner.get("/api/owner/state").json()
    assert state["agreement"] == {"pairwise": None, "compared": 0} and state["annotators"][2]["open"] == 1
    people[1].post("/api/acts", sent(again, chosen=max(r["id"] for r in task["responses"])))
    state = owner.get("/api/owner/state").json()
    assert state["agreement"] == {"pairwise": 0.0, "compared": 1} and len(state["disputed"]) == 1


def test_a_vote_takes_one_turn_of_another_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    ann = world().person("ann")
    task = ann.next()["task"]
    turns: list[object] = []
    run_sync = anyio.to_thread.run_sync

    async def counted(function: Any, *arguments: Any, **options: Any) -> Any:
        turns.append(function)
        return await run_sync(function, *arguments, **options)

    monkeypatch.setattr(anyio.to_thread, "run_sync", counted)
    assert ann.post("/api/acts", sent(task)).json()["recorded"] is True
    assert len(turns) == 1


def test_a_script_is_asked_for_again_and_sent_if_it_changed() -> None:
    ann = world().person("ann")
    script = ann.get("/static/main.js")
    assert script.headers["cache-control"] == "no-cache", "the page of an older version must not stay in use"
    again = ann.client.get("/static/main.js", headers={"If-None-Match": script.headers["etag"]})
    assert again.status_code == 304
    assert ann.get("/").headers["cache-control"] == "no-store"


def test_unknown_paths_and_methods() -> None:
    ann = world().person("ann")
    assert ann.get("/nothing").json()["error"] == "not_found"
    assert ann.client.put("/api/next").status_code == 405


def test_two_batches_are_open_at_once() -> None:
    place = world()
    place.desk.rounds.open(batch(2, 1))
    ann = place.person("ann")
    hold: list[str] = []
    for _ in range(4):
        hold.append(ann.next(*hold)["task"]["question_id"])
    assert hold == ["r1q0", "r1q1", "r1q2", "r2q0"]
