"""The algorithm box: ask, tell, update, run. Nothing else loops over rounds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from duelist.acquisition.base import Acquisition, choose
from duelist.acquisition.initial_random import InitialRandom
from duelist.annotators.base import Annotator
from duelist.errors import BudgetError, RoundStateError
from duelist.evaluation.held_out import evaluate
from duelist.featurizers.base import featurize
from duelist.featurizers.margin import Margin, MarginConfig
from duelist.models.process_state import torch_threads
from duelist.parts import Parts
from duelist.progress import Progress, Silent
from duelist.prompts.dataset import prompts_of_round
from duelist.recipes import Recipe, parse_recipe, recipe_content
from duelist.round_policies import RoundPolicies
from duelist.seeding import derived_seed, generator
from duelist.store import codecs
from duelist.store.folder import StudyFolder
from duelist.store.store import AskedPair
from duelist.types import Batch, Evaluation, Features, Label, Pair, Prompt, Response, Selection


@dataclass(frozen=True)
class RoundReport:
    """What came of a round: its number, its metrics as in metrics.jsonl, and what training said."""

    round: int
    metrics: Mapping[str, Any]
    training: Mapping[str, float]


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
        self.recipe = parse_recipe(folder.recipe)
        self.store = folder.store
        self.progress = progress or Silent()

    @staticmethod
    def create(folder: str | Path, recipe: Recipe, progress: Progress | None = None) -> Study:
        """Start a study in a new or empty folder.

        Raises:
            RecipeError: if the folder holds a study of another recipe.
            StudyLockedError: if another process works on it.
            StorageError: if the folder cannot be written.
        """
        return Study(StudyFolder.create(Path(folder), recipe_content(recipe)), progress)

    @staticmethod
    def open(folder: str | Path, progress: Progress | None = None) -> Study:
        """Go on with a study.

        Raises:
            StorageError: if there is no study in the folder.
            StudyLockedError: if another process works on it.
        """
        return Study(StudyFolder.open(Path(folder)), progress)

    def close(self) -> None:
        """Let other processes work on the study."""
        self.folder.close()

    def __enter__(self) -> Study:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def round(self) -> int:
        """The round in progress, from 1; one more than `recipe.rounds` when all are closed."""
        return self.store.counts()["rounds_closed"] + 1

    @property
    def rounds_left(self) -> int:
        """Rounds that are not closed yet."""
        return self.recipe.rounds + 1 - self.round

    def ask(self) -> Batch:
        """The pairs to label this round: from sampling to selection. While a batch is pending, the same comes back.

        Raises:
            RoundStateError: if every round is closed.
            BudgetError: if the pool has fewer pairs than the budget.
        """
        if self.rounds_left <= 0:
            raise RoundStateError(f"A round must be left to ask for, but all {self.recipe.rounds} rounds are closed.")
        with torch_threads(self.recipe.torch_threads):
            self._measure_initial_model()
            t = self.round
            if self.folder.stage(t, "select") is None:
                past = [x.pair for x in self.store.asked()]
                prompts = self._prompts(t)
                responses = self._sample(t, prompts)
                candidates = self._pair(t, responses, past)
                features = self._featurize(t, candidates, past)
                self._select(t, prompts, candidates, features)
            self.folder.discard_features(t)
            return self.store.batch(t)

    def tell(self, labels: Sequence[Label]) -> int:
        """Record labels, in any order, any number at a time, whenever they come. Nothing else happens.

        Returns:
            How many were new; a label that is recorded already is passed over.

        Raises:
            LabelConflictError: if a label's id is recorded with other content. Then none of `labels` is recorded.
            DataError: if a label is for a pair that was never asked. Then none of `labels` is recorded.
        """
        return self.store.add_labels(labels)

    def unanswered(self) -> list[str]:
        """Ids of the pending batch's pairs that have no label yet, in pick order."""
        answered = self.store.answered()
        return [x.pair.id for x in self.store.asked(self.round) if x.pair.id not in answered]

    def update(self, allow_partial: bool = False) -> RoundReport:
        """Train on the labels, evaluate, and close the round. Every pair asked has used budget, whatever its outcome.

        Args:
            allow_partial: go on although pairs of this round are unanswered. Their labels still count when they come.

        Raises:
            RoundStateError: if nothing was asked, or pairs are unanswered and `allow_partial` is false.
        """
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
            training = self._train(t)
            evaluation = self._evaluate(t)
        metrics = self.folder.close_round(t, evaluation.metrics)
        return RoundReport(t, metrics, training)

    def run(self, annotator: Annotator | None = None, on_round: Callable[[RoundReport], None] | None = None) -> None:
        """Ask, annotate, tell, update, until no round is left.

        Args:
            annotator: who decides; the recipe's own by default. Only pairs that have no label yet are shown to it.
            on_round: called with each round's report.
        """
        annotator = annotator or self.parts.annotator
        self.folder.derive()  # a full disk may have kept the last round from leaving its results
        while self.rounds_left > 0:
            batch = self.ask()
            missing = batch.only(self.unanswered())
            if missing.pairs:
                with torch_threads(self.recipe.torch_threads):
                    labels = annotator.annotate(missing, self._seed("annotate"), self.progress)
                self.tell(labels)
            report = self.update()
            if on_round is not None:
                on_round(report)

    # The stages of a round. Each leaves an artifact; what goes on is always what the artifact holds.

    def _prompts(self, t: int) -> tuple[Prompt, ...]:
        drawn_in = 1 if self.recipe.pool == "fixed" else t
        return prompts_of_round(self.parts.prompts.train, self.recipe.prompts.per_round, self.recipe.seed, drawn_in)

    def _sample(self, t: int, prompts: Sequence[Prompt]) -> list[Response]:
        if self.recipe.pool == "fixed" and t > 1:
            return self.folder.read(1, "sample", codecs.RESPONSES)
        return self.folder.run(
            t,
            "sample",
            codecs.RESPONSES,
            lambda: self.parts.sampler.sample(
                self._policies.after(t - 1),
                prompts,
                self.parts.prompts.given,
                t,
                self._seed("sample", t),
                self.progress,
            ),
        )

    def _pair(self, t: int, responses: Sequence[Response], past: Sequence[Pair]) -> list[Pair]:
        asked = {p.id for p in past}

        def compute() -> list[Pair]:
            pairs = [p for p in self.parts.pairing.pairs(responses, self.parts.prompts.given, t) if p.id not in asked]
            rounds_to_serve = self.recipe.rounds - t + 1 if self.recipe.pool == "fixed" else 1
            if len(pairs) < rounds_to_serve * self.recipe.budget:
                raise BudgetError(
                    f"`budget <= candidate pairs` must hold, but budget={self.recipe.budget} for {rounds_to_serve} "
                    f"round(s) needs {rounds_to_serve * self.recipe.budget} pairs, and round {t} has {len(pairs)} that "
                    "were not asked before: lower the budget or the rounds, or use more prompts or more responses per "
                    "prompt (equal responses make no pair)."
                )
            return pairs

        return self.folder.run(t, "pair", codecs.pairs(responses), compute)

    def _featurize(self, t: int, candidates: Sequence[Pair], past: Sequence[Pair]) -> Features:
        needs = self._acquisition(t).needs
        return self.folder.run(
            t, "featurize", codecs.FEATURES, lambda: self._features(t, needs, candidates, past, self.parts.featurizers)
        )

    def _select(self, t: int, prompts: Sequence[Prompt], candidates: Sequence[Pair], features: Features) -> None:
        def compute() -> tuple[Selection, list[AskedPair], list[Prompt]]:
            rng = generator(self.recipe.seed, "select", t)
            selection = choose(self._acquisition(t), features, self.recipe.budget, rng)
            chosen = [candidates[i] for i in selection.indices_B]
            # Whatever the rule, the margins of what it chose are worth knowing; they cost 2B forward passes.
            margin = [Margin(MarginConfig())]
            margin_B = self._features(t, frozenset({"margin_N"}), chosen, [], margin).margin_N
            scores = zip(chosen, selection.scores_B.tolist(), np.asarray(margin_B).tolist(), strict=True)
            asked = [AskedPair(p, t, i, score, selection.unit, m) for i, (p, score, m) in enumerate(scores)]
            needed = {r.prompt_id for p in chosen for r in (p.a, p.b)}
            return selection, asked, [p for p in prompts if p.id in needed]

        self.folder.run_selection(t, compute)

    def _train(self, t: int) -> Mapping[str, float]:
        plan = self.parts.trainer.plan
        preferences = self.store.preferences(None if plan.accumulate == "all" else t)

        def fill(target: Path) -> Mapping[str, float]:
            policy = self._policies.to_train(t)
            seed = self._seed("train", t)
            done = (
                self.parts.trainer.train(policy, preferences, self.recipe.beta, seed, self.progress)
                if preferences
                else {}
            )
            policy.save_adapter(target)
            return {**done, "preferences": float(len(preferences))}

        return self.folder.run_adapter(t, fill)

    def _evaluate(self, t: int) -> Evaluation:
        def compute() -> Evaluation:
            samples = [] if t == 0 else self.folder.read(0, "evaluate", codecs.EVALUATION).samples
            rewards = [s["reward"] for s in samples]
            return evaluate(
                self._policies.after(t),
                self.parts.prompts.held_out,
                self.parts.reward,
                None if t == 0 or None in rewards else np.array(rewards, dtype=np.float64),
                self.recipe.evaluation,
                initial_adapter=self._policies.reference(0),
                beta=self.recipe.beta,
                round=t,
                seed=self._seed("evaluate"),  # the same random numbers every round: rounds differ by the policy alone
                progress=self.progress,
            )

        return self.folder.run(t, "evaluate", codecs.EVALUATION, compute)

    def _measure_initial_model(self) -> None:
        """Round 0: keep the adapter training starts from, and measure the model before any label."""
        if self.store.metrics():
            return

        def fill(target: Path) -> Mapping[str, Any]:
            self._policies.initial.save_adapter(target)
            return {"base_model": self._policies.initial.fingerprint(adapters=False)}

        self.folder.run_adapter(0, fill)
        self.folder.close_round(0, self._evaluate(0).metrics)

    # What the stages share

    @cached_property
    def parts(self) -> Parts:
        """The components that the recipe names, made when first used."""
        return Parts(self.recipe, self.progress)

    @cached_property
    def _policies(self) -> RoundPolicies:
        start = self.folder.stage(0, "train")
        base = None if start is None else start.info.get("base_model")
        plan = self.parts.trainer.plan
        return RoundPolicies(self.parts.policy_config, plan, self.folder.adapter, self._seed("lora"), base)

    def _acquisition(self, t: int) -> Acquisition:
        random_picks = self.recipe.initial_random - (t - 1) * self.recipe.budget
        rule = self.parts.acquisition
        return InitialRandom(rule, random_picks, self.recipe.budget) if random_picks > 0 else rule

    def _features(
        self,
        t: int,
        needs: frozenset[str],
        candidates: Sequence[Pair],
        past: Sequence[Pair],
        featurizers: Sequence[Any],
    ) -> Features:
        return featurize(
            featurizers,
            needs,
            self._policies.after(t - 1),
            candidates,
            past,
            beta=self.recipe.beta,
            seed=self._seed("projection"),
            progress=self.progress,
        )

    def _seed(self, *names: str | int) -> int:
        return derived_seed(self.recipe.seed, *names)
