"""A study served to people: its batches go to the desk, their answers to the study, its work to a child process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Event as Flag
from time import monotonic
from typing import Any, final

from sqlalchemy import URL

from duelist.annotators.people import PeopleConfig
from duelist.errors import DataError, StorageError
from duelist.labels import JUDGE_OUTCOMES
from duelist.recipe.round_plan import budgets
from duelist.seeding import derived_seed
from duelist.store.decisions import question_of
from duelist.study.study import Study
from duelist.types import Answer, Label
from duelist.web.answer_sync import AnswerSync
from duelist.web.assignment import DeskSettings
from duelist.web.characters import visible
from duelist.web.desk import Desk
from duelist.web.gold_file import read_gold
from duelist.web.items import Insight, Phase, Standing
from duelist.web.journal import Journal
from duelist.web.ledger import Ledger
from duelist.web.record import IMPORTED
from duelist.web.refusals import ImportRefusedError
from duelist.web.study_items import imported, open_batch
from duelist.web.told import read_told
from duelist.web.worker import Worker

LEDGER = "ledger.db"
# Seconds between looks at whether the server was told to stop.
LOOK = 0.5
# Seconds between lines about who answers and what is left.
NEWS = 15.0
# Seconds for which the server outlives the study: open pages ask every five seconds, and hear that it is finished.
FAREWELL = 7.0


def ledger_url(folder: Path) -> URL:
    """Return the URL of the ledger that lies in a study's folder."""
    return URL.create("sqlite", database=str(folder / LEDGER))


