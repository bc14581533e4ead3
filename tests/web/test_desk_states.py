"""The desk under every order of what people, the clock and the owner may do."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

from desk_world import Clock, FakeSource, MemoryLedger, act, batch, gold, uuid
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from duelist.web.assignment import DeskSettings, places
from duelist.web.desk import Desk
from duelist.web.journal import Journal
from duelist.web.record import derive
from duelist.web.refusals import RefusedError
from duelist.web.roster import Roster
from duelist.web.tasks import ImportedAnswer, Task
from duelist.web.tokens import Secret

PEOPLE = st.sampled_from(["ann", "bob", "cid", "dan"])


class AnyOrder(RuleBasedStateMachine):
    """Four people in several tabs, an owner, a clock, restarts. Checked against each page's own notes."""

    @initialize(
        labels=st.integers(1, 3),
        gold_rate=st.sampled_from([0.0, 0.25]),
        repeat_rate=st.sampled_from([0.0, 0.25]),
        seed=st.integers(0, 5),
    )
    def start(self, labels: int, gold_rate: float, repeat_rate: float, seed: int) -> None:
        self.settings = DeskSettings(
            labels,
            gold_rate=gold_rate,
            repeat_rate=repeat_rate,
            repeat_gap=1,
            lease_seconds=60,
            open_leases=2,
            seed=seed,
        )
        self.rng = random.Random(seed)
        self.clock, self.ledger, self.rounds = Clock(), MemoryLedger(), 1
        self.tasks: dict[str, list[Task]] = {}
        self.noted: dict[str, dict[str, Any]] = {}  # every act that was acknowledged, as its page sent it
        self.told: dict[str, tuple[str, bool]] = {}
        self.undone: set[str] = set()
        self.desk = self.open_desk()

    def open_desk(self) -> Desk:
        known = [gold("g0"), gold("g1")]
        desk = Desk(Journal(self.ledger, self.clock), FakeSource(), self.settings, known)
        for t in range(1, self.rounds + 1):
            desk.rounds.open(batch(t, 3))
        return desk

    @rule(who=PEOPLE, held=st.booleans(), adjudicates=st.booleans())
    def ask(self, who: str, held: bool, adjudicates: bool) -> None:
        hold = [t.item.id for t in self.tasks.get(who, [])] if held else []
        found = self.desk.next(who, hold, "adjudicate" if adjudicates else "annotate")
        if isinstance(found, Task):
            assert found.item.id not in hold
            assert sorted(found.lease.shown) == sorted(found.item.response_ids)
            assert self.desk.journal.record.leases[found.lease.id].annotator == who
            self.tasks.setdefault(who, []).append(found)

    @precondition(lambda self: any(self.tasks.values()))
    @rule(data=st.data(), outcome=st.sampled_from(["prefer", "tie", "skip", "both_bad"]), second=st.booleans())
    def answer(self, data: st.DataObject, outcome: str, second: bool) -> None:
        """Answer any task that was ever given, however late."""
        who = data.draw(st.sampled_from(sorted(w for w, t in self.tasks.items() if t)))
        task = data.draw(st.sampled_from(self.tasks[who]))
        sent = act(task, outcome, chosen=task.lease.shown[int(second)], act_id=uuid(self.rng))
        told = self.desk.act(who, sent)
        assert not told.duplicate and (told.counts or told.note)
        self.noted[sent["act_id"]] = sent
        self.told[sent["act_id"]] = (who, told.counts)

    @precondition(lambda self: self.noted)
    @rule(data=st.data())
    def send_again(self, data: st.DataObject) -> None:
        act_id = data.draw(st.sampled_from(sorted(self.noted)))
        who, counts = self.told[act_id]
        told = self.desk.act(who, dict(self.noted[act_id]))
        assert told.duplicate and told.counts == counts

    @precondition(lambda self: self.noted)
    @rule(data=st.data())
    def take_back(self, data: st.DataObject) -> None:
        act_id = data.draw(st.sampled_from(sorted(self.noted)))
        who, counts = self.told[act_id]
        record = self.desk.journal.record
        allowed = counts and act_id not in self.undone and record.acts[act_id].round not in record.closed
        try:
            undone = self.desk.undo(who, uuid(self.rng), act_id)
        except RefusedError as error:
            assert not allowed, error.code
            return
        assert allowed and undone.previous == self.noted[act_id]
        self.undone.add(act_id)
        self.tasks[who].append(undone.task)

    @rule(seconds=st.sampled_from([10, 61]))
    def wait(self, seconds: int) -> None:
        self.clock.forward(seconds)

    @rule(i=st.integers(0, 2), more=st.integers(0, 2))
    def raise_overlap(self, i: int, more: int) -> None:
        question = f"r{self.rounds}q{i}"
        k = places(self.desk.journal.record, self.settings, question)
        Roster(self.desk, Secret(bytes(32))).raise_overlap(question, k + more)

    @rule(who=PEOPLE, i=st.integers(0, 2), outcome=st.sampled_from(["tie", "skip"]))
    def told_elsewhere(self, who: str, i: int, outcome: str) -> None:
        question = f"r{self.rounds}q{i}"
        answer = {"shown": [f"{question}-a", f"{question}-b"], "outcome": outcome}
        (added,) = self.desk.rounds.add([ImportedAnswer(who, question, uuid(self.rng), answer)])
        assert added.counts or added.note

    @precondition(lambda self: self.rounds < 3)
    @rule()
    def close_round(self) -> None:
        counted = self.desk.rounds.close(self.rounds)
        assert all(a.round == self.rounds for a in counted)
        self.closed_with = {a.id for a in counted}
        self.rounds += 1
        self.desk.rounds.open(batch(self.rounds, 3))

    @rule()
    def start_again(self) -> None:
        before = self.desk.journal.record
        self.desk = self.open_desk()
        assert self.desk.journal.record == before

    @invariant()
    def no_act_is_lost_or_doubled_or_changed(self) -> None:
        recorded = Counter(e.id for e in self.ledger.recorded if e.kind in ("voted", "skipped", "adjudicated"))
        assert recorded == Counter(self.noted.keys())
        for act_id, sent in self.noted.items():
            stored = self.desk.journal.record.acts[act_id]
            assert stored.sent == sent and stored.annotator == self.told[act_id][0]
            assert stored.undone == (act_id in self.undone) and stored.counts == self.told[act_id][1]
            assert not sent["chosen"] or sent["chosen"] in sent["shown"]

    @invariant()
    def never_more_than_k_and_nobody_twice(self) -> None:
        record = self.desk.journal.record
        for question in {x.question_id for x in record.leases.values()}:
            people = [a.annotator for a in record.answers(question)]
            assert record.answered.get(question, 0) == len(people)
            people += [
                x.annotator for x in record.open_leases() if (x.question_id, x.purpose) == (question, "question")
            ]
            assert len(people) <= places(record, self.settings, question) or question.startswith("g")
            assert len(set(people)) == len(people), "nobody has a question twice"
            adjudicators = {a.annotator for a in record.adjudications(question)}
            assert len(adjudicators) <= 1 and not adjudicators & {a.annotator for a in record.answers(question)}

    @invariant()
    def the_display_order_belongs_to_the_question_the_person_and_the_repeat(self) -> None:
        orders: dict[tuple[str, str, int], set[tuple[str, ...]]] = {}
        for x in self.desk.journal.record.leases.values():
            orders.setdefault((x.question_id, x.annotator, x.serial), set()).add(x.shown)
        assert all(len(found) == 1 for found in orders.values())

    @invariant()
    def the_state_is_what_the_ledger_says(self) -> None:
        assert derive(self.ledger.events()) == self.desk.journal.record


TestAnyOrder = AnyOrder.TestCase
