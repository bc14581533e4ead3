"""The desk's answers, one case at a time."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import Future
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from desk_world import Clock, FakeSource, MemoryLedger, act, answers, batch, desk_with, gold, item, task_of

from duelist.errors import RecipeError, StorageError
from duelist.web.assignment import DeskSettings, display_order, places
from duelist.web.counting import CLOSED, FULL, LATE, TAKEN, TWICE
from duelist.web.desk import Desk
from duelist.web.items import OpenBatch
from duelist.web.journal import Journal
from duelist.web.ledger import Event, Receipt
from duelist.web.record import derive
from duelist.web.refusals import RefusedError
from duelist.web.tasks import ImportedAnswer, Wait


def refused(code: str) -> Any:
    """A refusal with this code."""
    return pytest.raises(RefusedError, check=lambda error: error.code == code)


def test_questions_come_in_pick_order_to_one_person_each() -> None:
    desk = desk_with(3)
    given = [task_of(desk.next(who)).item.id for who in ("ann", "bob", "cid")]
    assert given == ["r1q0", "r1q1", "r1q2"]
    assert desk.next("dan") == Wait("others_labelling")


def test_a_reload_brings_the_same_question_on_the_same_sides() -> None:
    desk = desk_with(3)
    first = task_of(desk.next("ann"))
    assert desk.next("ann") == first
    assert task_of(desk.next("ann", hold=[first.item.id])).item.id == "r1q1", "the page fetches ahead"


def test_a_batch_is_done_when_all_questions_are_answered() -> None:
    desk = desk_with(2)
    for outcome in ("prefer", "skip"):
        assert not desk.rounds.wait_done(1, timeout=0)
        desk.act("ann", act(task_of(desk.next("ann")), outcome))
    assert desk.rounds.wait_done(1) and desk.next("ann") == Wait("others_labelling")
    assert [a.sent["outcome"] for a in desk.rounds.close(1)] == ["prefer", "skip"]
    assert desk.next("ann") == Wait("training")
    finished = desk_with(0, source=FakeSource(phase="finished")).next("ann")
    assert isinstance(finished, Wait) and finished.reason == "finished"


def test_overlap_asks_so_many_people_and_nobody_twice() -> None:
    desk = desk_with(2, DeskSettings(labels=2))
    for _ in range(2):
        for who in ("ann", "bob", "cid"):
            found = desk.next(who)
            if not isinstance(found, Wait):
                desk.act(who, act(found))
    assert sorted(map(len, answers(desk).values())) == [2, 2]
    assert all(len(set(people)) == 2 for people in answers(desk).values())


def test_the_overlap_fraction_is_about_that_fraction_and_fixed() -> None:
    settings = DeskSettings(labels=1, overlap_labels=3, overlap_fraction=0.25)
    record = derive([])
    k = [places(record, settings, f"q{i}") for i in range(2000)]
    assert k == [places(record, settings, f"q{i}") for i in range(2000)]
    assert set(k) == {1, 3} and 420 < k.count(3) < 580  # 500 ± 4 standard deviations of 19


def test_display_order_is_a_fair_coin_of_question_person_and_repeat() -> None:
    pairs = [item(f"q{i}") for i in range(1000)]
    left = Counter(display_order(0, x, who, r)[0][-1] for x in pairs for who in ("ann", "bob") for r in (0, 1))
    assert 1874 < left["a"] < 2126  # 2000 ± 4 standard deviations of 31.6
    differs = sum(display_order(0, x, "ann", 0) != display_order(0, x, "bob", 0) for x in pairs)
    assert 436 < differs < 564
    ranking = item("q", "ranking", 4)
    orders = {display_order(0, item(f"q{i}", "ranking", 4), "ann", 0)[0][-1] for i in range(50)}
    assert orders == {"a", "b", "c", "d"} and sorted(display_order(0, ranking, "ann", 0)) == list(ranking.response_ids)


def test_a_lease_that_ran_out_goes_to_another_and_the_late_vote_is_kept() -> None:
    clock = Clock()
    desk = desk_with(1, DeskSettings(lease_seconds=60), clock=clock)
    late = task_of(desk.next("ann"))
    clock.forward(61)
    assert task_of(desk.next("bob")).item.id == late.item.id
    told = desk.act("ann", act(late))
    assert (told.counts, told.note) == (False, TAKEN)
    assert desk.act("bob", act(task_of(desk.next("bob")))).counts
    assert answers(desk) == {"r1q0": ["bob"]}
    assert len(desk.journal.record.acts) == 2, "no vote vanishes"


def test_a_late_vote_counts_while_the_place_is_free() -> None:
    clock = Clock()
    desk = desk_with(1, DeskSettings(lease_seconds=60), clock=clock)
    late = task_of(desk.next("ann"))
    clock.forward(61)
    desk.next("ann", hold=["r1q0"])  # notices that it ran out
    told = desk.act("ann", act(late))
    assert (told.counts, told.note) == (True, LATE) and answers(desk) == {"r1q0": ["ann"]}


def test_a_vote_after_the_round_closed_is_kept_and_does_not_count() -> None:
    desk = desk_with(2)
    task = task_of(desk.next("ann"))
    assert desk.rounds.close(1) == []
    told = desk.act("ann", act(task))
    assert (told.counts, told.note) == (False, CLOSED)
    assert desk.rounds.acts(1) == [] and len(desk.journal.record.acts) == 1


def test_two_tabs_of_one_person_give_one_answer() -> None:
    desk = desk_with(2, DeskSettings(labels=2))
    task = task_of(desk.next("ann"))
    assert desk.next("ann") == task, "the other tab shows the same"
    first = act(task)
    assert desk.act("ann", first).counts
    told = desk.act("ann", act(task, chosen=task.lease.shown[1]))
    assert (told.counts, told.note) == (False, TWICE)
    assert [a.id for a in desk.rounds.acts(1)] == [first["act_id"]]


def test_the_same_act_sent_again_is_recorded_once() -> None:
    desk = desk_with(2)
    sent = act(task_of(desk.next("ann")))
    assert not desk.act("ann", sent).duplicate
    assert desk.act("ann", dict(sent)).duplicate and len(desk.rounds.acts(1)) == 1
    with refused("act_conflict"):
        desk.act("ann", sent | {"outcome": "tie", "chosen": ""})
    with refused("act_conflict"):
        desk.act("bob", sent)


def test_undo_gives_the_question_again_as_it_was() -> None:
    desk = desk_with(2)
    task = task_of(desk.next("ann"))
    sent = act(task)
    desk.act("ann", sent)
    undo_id = str(UUID(int=7))
    undone = desk.undo("ann", undo_id, sent["act_id"])
    assert undone.previous == sent and undone.task.lease.shown == task.lease.shown
    assert desk.rounds.acts(1) == [] and desk.history("ann") == []
    assert desk.undo("ann", undo_id, sent["act_id"]) == undone, "sent again"
    assert desk.next("ann") == undone.task
    with refused("already_undone"):
        desk.undo("ann", str(UUID(int=8)), sent["act_id"])
    desk.act("ann", act(undone.task, "tie"))
    assert [a.sent["outcome"] for a in desk.rounds.acts(1)] == ["tie"]


def test_an_answer_from_another_tab_after_an_undo_takes_the_place_that_is_held() -> None:
    desk = desk_with(1, DeskSettings(labels=2))
    task = task_of(desk.next("ann"))
    sent = act(task)
    desk.act("ann", sent)
    again = desk.undo("ann", str(UUID(int=5)), sent["act_id"]).task
    told = desk.act("ann", act(task, "tie"))  # a tab that was open before the undo
    assert (told.counts, told.note) == (True, "")
    assert desk.journal.record.open_of("ann") == [], "nobody holds two places"
    assert desk.act("ann", act(again)).note == TWICE


def test_undo_ends_when_the_round_is_closed_and_is_for_own_answers() -> None:
    desk = desk_with(2)
    sent = act(task_of(desk.next("ann")))
    desk.act("ann", sent)
    new = str(UUID(int=9))
    with refused("unknown_act"):
        desk.undo("bob", new, sent["act_id"])
    desk.rounds.close(1)
    with refused("too_late"):
        desk.undo("ann", new, sent["act_id"])
    assert len(desk.rounds.acts(1)) == 1


def test_a_lease_of_another_cannot_be_answered() -> None:
    desk = desk_with(2)
    task = task_of(desk.next("ann"))
    with refused("unknown_task"):
        desk.act("bob", act(task))
    with refused("unknown_task"):
        desk.act("ann", act(task, task_id="lease-made-up"))
    with refused("unknown_task"):
        desk.shown("bob", task.lease.id, task.item.id, task.lease.shown)


def test_what_was_displayed_is_stored_as_the_page_says() -> None:
    desk = desk_with(1)
    task = task_of(desk.next("ann"))
    turned = list(reversed(task.lease.shown))
    desk.act("ann", act(task, chosen=turned[0], shown=turned))
    stored = desk.rounds.acts(1)[0].sent
    assert stored["shown"] == turned and stored["chosen"] == turned[0]


def test_gold_and_repeats_are_mixed_in_and_never_count_for_training() -> None:
    settings = DeskSettings(gold_rate=0.2, repeat_rate=0.2, repeat_gap=3)
    desk = desk_with(200, settings, gold=[gold(f"g{i}") for i in range(100)])
    purposes: Counter[str] = Counter()
    for _ in range(250):
        found = desk.next("ann")
        if isinstance(found, Wait):
            break
        purposes[found.lease.purpose] += 1
        told = desk.act("ann", act(found))
        assert told.counts and told.note == "", "nothing tells them apart"
    acts = desk.rounds.acts(1)
    assert len(acts) == purposes["question"] and len({a.question_id for a in acts}) == len(acts)
    total = sum(purposes.values())
    assert 0.1 < purposes["gold"] / total < 0.3 and 0.1 < purposes["repeat"] / total < 0.3
    repeats = [a.question_id for a in desk.journal.record.acts_of("ann") if a.purpose == "repeat"]
    assert len(set(repeats)) == len(repeats)
    leases = [desk.journal.record.leases[i] for i in desk.journal.record.given["ann"]]
    for n, lease in enumerate(leases):
        if lease.purpose == "repeat":
            before = next(i for i, x in enumerate(leases) if x.question_id == lease.question_id)
            assert n - before >= 3


def test_gold_knows_its_answer() -> None:
    known = gold("g")
    assert known.met_by({"outcome": "prefer", "chosen": "g-a"})
    assert not known.met_by({"outcome": "prefer", "chosen": "g-b"}) and not known.met_by({"outcome": "tie"})


def test_disputed_questions_go_to_an_adjudicator_who_did_not_answer_them() -> None:
    desk = desk_with(3, DeskSettings(labels=2))
    for who, outcomes in {"ann": ("a", "a", "a"), "bob": ("a", "b", "tie")}.items():
        for outcome in outcomes:
            task = task_of(desk.next(who))
            chosen = f"{task.item.id}-{outcome}"
            desk.act(who, act(task, "tie") if outcome == "tie" else act(task, chosen=chosen))
    assert [(x.id, score) for x, score in desk.rounds.disputed()] == [("r1q1", 1.0), ("r1q2", 0.5)]
    assert desk.next("ann", mode="adjudicate") == Wait("others_labelling")
    task = task_of(desk.next("eve", mode="adjudicate"))
    assert task.item.id == "r1q1" and task_of(desk.next("fay", mode="adjudicate")).item.id == "r1q2"
    assert desk.act("eve", act(task)).counts
    assert [a.annotator for a in desk.journal.record.adjudications("r1q1")] == ["eve"]
    assert desk.next("eve", mode="adjudicate") == Wait("others_labelling")
    assert all(len(people) == 2 for people in answers(desk).values()), "an adjudication takes no place"


def test_a_late_decision_counts_if_another_adjudicator_only_skipped() -> None:
    clock = Clock()
    desk = desk_with(1, DeskSettings(labels=2), clock=clock)
    for who, letter in (("ann", "a"), ("bob", "b")):
        desk.act(who, act(task_of(desk.next(who)), chosen=f"r1q0-{letter}"))
    desk.act("eve", act(task_of(desk.next("eve", mode="adjudicate")), "skip"))
    task = task_of(desk.next("fay", mode="adjudicate"))
    clock.forward(desk.settings.lease_seconds + 1)
    desk.next("ann")  # the lease ends
    assert desk.act("fay", act(task)).counts
    assert [a.annotator for a in desk.journal.record.adjudications("r1q0")] == ["fay"]


def test_adjudication_goes_on_after_the_round_closed() -> None:
    desk = desk_with(1, DeskSettings(labels=2))
    for who, letter in (("ann", "a"), ("bob", "b")):
        task = task_of(desk.next(who))
        desk.act(who, act(task, chosen=f"r1q0-{letter}"))
    desk.rounds.close(1)
    task = task_of(desk.next("eve", mode="adjudicate"))
    assert desk.act("eve", act(task)).counts


def test_while_a_round_trains_people_go_on_with_the_next_batch() -> None:
    desk = desk_with(1)
    desk.rounds.open(batch(2, 1))
    first = task_of(desk.next("ann"))
    second = task_of(desk.next("bob"))
    assert (first.lease.round, second.lease.round) == (1, 2)
    desk.act("ann", act(first))
    desk.rounds.close(1)
    assert desk.act("bob", act(second)).counts and answers(desk, 2) == {"r2q0": ["bob"]}


def test_a_failed_write_is_not_acknowledged_and_leaves_no_trace() -> None:
    class FullDisk(MemoryLedger):
        full = False

        def submit(self, events: Any) -> Future[list[Receipt]]:
            if not self.full:
                return super().submit(events)
            done: Future[list[Receipt]] = Future()
            done.set_exception(StorageError("disk full"))
            return done

        def recover(self) -> None:
            self.full = False

    ledger = FullDisk()
    desk = desk_with(2, ledger=ledger)
    task = task_of(desk.next("ann"))
    ledger.full, sent = True, act(task)
    with pytest.raises(StorageError):
        desk.act("ann", sent)
    assert desk.rounds.acts(1) == [] and desk.next("ann") == task
    assert not desk.act("ann", sent).duplicate and len(desk.rounds.acts(1)) == 1


def test_a_desk_that_starts_again_stands_where_it_stood() -> None:
    ledger = MemoryLedger()
    desk = desk_with(3, ledger=ledger)
    desk.act("ann", act(task_of(desk.next("ann"))))
    open_task = task_of(desk.next("ann"))
    again = desk_with(3, ledger=ledger)
    assert again.journal.record == desk.journal.record
    assert again.next("ann") == open_task


def test_progress_says_what_is_left() -> None:
    desk = desk_with(3)
    for seconds in (10.0, 30.0):
        desk.act("ann", act(task_of(desk.next("ann")), active_seconds=seconds))
    found = desk.progress("ann")
    assert (found.batch, found.batch_done, found.mine, found.seconds_median) == (3, 2, 2, 20.0)
    assert (found.budget_left, found.round, found.rounds) == (96, 1, 4)
    assert desk.progress("bob").mine == 0 and desk.progress("bob").seconds_median is None


def test_a_person_holds_at_most_so_many_questions() -> None:
    desk = desk_with(9, DeskSettings(open_leases=2))
    hold = [task_of(desk.next("ann")).item.id]
    hold.append(task_of(desk.next("ann", hold)).item.id)
    assert desk.next("ann", hold) == Wait("others_labelling")


WRONG = {
    "an id that is no UUID": {"act_id": "lease-1"},
    "an outcome of another type": {"outcome": "all_bad"},
    "no choice": {"chosen": ""},
    "a choice beside a tie": {"outcome": "tie"},
    "a response that was not asked": {"chosen": "other"},
    "a displayed order that is not the question's": {"shown": ["r1q0-a", "r1q0-a"]},
    "a better answer without both_bad": {"better": "so"},
    "a ranking of a pair": {"ranking": [["r1q0-a"]]},
}


@pytest.mark.parametrize("changes", WRONG.values(), ids=WRONG.keys())
def test_an_answer_that_does_not_fit_is_refused(changes: dict[str, Any]) -> None:
    desk = desk_with(1)
    sent = act(task_of(desk.next("ann"))) | {"chosen": "r1q0-a"} | changes
    with refused("invalid"):
        desk.act("ann", sent)
    assert desk.journal.record.acts == {}


RANKINGS: dict[str, tuple[Any, dict[str, Any], bool]] = {
    "complete": ("ranking", {"ranking": [["q-b"], ["q-a", "q-d"], ["q-c"]]}, True),
    "stopped early": ("ranking", {"ranking": [["q-b"]], "stopped": True}, True),
    "incomplete": ("ranking", {"ranking": [["q-b"]]}, False),
    "a response twice": ("ranking", {"ranking": [["q-b"], ["q-b"]], "stopped": True}, False),
    "an empty place": ("ranking", {"ranking": [["q-b"], []], "stopped": True}, False),
    "best and worst": ("best_worst", {"best": "q-a", "worst": "q-c"}, True),
    "best without worst": ("best_worst", {"best": "q-a"}, False),
    "best equal to worst": ("best_worst", {"best": "q-a", "worst": "q-a"}, False),
    "best of k": ("best_of_k", {"best": "q-a"}, True),
    "a worst nobody asked for": ("best_of_k", {"best": "q-a", "worst": "q-c"}, False),
    "a card that is not there": ("ranking", {"ranking": [["q-x"]], "stopped": True}, False),
}


@pytest.mark.parametrize(("asks", "changes", "fits"), RANKINGS.values(), ids=RANKINGS.keys())
def test_answers_to_more_than_two_responses(asks: Any, changes: dict[str, Any], fits: bool) -> None:
    desk = desk_with(0)
    desk.rounds.open(OpenBatch(1, (item("q", asks, 4),)))
    sent = act(task_of(desk.next("ann")), "ranked", **changes)
    if fits:
        assert desk.act("ann", sent).counts and desk.rounds.acts(1)[0].sent == sent
    else:
        with refused("invalid"):
            desk.act("ann", sent)


def test_settings_out_of_range_are_refused() -> None:
    for wrong in ({"labels": 0}, {"gold_rate": 1.5}, {"gold_rate": 0.4, "repeat_rate": 0.2}, {"lease_seconds": 0}):
        with pytest.raises(RecipeError):
            DeskSettings(**wrong)


def test_an_event_of_the_client_cannot_meet_one_of_the_server() -> None:
    ledger = MemoryLedger()
    desk = Desk(Journal(ledger, Clock()), FakeSource())
    desk.rounds.open(batch(1, 1))
    task = task_of(desk.next("ann"))
    with refused("invalid"):
        desk.act("ann", act(task, act_id=f"ended-{task.lease.id}"))
    assert [e.kind for e in ledger.recorded] == ["leased"] and isinstance(ledger.recorded[0], Event)


def test_answers_given_elsewhere_count_where_a_place_is_free() -> None:
    desk = desk_with(2)
    held = task_of(desk.next("ann"))
    sent = {"shown": ["r1q1-a", "r1q1-b"], "outcome": "prefer", "chosen": "r1q1-b"}
    one = ImportedAnswer("file", "r1q1", "label-1", sent)
    (added,) = desk.rounds.add([one])
    assert added.counts and desk.rounds.add([one]) == [added] and added.answer_id == "label-1"
    second = replace(one, answer_id="label-2")
    assert not desk.rounds.add([second])[0].counts, "a second answer of the same annotator"
    busy = ImportedAnswer("file", "r1q0", "label-3", {"shown": ["r1q0-a", "r1q0-b"], "outcome": "tie"})
    assert not desk.rounds.add([busy])[0].counts, "somebody is answering it"
    wrong = {
        "act_conflict": replace(one, sent=sent | {"chosen": "r1q1-a"}),
        "unknown_question": replace(one, question_id="other", answer_id="label-4"),
        "invalid": replace(one, question_id="r1q0", answer_id="label-5"),
    }
    written = desk.journal.record.number
    for code, bad in wrong.items():
        with refused(code) as found:
            desk.rounds.add([replace(busy, annotator="eve", answer_id="fine"), bad])
        assert found.value.position == 1 and desk.journal.record.number == written, "all or none"
    with refused("twice"):
        desk.rounds.add([replace(one, answer_id="label-6")], second=False)
    assert desk.history("file") == [], "the page of its own annotator does not undo it"
    with refused("unknown_act"):
        desk.undo("file", str(UUID(int=1)), added.id)
    desk.act("ann", act(held))
    assert answers(desk) == {"r1q1": ["file"], "r1q0": ["ann"]}
    desk.rounds.close(1)
    assert desk.rounds.add([replace(busy, annotator="late", answer_id="label-7")])[0].note == CLOSED


def test_answers_that_come_together_do_not_take_more_places_than_there_are() -> None:
    desk = desk_with(1, DeskSettings(labels=2))
    one = ImportedAnswer("ann", "r1q0", "1", {"shown": ["r1q0-a", "r1q0-b"], "outcome": "tie"})
    together = [
        one,
        one,
        replace(one, answer_id="2"),
        *(replace(one, annotator=x, answer_id=x) for x in ("bob", "cat")),
    ]
    found = desk.rounds.add(together)
    assert [(a.annotator, a.counts) for a in found] == [
        ("ann", True), ("ann", True), ("ann", False), ("bob", True), ("cat", False),
    ]  # fmt: skip
    assert [a.note for a in found[2:]] == [TWICE, "", FULL]
    with refused("twice"):
        desk.rounds.add([replace(one, annotator="dan", answer_id=x) for x in ("3", "4")], second=False)


def test_who_always_takes_the_first_displayed_prefers_each_response_half_the_time() -> None:
    desk = desk_with(400)
    for _ in range(400):
        desk.act("ann", act(task_of(desk.next("ann"))))
    won = Counter(a.sent["chosen"][-1] for a in desk.rounds.acts(1))
    assert 160 <= won["a"] <= 240 and won["a"] + won["b"] == 400
