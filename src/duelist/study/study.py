"""The study loop: ask, tell, update, run. Nothing else loops over rounds.

Reference: ActiveDPO (arXiv 2505.19241), Algorithm 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from duelist.annotators.base import Annotator
from duelist.display import numbers
from duelist.errors import RoundStateError, StorageError, user_code
from duelist.exchange.trl import dataset_rows
from duelist.models.policy.process_state import torch_threads
from duelist.progress import Progress, Silent
from duelist.recipe.reading import completed, saved_recipe
from duelist.recipe.recipe import Recipe, recipe_content
from duelist.recipe.round_plan import is_evaluated
from duelist.seeding import derived_seed
from duelist.store.folder import StudyFolder
from duelist.store.opening import create_folder, open_folder, open_folder_for_parent
from duelist.study.importing import ImportReport, import_into, source_of
from duelist.study.lookahead import kept_by_fresher_features
from duelist.study.round_report import RoundReport
from duelist.study.stages import Stages
from duelist.tracking.reporting import Reporting
from duelist.types import Answer, Batch, Label, VoteRule

if TYPE_CHECKING:
    import pandas


class Study:
    """Labelling budget spent round by round: ask questions, record the answers, train on them, repeat.

    This is the only stateful object, and its state is on disk. A killed process loses at most the stage in progress,
    never a label. A study that is opened again resumes exactly where it stopped.

    Examples:
        >>> study = Study.create("my-study", load_recipe("quickstart"))  # doctest: +SKIP
        >>> while study.rounds_left:  # doctest: +SKIP
        ...     batch = study.ask()
        ...     study.tell(my_annotators(batch))
        ...     report = study.update()
    """

    def __init__(self, folder: StudyFolder, progress: Progress | None = None) -> None:
        """Use `Study.create` or `Study.open` instead of the constructor."""
        self.folder = folder
        self.recipe = saved_recipe(folder.recipe)
        self.store = folder.store
        self.progress = progress or Silent()
        self.stages = Stages(self.recipe, folder, self.progress)
        self.reporting = Reporting(self.recipe.report_to, folder.recipe, folder.path, self.store, self.progress)
        for wrong in self.store.damaged_labels():
            self.progress.note(f"Of what an earlier version recorded, {wrong}.")

    @staticmethod
    def create(folder: str | Path, recipe: Recipe, progress: Progress | None = None) -> Study:
        """Start a study in a new or empty folder.

        Raises:
            RecipeError: if the folder contains a study of another recipe.
            StudyLockedError: if another process has the study open.
            StorageError: if the folder cannot be written, or its database lacks events that its other files show.
        """
        return _with_folder(create_folder(Path(folder), recipe_content(recipe), completed), progress)

    @staticmethod
    def open(folder: str | Path, progress: Progress | None = None) -> Study:
        """Open an existing study, to resume it.

        Raises:
            RecipeError: if the folder's recipe.yaml was changed since the study was created.
            StorageError: if there is no study in the folder, or its database lacks events that its other files show.
            StudyLockedError: if another process has the study open.
        """
        return _with_folder(open_folder(Path(folder), completed), progress)

    @staticmethod
    def open_for_parent(folder: str | Path, progress: Progress | None = None) -> Study:
        """Open a study that this process's parent has open, to compute its stages; the caller ends with the parent.

        Raises:
            StudyLockedError: if no process has the study open.
        """
        return _with_folder(open_folder_for_parent(Path(folder), completed), progress)

    def close(self) -> None:
        """Release the study, so other processes can open it. May be called from any thread, and more than once.

        The files that users read are brought up to date first, so preferences.jsonl contains every label. A closed
        study cannot ask, record or train.
        """
        try:
            self.stages.close()
        finally:
            self.folder.close()

    def __enter__(self) -> Study:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            self.close()
        except StorageError:
            if kind is None:  # otherwise the error that ended the block is more informative
                raise

    def metrics(self) -> pandas.DataFrame:
        """Return the metrics of the closed rounds, a row per round indexed by it, as in metrics.jsonl.

        A metric that is a mapping gives a column per key, such as `seconds.train`.
        """
        import pandas

        frame = pandas.json_normalize(self.store.metrics())
        return frame if frame.empty else frame.set_index("round")

    def _repr_html_(self) -> str:
        try:
            self.folder.require_open()
        except RoundStateError:
            return numbers(f"Study {self.recipe.name}, closed", [("folder", self.folder.path)])
        closed = self.store.metrics()
        last = [(name, v) for name, v in (closed[-1] if closed else {}).items() if not isinstance(v, Mapping)]
        where = [("folder", self.folder.path), ("rounds closed", f"{max(len(closed) - 1, 0)} of {self.last_round}")]
        waiting = [("questions without an answer", len(self.unanswered()))] if self.rounds_left > 0 else []
        return numbers(f"Study {self.recipe.name}", [*where, *waiting, *last])

    @property
    def round(self) -> int:
        """The round in progress, from 1; `recipe.rounds + 1` when all are closed."""
        return self.store.rounds_closed() + 1

    @property
    def rounds_left(self) -> int:
        """Number of rounds not closed yet; fewer than the recipe's once the stopping rule has ended the study."""
        return self.last_round + 1 - self.round

    @property
    def last_round(self) -> int:
        """The last round of the study, as far as is known: the recipe's, or the one where the stopping rule ends it."""
        return self.stages.end.round

    @property
    def stopped(self) -> str | None:
        """Why the stopping rule ends the study before its last round, in words; None if it does not, or not yet."""
        return self.stages.end.reason

    def ask(self) -> Batch:
        """Return the questions to answer this round, running sampling to selection if needed.

        While a batch is pending, the same batch is returned. A cascade's judge labels some of its pairs now; those that
        are left are `unanswered()`.

        Raises:
            RoundStateError: if every round is closed, the stopping rule has ended the study, or it was closed.
            RecipeError: if the stopping rule needs a gain that the acquisition does not report, or a tracker of
                `report_to` is not installed. Then nothing is asked.
            BudgetError: if the pool has fewer questions than the budget.
        """
        self.folder.require_open()
        if self.rounds_left <= 0:
            closed = f"all {self.recipe.rounds} rounds are closed"
            why = f"the study stopped after round {self.last_round}: {self.stopped}" if self.stopped else closed
            raise RoundStateError(f"A round must be left to ask for, but {why}.")
        self.reporting.require_installed()
        with torch_threads(self.recipe.torch_threads):
            if self.stages.measure_initial_model():
                self.reporting.report()
            return self._batch(self.round)

    def _batch(self, t: int) -> Batch:
        """Return round t's questions, running sampling to selection if needed."""
        stages = self.stages
        if self.folder.stage(t, "select") is None:
            past = [x.question for x in self.store.asked()]
            prompts = stages.prompts(t)
            draws = stages.sample(t, prompts)
            candidates = stages.pair(t, draws, past)
            features = stages.featurize(t, candidates, past)
            stages.select(t, prompts, candidates, features)
        self.folder.discard_features(t)
        stages.prelabel(t)
        return self.store.batch(t)

    def ask_ahead(self) -> Batch | None:
        """Return the next round's questions, selected before the answers to this round's are trained on.

        With `lookahead: 1`, they are the same whenever they are asked for, and whatever answers to this round and the
        next have come meanwhile. Answers to closed rounds count.

        Returns:
            The batch; None without lookahead, or if the round in progress is the last as far as is known.

        Raises:
            RoundStateError: if nothing was asked in the round in progress, or the study was closed.
        """
        self.folder.require_open()
        t = self.round + 1
        if not self.stages.is_asked(self.round):
            raise RoundStateError(f"A batch must be asked before the next one, but round {self.round} has none: ask().")
        if not self.recipe.lookahead or t > self.last_round:
            return None
        with torch_threads(self.recipe.torch_threads):
            return self._batch(t)

    def tell(self, answers: Sequence[Label | Answer]) -> int:
        """Record labels of pairs and answers to larger questions, any number at a time and at any time.

        Of an annotator's labels for a pair, the one that arrives last counts. Callers that may retry must keep the
        `Label` or its id: the same id is the same act of labelling, and is recorded once. A new `Label` without an id
        is another act. An `Answer` after the annotator's first to a question must name the one it replaces.

        Returns:
            The number of new labels and answers; one that is already recorded is skipped.

        Raises:
            LabelConflictError: if an id is recorded with different content, or a question is answered again without
                `replaces`. Then nothing of the call is recorded.
            DataError: if one is for a question that was never asked, or does not answer it. Then nothing is recorded.
            RoundStateError: if the study was closed. Then nothing is recorded.
        """
        self.folder.require_open()
        return self.store.add_answers(answers)

    def import_labels(self, source: Any, format: str | None = None) -> ImportReport:
        """Record answers from another tool's file, a `datasets.Dataset` or rows; leave out rows that are not usable.

        Preferences in TRL's format on responses that were never asked about are recorded as known, as long as round 1
        has not begun: they train and count as past questions. Importing again changes nothing.

        Args:
            source: the file or folder, the Dataset, or the rows.
            format: `label-studio`, `argilla`, `potato`, `csv`, `jsonl` or `trl`; found out if None.

        Raises:
            DataError: if the source cannot be read, or its format is not known.
            RoundStateError: if the study was closed.
        """
        self.folder.require_open()
        with torch_threads(self.recipe.torch_threads):
            return import_into(self.stages, source_of(source, format))

    def to_dataset(
        self, votes: VoteRule = "every", ties: bool = False, implied: Literal["all", "adjacent"] = "all"
    ) -> Any:
        """Return the labels as a `datasets.Dataset` in TRL's preference format, with who said it.

        Args:
            votes: how several votes on a pair are used: each by itself, or as one row (see `trainer.votes`).
            ties: also give ties, with `share` 0.5, which TRL's trainers do not read.
            implied: which pairs of a ranking to give.

        Raises:
            DataError: if a pair's responses answer two prompts, which TRL's format cannot represent.
        """
        import datasets

        return datasets.Dataset.from_list(list(dataset_rows(self.store, votes, ties, implied)))

    def unanswered(self) -> list[str]:
        """Return the ids of the pending batch's questions that have no answer yet, in pick order."""
        answered = self.store.answered()
        return [x.question.id for x in self.store.asked(self.round) if x.question.id not in answered]

    def update(self, allow_partial: bool = False) -> RoundReport:
        """Train on the answers, evaluate if the schedule says so, and close the round.

        Every asked question has used budget, regardless of outcome.

        Args:
            allow_partial: close the round although some of its questions have no answer. Later answers still count.

        Raises:
            RoundStateError: if nothing was asked, if questions have no answer and `allow_partial` is false, or if the
                study was closed.
        """
        self.folder.require_open()
        t = self.round
        if not self.stages.is_asked(t):
            raise RoundStateError(
                f"Questions must be asked before an update, but round {t} has none yet: call ask() first."
            )
        missing = self.unanswered()
        if missing and not allow_partial:
            raise RoundStateError(
                f"Every question of round {t} must have an answer, but {len(missing)} of {len(self.store.asked(t))} "
                f"have none (the first is {missing[0]}): tell() them, or call update(allow_partial=True)."
            )
        with torch_threads(self.recipe.torch_threads):
            ahead = kept_by_fresher_features(self.stages, t)  # while the model that training starts from is loaded
            self.stages.judge(t)
            training = self.stages.train(t)
            due = is_evaluated(self.recipe, t, self.last_round)
            measured = self.stages.evaluate(t).metrics if due else {}
        metrics = self.folder.close_round(t, {**measured, **self.stages.asked_metrics(t), **ahead})
        if due or not self.recipe.online:  # a run is opened each time: too slow for every optimizer step
            self.reporting.report()
        selected = self.folder.stage(t, "select")
        return RoundReport(t, metrics, training, {} if selected is None else selected.info)

    def run(self, annotator: Annotator | None = None, on_round: Callable[[RoundReport], None] | None = None) -> None:
        """Ask, annotate, tell and update until no round is left.

        Args:
            annotator: the annotator; the recipe's by default. It sees only questions that have no answer yet.
            on_round: called with each round's report.
        """
        self.folder.require_open()
        annotator = annotator or self.stages.components.annotator
        self.folder.derive()  # a full disk may have kept the last round from writing its results
        self.reporting.report()  # a tracker may have missed the last round
        while self.rounds_left > 0:
            batch = self.ask()
            missing = batch.only(self.unanswered())
            if missing.questions:
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
        folder.close()  # otherwise no other process could open it while this one lives
        raise
