"""The algorithm box: ask, tell, update, run. Nothing else loops over rounds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from duelist.annotators.base import Annotator
from duelist.errors import RoundStateError, StorageError, user_code
from duelist.models.policy.process_state import torch_threads
from duelist.progress import Progress, Silent
from duelist.recipe.recipe import Recipe, completed, recipe_content, saved_recipe
from duelist.recipe.round_plan import is_evaluated
from duelist.seeding import derived_seed
from duelist.store.folder import StudyFolder
from duelist.store.opening import create_folder, open_folder
from duelist.study.stages import Stages
from duelist.types import Batch, Label


@dataclass(frozen=True)
class RoundReport:
    """What came of a round: its number, its metrics as in metrics.jsonl, what training said, and what the acquisition
    said about its choice."""

    round: int
    metrics: Mapping[str, Any]
    training: Mapping[str, float]
    selection: Mapping[str, Any] = field(default_factory=dict)


class Study:
    """Spends a labelling budget: asks which pairs to label, takes the labels, trains on them, and again.

    The one stateful object. Whatever it has done is on disk; a process that dies costs at most the stage in flight,
    never a label, and a study that is opened again goes on as if nothing had happened.

    Example:
        >>> study = Study.create("my-study", load_recipe("quickstart"))  # doctest: +SKIP
        >>> while study.rounds_left:  # doctest: +SKIP
        ...     batch = study.ask()
        ...     study.tell(my_annotators(batch))
        ...     report = study.update()
    """

    def __init__(self, folder: StudyFolder, progress: Progress | None = None) -> None:
        """Use `Study.create` or `Study.open`."""
        self.folder = folder
        self.recipe = saved_recipe(folder.recipe)
        self.store = folder.store
        self.progress = progress or Silent()
        self.stages = Stages(self.recipe, folder, self.progress)
        for wrong in self.store.damaged_labels():
            self.progress.note(f"Of what an earlier version recorded, {wrong}.")

    @staticmethod
    def create(folder: str | Path, recipe: Recipe, progress: Progress | None = None) -> Study:
        """Start a study in a new or empty folder.

        Raises:
            RecipeError: if the folder holds a study of another recipe.
            StudyLockedError: if another process works on it.
            StorageError: if the folder cannot be written, or its database lacks what its other files show.
        """
        return _with_folder(create_folder(Path(folder), recipe_content(recipe), completed), progress)

    @staticmethod
    def open(folder: str | Path, progress: Progress | None = None) -> Study:
        """Go on with a study.

        Raises:
            RecipeError: if the folder's recipe.yaml was changed since the study was begun.
            StorageError: if there is no study in the folder, or its database lacks what its other files show.
            StudyLockedError: if another process works on it.
        """
        return _with_folder(open_folder(Path(folder), completed), progress)

    def close(self) -> None:
        """Let other processes work on the study; from any thread, and again if you like.

        The files that users read are brought up to date first: preferences.jsonl has every label then. A closed study
        asks, records and trains nothing more.
        """
        self.folder.close()

    def __enter__(self) -> Study:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            self.close()
        except StorageError:
            if kind is None:  # else the error that ended the block says more
                raise

    @property
    def round(self) -> int:
        """The round in progress, from 1; one more than `recipe.rounds` when all are closed."""
        return self.store.rounds_closed() + 1

    @property
    def rounds_left(self) -> int:
        """Rounds that are not closed yet; fewer than the recipe's once the stopping rule has spoken."""
        return self.last_round + 1 - self.round

    @property
    def last_round(self) -> int:
        """The last round of the study, as far as is known: the recipe's, or the one the stopping rule ends with."""
        return self.stages.end.round

    @property
    def stopped(self) -> str | None:
        """Why the study ends before its last round, in words; None if it does not (or not yet)."""
        return self.stages.end.reason

    def ask(self) -> Batch:
        """The pairs to label this round: from sampling to selection. While a batch is pending, the same comes back.

        Raises:
            RoundStateError: if every round is closed, the stopping rule has ended the study, or it was closed.
            RecipeError: if the stopping rule needs a gain that the acquisition does not tell. Nothing is asked then.
            BudgetError: if the pool has fewer pairs than the budget.
        """
        self.folder.require_open()
        if self.rounds_left <= 0:
            closed = f"all {self.recipe.rounds} rounds are closed"
            why = f"the study stopped after round {self.last_round}: {self.stopped}" if self.stopped else closed
            raise RoundStateError(f"A round must be left to ask for, but {why}.")
        stages = self.stages
        with torch_threads(self.recipe.torch_threads):
            stages.measure_initial_model()
            t = self.round
            if self.folder.stage(t, "select") is None:
                past = [x.pair for x in self.store.asked()]
                prompts = stages.prompts(t)
                draws = stages.sample(t, prompts)
                candidates = stages.pair(t, draws, past)
                features = stages.featurize(t, candidates, past)
                stages.select(t, prompts, candidates, features)
            self.folder.discard_features(t)
            return self.store.batch(t)

    def tell(self, labels: Sequence[Label]) -> int:
        """Record labels, any number at a time, whenever they come. Nothing else happens.

        Of an annotator's labels for a pair, the one that arrives last counts. Whoever may tell a label again, not
        knowing whether it was recorded, keeps the `Label` or its id: the same id is the same act of labelling, and is
        recorded once. A `Label` that is made anew without an id is another act.

        Returns:
            How many were new; a label that is recorded already is passed over.

        Raises:
            LabelConflictError: if a label's id is recorded with other content. Then none of `labels` is recorded.
            DataError: if a label is for a pair that was never asked. Then none of `labels` is recorded.
            RoundStateError: if the study was closed. Then none of `labels` is recorded.
        """
        self.folder.require_open()
        return self.store.add_labels(labels)

    def unanswered(self) -> list[str]:
        """Ids of the pending batch's pairs that have no label yet, in pick order."""
        answered = self.store.answered()
        return [x.pair.id for x in self.store.asked(self.round) if x.pair.id not in answered]

    def update(self, allow_partial: bool = False) -> RoundReport:
        """Train on the labels, evaluate if it is due, and close the round.

        Every pair asked has used budget, whatever its outcome.

        Args:
            allow_partial: go on although pairs of this round are unanswered. Their labels still count when they come.

        Raises:
            RoundStateError: if nothing was asked, pairs are unanswered and `allow_partial` is false, or the study was
                closed.
        """
        self.folder.require_open()
        t = self.round
        if self.folder.stage(t, "select") is None:
            raise RoundStateError(
                f"Pairs must be asked before an update, but round {t} has none yet: call ask() first."
            )
        missing = self.unanswered()
        if missing and not allow_partial:
            raise RoundStateError(
                f"Every pair of round {t} must have a label, but {len(missing)} of {len(self.store.asked(t))} have "
                f"none (the first is {missing[0]}): tell() them, or call update(allow_partial=True)."
            )
        with torch_threads(self.recipe.torch_threads):
            training = self.stages.train(t)
            due = is_evaluated(self.recipe, t, self.last_round)
            measured = self.stages.evaluate(t).metrics if due else {}
        metrics = self.folder.close_round(t, {**measured, **self.stages.selected(t)})
        selected = self.folder.stage(t, "select")
        return RoundReport(t, metrics, training, {} if selected is None else selected.info)

    def run(self, annotator: Annotator | None = None, on_round: Callable[[RoundReport], None] | None = None) -> None:
        """Ask, annotate, tell, update, until no round is left.

        Args:
            annotator: who decides; the recipe's own by default. Only pairs that have no label yet are shown to it.
            on_round: called with each round's report.
        """
        self.folder.require_open()
        annotator = annotator or self.stages.components.annotator
        self.folder.derive()  # a full disk may have kept the last round from leaving its results
        while self.rounds_left > 0:
            batch = self.ask()
            missing = batch.only(self.unanswered())
            if missing.pairs:
                with torch_threads(self.recipe.torch_threads), user_code(annotator):
                    labels = annotator.annotate(missing, derived_seed(self.recipe.seed, "annotate"), self.progress)
                self.tell(labels)
            report = self.update()
            if on_round is not None:
                on_round(report)


def _with_folder(folder: StudyFolder, progress: Progress | None) -> Study:
    try:
        return Study(folder, progress)
    except BaseException:
        folder.close()  # or nobody else could open it while this process lives
        raise