@final
class ServedStudy:
    """The loop of a study that people answer at the page, and what the server tells of it.

    Args:
        study: the open study.
        ledger: what people did.
        config: the settings of the `people` annotator.
        on_state: called with one sentence when something changes.
    """

    def __init__(
        self, study: Study, ledger: Ledger, config: PeopleConfig, on_state: Callable[[str], None] = lambda _: None
    ) -> None:
        self.study, self.config = study, config
        self._on_state = on_state
        self._stopping = Flag()
        self._phase: Phase = "training"
        self.journal = Journal(ledger)
        settings = DeskSettings(
            labels=config.labels,
            overlap_labels=config.overlap_labels,
            overlap_fraction=config.overlap_fraction,
            gold_rate=config.gold_rate if config.gold else 0.0,
            repeat_rate=config.repeat_rate,
            lease_seconds=config.lease_seconds,
            seed=derived_seed(study.recipe.seed, "desk"),
        )
        self.desk = Desk(self.journal, self, settings, read_gold(config.gold) if config.gold else [])
        self._sync = AnswerSync(self.journal, study.store)
        # Known here, for votes do not wait for the study's database.
        self._closed = study.store.rounds_closed()
        self._judged_in: dict[int, int] = {}  # questions that a judge labelled, by round
        self._open_asked()

    @property
    def name(self) -> str:
        """Name of the study."""
        return self.study.recipe.name

    def standing(self) -> Standing:
        """Return where the study stands."""
        recipe, closed = self.study.recipe, self._closed
        judged = sum(n for t, n in list(self._judged_in.items()) if t > closed)
        left = sum(budgets(recipe)[closed:]) - judged - self.desk.rounds.answered_after(closed)
        return Standing(self._phase, min(closed + 1, recipe.rounds), recipe.rounds, left)

    def insight(self) -> Insight:
        """Return what the owner should know about the study."""
        store = self.study.store
        selected = [s for s in store.stages() if s.name == "select"]
        latest: dict[str, Any] = dict(max(selected, key=lambda s: s.round).info) if selected else {}
        nats = latest.get("gain_nats")
        closed = store.rounds_closed()
        asked = sum(1 for x in store.asked() if x.round > closed)
        saved = sum(budgets(self.study.recipe)[closed:]) - asked
        return Insight(tuple(store.metrics()), nats if isinstance(nats, int | float) else None, max(saved, 0))

    def tell(self, path: Path) -> int:
        """Record the answers of a file (`duelist.web.told`), all or none; return how many are new.

        They become labels of the study wherever their questions stand, as with `Study.tell`. Those to an open batch
        take their places at the page as well.

        Raises:
            DataError: if the file cannot be read, or an answer cannot be recorded; it names the line.
        """
        questions = {x.question.id: x.question for x in self.study.store.asked() if x.round > 0}
        told = self._not_recorded(read_told(path, questions))
        judged = self._judged()
        for where, answer in told:
            if question_of(answer) in judged:
                raise DataError(
                    f"People answer what the judge does not, but in {where}, pair {question_of(answer)} has the "
                    "judge's label: leave it out. Nothing was recorded."
                )
        with self.journal.lock:
            known = {act.answer_id for act in self.journal.record.acts.values()}
        try:
            self.desk.rounds.add([imported(x, questions[question_of(x)]) for _, x in told], second=False)
        except ImportRefusedError as error:
            raise DataError(f"In {told[error.position][0]}: {error} Nothing was recorded.") from error
        self._sync.run()
        return len({x.id for _, x in told} - known)

    def _not_recorded(self, told: Sequence[tuple[str, Label | Answer]]) -> list[tuple[str, Label | Answer]]:
        """Return the answers of a file that the study has not, or has from a file: the desk compares those.

        Raises:
            DataError: if an id is that of another answer.
        """
        self._sync.run()
        stored = {x.id: x for x in self.study.store.acts()}
        with self.journal.lock:
            acts = self.journal.record.acts
            told_before = {x.id for _, x in told if IMPORTED + x.id in acts}
            at_the_page = {x.id for _, x in told if x.id in acts}
        found = [(where, x) for where, x in told if x.id in told_before or stored.get(x.id) != x]
        for where, x in found:
            if x.id not in told_before and (x.id in stored or x.id in at_the_page):
                raise DataError(
                    f"An id stands for one answer, but in {where}, {x.id!r} is that of another recorded one: give it "
                    "another id. Nothing was recorded."
                )
        return found

    def settle(self) -> None:
        """Record the last answers as labels, once the server takes no more."""
        self._sync.run()

    def stop(self) -> None:
        """End `run` soon; what is being computed is left, and computed again when the study goes on."""
        self._stopping.set()

    def run(self) -> bool:
        """Serve every round that is left, and return whether the study ended: not, if it was told to stop.

        Raises:
            DuelistError: if the study cannot be computed. Answers go on being taken until the server ends.
        """
        with Worker(self.study.folder.path, self._on_state) as worker:
            while self.study.rounds_left > 0:
                if not self._serve_round(worker):
                    return False
        self._say("Every round is closed.", "finished")
        self._stopping.wait(FAREWELL)
        return True

    def _serve_round(self, worker: Worker) -> bool:
        study = self.study
        t = study.round
        if not study.stages.is_asked(t):
            self._say(f"Round {t}: choosing the questions.", "training")
            if not worker.run("ask", self._interrupted):
                return False
        self._offer(t)
        if study.recipe.lookahead and not study.stages.is_asked(t + 1) and t + 1 <= study.last_round:
            self._say(f"Round {t}: people answer; the next questions are chosen meanwhile.", "labelling")
            if not worker.run("ask_ahead", self._interrupted):
                return False
        if study.recipe.lookahead and t + 1 <= study.last_round:
            self._offer(t + 1)
        self._say(self._progress(t), "labelling")
        said = monotonic()
        while t not in self.journal.record.closed and self.desk.rounds.unfinished(t) > 0:
            self.desk.rounds.wait_done(t, LOOK)
            self._sync.run()
            if monotonic() > said + NEWS:
                self._say(self._progress(t), "labelling")
                said = monotonic()
            if self._stopping.is_set():
                return False
        self.desk.rounds.close(t)
        self._sync.run()
        self._say(f"Round {t}: training on the answers.", "training")
        done = worker.run("update", self._interrupted)
        self._closed = study.store.rounds_closed()
        self._sync.run()
        return done

    def _interrupted(self) -> bool:
        self._sync.run()  # people go on with questions that are open, if there are any
        return self._stopping.is_set()

    def _progress(self, t: int) -> str:
        """Return who is answering, and what is left of a round."""
        left = self.desk.rounds.unfinished(t)
        with self.journal.lock:
            who = sorted({x.annotator for x in self.journal.record.open_leases()})
        names = f" (now: {', '.join(map(visible, who))})" if who else ""
        return f"Round {t}: people answer{names}; {left} of {self.desk.rounds.size(t)} questions are left."

    def _open_asked(self) -> None:
        """Bring the desk to where the study stands: its batches, and answers that were told without the server.

        Raises:
            StorageError: if the ledger is that of another study.
        """
        store = self.study.store
        asked = {x.question.id: x for x in store.asked() if x.round > 0}  # of round 0: known before
        leases = self.journal.record.leases.values()
        if foreign := [x.question_id for x in leases if x.purpose == "question" and x.question_id not in asked]:
            raise StorageError(
                f"A ledger belongs to one study, but this one has answers to {foreign[0]!r}, which {self.name!r} never "
                "asked: give each study a database of its own."
            )
        for t in sorted({x.round for x in asked.values()}):
            if self.study.stages.is_asked(t):  # not yet, if the judge was interrupted
                self._offer(t)
        self._sync.run()
        known = {act.answer_id for act in self.journal.record.acts.values()}
        judged = self._judged()
        # Vote counts are nobody's act, and a judge's unusable verdict answers nothing.
        told = [x for x in store.current_answers() if x.id not in known and x.outcome not in JUDGE_OUTCOMES]
        told = [x for x in told if question_of(x) in asked and question_of(x) not in judged]
        others = [x for x in told if not (isinstance(x, Label) and x.votes)]
        self.desk.rounds.add([imported(x, asked[question_of(x)].question) for x in others])
        for t in range(1, store.rounds_closed() + 1):
            self.desk.rounds.close(t)

    def _offer(self, t: int) -> None:
        """Offer a round's questions, except those that a judge has labelled."""
        batch, judged = self.study.store.batch(t), self._judged()
        left = [q.id for q in batch.questions if q.id not in judged]
        self._judged_in[t] = len(batch.questions) - len(left)
        self.desk.rounds.open(open_batch(batch.only(left)))

    def _judged(self) -> set[str]:
        """Return the ids of the pairs on which a judge's label counts; an unusable verdict leaves a pair to people."""
        labels = self.study.store.current_labels()
        return {x.pair_id for x in labels if x.judgement is not None and x.outcome not in JUDGE_OUTCOMES}

    def _say(self, text: str, phase: Phase) -> None:
        self._phase = phase
        self._on_state(text)
