"""A study served to people: its batches go to the desk, their answers to the study, its work to a child process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import Event as Flag
from typing import Any, final

from sqlalchemy import URL

from duelist.annotators.people import PeopleConfig
from duelist.recipe.round_plan import budgets
from duelist.seeding import derived_seed
from duelist.study.study import Study
from duelist.web.answer_sync import AnswerSync
from duelist.web.assignment import DeskSettings
from duelist.web.desk import Desk
from duelist.web.gold_file import read_gold
from duelist.web.items import Insight, Phase, Standing
from duelist.web.journal import Journal
from duelist.web.ledger import Ledger
from duelist.web.study_items import open_batch
from duelist.web.worker import Worker

LEDGER = "ledger.db"
# Seconds between looks at whether the server was told to stop.
LOOK = 0.5


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
        self._sync.run()

    @property
    def name(self) -> str:
        """Name of the study."""
        return self.study.recipe.name

    def standing(self) -> Standing:
        """Return where the study stands."""
        recipe, store = self.study.recipe, self.study.store
        closed = store.rounds_closed()
        left = sum(budgets(recipe)[closed:])
        answered = len(store.answered() & {x.question.id for x in store.asked() if x.round > closed})
        return Standing(self._phase, min(closed + 1, recipe.rounds), recipe.rounds, left - answered)

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
        self._phase = "finished"
        self._on_state("Every round is closed.")
        return True

    def _serve_round(self, worker: Worker) -> bool:
        study = self.study
        t = study.round
        if study.folder.stage(t, "select") is None:
            self._tell(f"Round {t}: choosing the questions.", "training")
            if not worker.run("ask", self._stopping.is_set):
                return False
        self._offer(t)
        if study.recipe.lookahead and study.folder.stage(t + 1, "select") is None and t + 1 <= study.last_round:
            self._tell(f"Round {t}: people answer; the next questions are chosen meanwhile.", "labelling")
            if not worker.run("ask_ahead", self._stopping.is_set):
                return False
        if study.recipe.lookahead and t + 1 <= study.last_round:
            self._offer(t + 1)
        self._tell(f"Round {t}: people answer.", "labelling")
        while t not in self.journal.record.closed and self.desk.rounds.unfinished(t) > 0:
            self.desk.rounds.wait_done(t, LOOK)
            self._sync.run()
            if self._stopping.is_set():
                return False
        self.desk.rounds.close(t)
        self._sync.run()
        self._tell(f"Round {t}: training on the answers.", "training")
        return self._while_training(worker)

    def _while_training(self, worker: Worker) -> bool:
        done = worker.run("update", self._interrupted)
        self._sync.run()
        return done

    def _interrupted(self) -> bool:
        self._sync.run()  # answers to the next round's questions, if there are any already
        return self._stopping.is_set()

    def _offer(self, t: int) -> None:
        self.desk.rounds.open(open_batch(self.study.store.batch(t)))

    def _tell(self, text: str, phase: Phase) -> None:
        self._phase = phase
        self._on_state(text)
