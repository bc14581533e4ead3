"""Stages of a round. Each writes an artifact, and later stages always read the artifact back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from duelist.acquisition.stopping import End, require_gains, study_end
from duelist.annotators.base import History, Prelabeller
from duelist.data.prompts import prompts_of_round
from duelist.errors import BudgetError, user_code
from duelist.featurizers.feature_folder import FeatureCache
from duelist.models.decoding.server import ServerDecoder
from duelist.pairing.base import require_one_prompt
from duelist.progress import Progress
from duelist.recipe.recipe import Recipe, trains_reward_model
from duelist.recipe.round_plan import asked_before, budget_of, in_words, is_checkpoint, model_round, total_budget
from duelist.samplers.base import SampleJob
from duelist.seeding import derived_seed, generator
from duelist.settings.lookups import Lookups
from duelist.store import codecs
from duelist.store.decisions import decision_json
from duelist.store.folder import StudyFolder
from duelist.store.row_codecs import AskedQuestion
from duelist.study.asked_metrics import KL, effort, selection_metrics
from duelist.study.choosing import Choosing
from duelist.study.components import StudyComponents, prepared
from duelist.study.draw_weights import draw_weights
from duelist.study.evaluators import Evaluator, RewardModelEvaluator, evaluate_policy
from duelist.study.fine_tuning import run_fine_tuning, with_fine_tuned
from duelist.study.judged_pool import JudgedPools
from duelist.study.known import KnownRecorder
from duelist.study.learners.base import Learner
from duelist.study.learners.online import OPTIMIZER, OnlineLearner
from duelist.study.learners.policy import PolicyLearner
from duelist.study.learners.reward import RewardLearner
from duelist.study.training_items import training_items
from duelist.trainers.decisions import ScaledDecisions
from duelist.types import Draws, Evaluation, Features, Label, Prompt, Question, Selection


class Stages:
    """Computation of each stage, for any round t of one study."""

    def __init__(self, recipe: Recipe, folder: StudyFolder, progress: Progress) -> None:
        self.recipe = recipe
        self.folder = folder
        self.store = folder.store
        self.progress = progress

    def close(self) -> None:
        """Release the workers of the engine, if there are any."""
        if "components" in self.__dict__:  # they were used
            self.components.close()

    def prompts(self, t: int) -> Sequence[Prompt]:
        """Return the prompts of round t."""
        drawn_in = 1 if self.recipe.pool == "fixed" else t
        return prompts_of_round(
            self.components.prompts.train, self.recipe.prompts.per_round, self.recipe.seed, drawn_in
        )

    def sample(self, t: int, prompts: Sequence[Prompt]) -> Draws:
        """Draw round t's responses; a fixed pool reuses those of round 1."""
        if self.recipe.pool == "fixed" and t > 1:
            return self._fixed_pool

        def compute() -> Draws:
            seed, given = self._seed("sample", t), self.components.prompts.given
            models, server = self._learner.models(model_round(self.recipe, t)), self.recipe.decoder
            decoder = None
            if server is not None:
                decoder = ServerDecoder(server, models.policy_for("`decoder`"), self.folder.path)
            fewest = 1 if self.components.pairing.crosses_prompts else 2
            job = SampleJob(models, prompts, given, t, self.recipe.beta, seed, self.progress, decoder, fewest)
            with decoder or nullcontext(), user_code(self.components.sampler):
                draws = self.components.sampler.sample(job)
            if decoder is not None:
                draws = replace(draws, notes=(*draws.notes, *decoder.notes))
            for note in draws.notes:
                self.progress.note(f"Round {t}: {note}")
            return draws

        return self.folder.run(t, "sample", codecs.DRAWS, compute, lambda draws: {"notes": list(draws.notes)})

    def pair(self, t: int, draws: Draws, past: Sequence[Question]) -> list[Question]:
        """Return the candidate questions of round t: those not asked before, or a random subset of them."""
        asked = {p.id for p in past}

        def compute() -> list[Question]:
            with user_code(self.components.pairing):
                possible = self.components.pairing.pairs(draws, self.components.prompts.given, t, self._seed("pair"))
            if not trains_reward_model(self.recipe):
                require_one_prompt(possible)
            pairs = [p for p in possible if p.id not in asked]
            budget, fixed = budget_of(self.recipe, t), self.recipe.pool == "fixed"
            needed = total_budget(self.recipe) - asked_before(self.recipe, t) if fixed else budget
            if len(pairs) < needed:
                raise BudgetError(
                    f"`budget <= candidate questions` must hold, but {in_words(self.recipe)} need {needed} from "
                    f"round {t} {'on' if fixed else 'alone'}, and it has {len(pairs)} that were not asked before: "
                    "lower the budget or the rounds, or use more prompts or more responses per prompt (equal responses "
                    "make no question)."
                )
            if not self.choosing.acquisition(
                t
            ).needs:  # a random batch is drawn from the whole pool, the same for every rule
                return pairs
            rng = generator(self.recipe.seed, "candidates", t)
            drawn = self.recipe.acquisition.options.draw([p.id for p in pairs], budget, rng)
            return [pairs[i] for i in drawn]

        return self.folder.run(t, "pair", codecs.questions(draws), compute)

    def featurize(self, t: int, candidates: Sequence[Question], past: Sequence[Question]) -> Features:
        """Compute the features that the acquisition needs: of candidates and, if it asks for them, past questions."""
        needs = self.choosing.needs(t)
        targets = self.target(t) if "target_MD" in needs else []
        cache = FeatureCache(self.folder.feature_cache(t), disposable=True)

        after = model_round(self.recipe, t)
        compute = lambda: self.choosing.features(t, after, candidates, past, targets, cache)  # noqa: E731
        return self.folder.run(t, "featurize", codecs.FEATURES, compute)

    def target(self, t: int) -> list[Question]:
        """Return pairs of the policy's responses to the target prompts."""
        targets = self.components.targets

        def compute() -> Draws:
            models, seed = self._learner.models(model_round(self.recipe, t)), self._seed("target", t)
            return targets.sample(self.components.target_sampler, models, t, self.recipe.beta, seed, self.progress)

        return targets.pairs(self.folder.run(t, "target", codecs.TARGET, compute), t)

    def select(self, t: int, prompts: Sequence[Prompt], candidates: Sequence[Question], features: Features) -> None:
        """Select the questions to ask, and record them as asked."""

        def compute() -> tuple[Selection, list[AskedQuestion], list[Prompt]]:
            sampled = self.choosing.pick(t, candidates, features)
            selection = sampled.selection
            if asked_before(self.recipe, t + 1) > self.recipe.initial_random:  # the rule has picked, not chance alone
                require_gains(self.recipe.stop, selection.diagnostics, self.recipe.acquisition.name)
            selected = [candidates[i] for i in selection.indices_B]
            rewards, margins, kl = self.choosing.seen(t, selected)
            if kl is not None:
                selection = replace(selection, diagnostics={**selection.diagnostics, KL: kl})
            scores = zip(selected, selection.scores_B.tolist(), margins, rewards, *sampled.columns(), strict=True)
            unit = selection.unit
            asked = [AskedQuestion(q, t, i, score, unit, *rest) for i, (q, score, *rest) in enumerate(scores)]
            needed = {r.prompt_id for q in selected for r in q.responses}
            return selection, asked, [p for p in prompts if p.id in needed]

        self.folder.run_selection(t, compute)

    def judge(self, t: int) -> None:
        """Judge the questions asked in round t and others of its pool, if the recipe has a judge beside people."""
        if self._judged_pools is not None:
            judge = self.components.pool_judge
            assert judge is not None
            self._judged_pools.judge(t, judge, self.components.prompts.by_id)

    def is_asked(self, t: int) -> bool:
        """Return whether round t's questions are selected, and those that need no person labelled."""
        last = "prelabel" if self._prelabels else "select"
        return self.folder.stage(t, last) is not None

    def prelabel(self, t: int) -> None:
        """Label the questions that need no person, if the annotator does so, by the answers before round t."""
        if not self._prelabels:
            return

        def compute() -> tuple[Sequence[Label], Mapping[str, Any]]:
            annotator = self.components.annotator
            assert isinstance(annotator, Prelabeller)
            seed = self._seed("annotate")
            with user_code(annotator):
                found = annotator.prelabel(self.store.batch(t), self._history(t), seed, self.progress)
            return found.labels, found.info

        self.folder.run_prelabelling(t, compute)

    def _history(self, t: int) -> History:
        """Return what the annotator may know when round t's questions are labelled: rounds that its model knows."""
        known, looks = model_round(self.recipe, t), self.recipe.rounds - 1 - self.recipe.lookahead
        questions = {x.question.id: x.question for x in self.store.asked() if 0 < x.round <= known}
        labels = [x for x in self.store.current_labels(advisory=True) if x.pair_id in questions]
        return History(questions, self.store.prompts(), labels, max(looks, 0))

    @property
    def _prelabels(self) -> bool:
        annotator = self.recipe.annotator
        return annotator is not None and issubclass(annotator.cls, Prelabeller)

    @property
    def end(self) -> End:
        """The last round of the study as far as is known, and why the stopping rule ends it there."""
        closed = self.store.rounds_closed()
        stage = self.folder.stage(closed + 1, "select") or self.folder.stage(closed, "select")
        return study_end(self.recipe.stop, self.recipe.rounds, *((stage.round, stage.info) if stage else (0, {})))

    def train(self, t: int) -> Mapping[str, float]:
        """Train on the labels so far, and keep the weights."""
        if self.recipe.online:
            return self._step(t)
        plan = self.components.trainer.plan

        def fill(target: Path) -> Mapping[str, float]:
            items = self._items(range(0 if plan.accumulate == "all" else self._first(t), t + 1))
            return {**self._learner.train(t, items, target), "preferences": float(len(items)), **items.report}

        return self.folder.run_training(t, self._learner.artifact, fill)

    def _items(self, rounds: range) -> ScaledDecisions:
        """Return what the last of some rounds trains on: the decisions on the questions asked in them."""
        policy = lambda: self._learner.models(rounds[-1] - 1).policy  # noqa: E731
        plan, judged = self.components.trainer.plan, self._judged_pools
        prompts = {} if judged is None else self.components.prompts.by_id
        weights = draw_weights(self.recipe.acquisition.options, self.recipe.pool, self.store.asked(), rounds)
        return training_items(plan, self.store, rounds, policy, self.progress, judged, prompts, weights)

    @staticmethod
    def _first(t: int) -> int:
        """Return the first round whose labels are round t's own: round 1 trains on what was known before, too."""
        return 0 if t == 1 else t

    def _step(self, t: int) -> Mapping[str, float]:
        """Take round t's optimizer step, and keep the weights at a checkpoint (docs/adr/0005-online-mode.md)."""

        def compute() -> dict[str, Any]:
            items = self._items(range(self._first(t), t + 1))
            info = {**self._online.step(t, items), "preferences": float(len(items))}
            questions = {x.question.id: x.question for x in self.store.asked(t)}
            step = {"info": info, "preferences": [decision_json(x, questions) for x in items]}
            return {**step, "scales": list(items.scales)} if items.scales else step

        done = self.folder.run(t, "step", codecs.STEP, compute)
        if is_checkpoint(self.recipe, t, self.end.round):
            self.folder.run(t, "optimizer", OPTIMIZER, lambda: self._online.optimizer_state(t))
            # Written last: the weights make this round a checkpoint.
            self.folder.run_training(t, self._learner.artifact, lambda target: self._learner.train(t, [], target))
        return dict(done["info"])

    def asked_metrics(self, t: int) -> dict[str, Any]:
        """Return statistics of the questions asked in round t, and what all so far cost people."""
        stage = self.folder.stage(t, "select")
        return {**selection_metrics(t, self.store, stage.info.get(KL) if stage else None), **effort(t, self.store)}

    def evaluate(self, t: int) -> Evaluation:
        """Evaluate the model after round t."""

        def compute() -> Evaluation:
            initial = None if t == 0 else self.folder.read(0, "evaluate", codecs.EVALUATION)
            return self._evaluator(self._learner.models(t), t, initial)

        return self.folder.run(t, "evaluate", codecs.EVALUATION, compute)

    def measure_initial_model(self) -> bool:
        """Run round 0: keep the initial weights, and evaluate the model before any label. Return whether it was new."""
        if self.store.metrics():
            return False
        if self.folder.stage(0, "train") is None:  # once: a later check must not lock the study out
            self.components.check(self.components.context(Lookups(), self.components.prompts))
            run_fine_tuning(self.recipe, self.folder, self.progress)
        self.folder.run_training(0, self._learner.artifact, lambda target: self._learner.train(0, [], target))
        if self.recipe.known is not None:
            self.folder.run_known(lambda: self.known.read())
        self.folder.close_round(0, {**self.evaluate(0).metrics, **effort(0, self.store)})
        return True

    @cached_property
    def known(self) -> KnownRecorder:
        """Records preferences known before round 1, once the initial model is there."""
        return KnownRecorder(
            self.components, self.store, self._learner.models(0).policy, partial(self.choosing.seen, 0)
        )

    @cached_property
    def components(self) -> StudyComponents:
        """The components of the recipe, after any preparation it needs."""
        path = self.folder.path
        return StudyComponents(with_fine_tuned(prepared(self.recipe, self.progress), path), path, self.progress)

    @cached_property
    def choosing(self) -> Choosing:
        """The choice of a round's questions."""
        learner, pools = self._learner, self._judged_pools
        return Choosing(self.recipe, self.components, self.store, learner, pools, self.progress)

    @cached_property
    def _judged_pools(self) -> JudgedPools | None:
        recipe = self.components.recipe
        return None if recipe.judged_pool is None else JudgedPools(recipe, self.folder, self.progress)

    @cached_property
    def _fixed_pool(self) -> Draws:
        """Round 1's responses: read once, because they serve every round."""
        return self.folder.read(1, "sample", codecs.DRAWS)

    @cached_property
    def _learner(self) -> Learner:
        if self.recipe.online:
            return self._online
        kind = RewardLearner if trains_reward_model(self.recipe) else PolicyLearner
        return kind(self.recipe, self.components, self.folder, self.progress)

    @cached_property
    def _online(self) -> OnlineLearner:
        return OnlineLearner(PolicyLearner(self.recipe, self.components, self.folder, self.progress))

    @cached_property
    def _evaluator(self) -> Evaluator:
        if trains_reward_model(self.recipe):
            return RewardModelEvaluator(self.recipe, self.components, self.folder, self.progress)
        return partial(evaluate_policy, self.recipe, self.components, self.progress)

    def _seed(self, *names: str | int) -> int:
        return derived_seed(self.recipe.seed, *names)
