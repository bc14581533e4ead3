"""Answers at the page become the study's labels: derived from the ledger, told to the study, retracted if undone."""

from __future__ import annotations

from threading import RLock

from duelist.errors import StorageError
from duelist.store.store import Store
from duelist.types import Answer, Label, Retraction
from duelist.web.journal import Journal
from duelist.web.record import Act
from duelist.web.study_items import answer_of


class AnswerSync:
    """Brings a study's labels in line with the ledger. A label's id is that of its act, so it is recorded once."""

    def __init__(self, journal: Journal, store: Store) -> None:
        self._journal, self._store = journal, store
        self._lock = RLock()
        told = store.acts()
        self._told = {x.id for x in told if not isinstance(x, Retraction)}
        self._retracted = {x.retracts for x in told if isinstance(x, Retraction)}
        self._seen: tuple[int, int] | None = None  # derivation of the state, and number of its last event

    def run(self) -> int:
        """Record every answer that counts and is not recorded yet, and retract those undone; return their number.

        Nothing is told before it is safe in the ledger: a label whose act is lost would be told again by the page.
        """
        with self._lock:
            with self._journal.lock:
                written, record = self._journal.latest(), self._journal.record
                seen, acts = (written.derivation, record.number), tuple(record.acts.values())
            if seen == self._seen:
                return 0
            try:
                self._journal.settle(written)
            except StorageError:
                return 0  # whoever sent what is lost was told so, and sends it again
            questions = {x.question.id: x.question for x in self._store.asked()}
            new: list[Label | Answer | Retraction] = []
            for act in acts:
                if act.question_id not in questions:
                    continue
                if act.undone and act.id in self._told and act.id not in self._retracted:
                    new.append(Retraction(act.question_id, act.annotator, act.id, id=act.undone_by))
                elif trained_on(act) and act.answer_id not in self._told:
                    new.append(answer_of(act, questions[act.question_id]))
            if new:
                new.sort(key=lambda x: not isinstance(x, Retraction))  # a new answer follows the one taken back
                self._store.add_answers(new)
                self._told |= {x.id for x in new if not isinstance(x, Retraction)}
                self._retracted |= {x.retracts for x in new if isinstance(x, Retraction)}
            self._seen = seen
            return len(new)


def trained_on(act: Act) -> bool:
    """Return whether an act is a label of the study: it was not undone, and is no gold question or repeat.

    One at the page must count as well. One that was told is a label wherever its question stands, as with `Study.tell`.
    """
    return (act.counts or not act.lease) and not act.undone and act.purpose in ("question", "adjudicate")
