"""Learner that aligns a policy: training against a reference, round by round.

Reference: ActiveDPO (arXiv 2505.19241), Algorithm 1, line 11.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from duelist.errors import user_code
from duelist.featurizers.margin import Margin, MarginFeaturizerConfig
from duelist.models.policy.all_parameters import AllParameters
from duelist.models.policy.lora_adapter import LoraAdapter
from duelist.models.policy.policy import Policy
from duelist.models.rewards.classifier import FOLDER as CLASSIFIER
from duelist.models.trained import Models
from duelist.progress import Progress, Silent
from duelist.recipe.recipe import Recipe, policy_of, starts_as_reference
from duelist.seeding import derived_seed
from duelist.store import codecs
from duelist.store.folder import StudyFolder
from duelist.study.components import StudyComponents
from duelist.study.evaluators import evaluate_policy
from duelist.study.learners.base import Learner
from duelist.study.learners.round_policies import RoundPolicies
from duelist.study.step_evaluation import StepEvaluation
from duelist.trainers.initial_preferences import labelled_preferences
from duelist.types import Decision


class PolicyLearner(Learner):
    """Learner that trains the policy, an adapter or all its weights, with the recipe's trainer."""

    def __init__(self, recipe: Recipe, components: StudyComponents, folder: StudyFolder, progress: Progress) -> None:
        self.recipe = recipe
        self.components = components
        self.folder = folder
        self.progress = progress
        self.artifact = (LoraAdapter if policy_of(components.recipe).adapter == "lora" else AllParameters).artifact
        self.margins = Margin(MarginFeaturizerConfig())

    def models(self, t: int) -> Models:
        policy = self.policies.after(t)
        kept = self.policies.kept(t, policy, self.recipe.torch_threads)
        saved = self.folder.trained(t) / CLASSIFIER
        classifier = saved if saved.is_dir() else None
        return replace(self.models_of(policy), engine=self.components.engine, kept=kept, classifier=classifier)

    def models_of(self, policy: Policy) -> Models:
        """Return the models of this study with `policy` as the policy, in this process alone."""
        return Models(policy, embeddings_folder=self.folder.embeddings("featurizer"))

    def train(self, t: int, preferences: Sequence[Decision], target: Path) -> Mapping[str, Any]:
        if t == 0:
            return self._begin(target)
        policy, every = self.policies.to_train(t), self.recipe.evaluation.every_steps
        if not preferences:
            policy.save_weights(target)
            return {}
        if every is None:
            done = self._train(policy, preferences, self.progress, "train", t)
        else:
            steps = StepEvaluation(self.progress, every, policy, partial(self._measured, t))
            done = self._train(policy, preferences, steps, "train", t)
            self.folder.run(t, "steps", codecs.STEPS, lambda: steps.rows)
        policy.save_weights(target)
        with user_code(self.components.trainer):
            self.components.trainer.keep(target)
        return done

    def _measured(self, t: int, policy: Policy) -> Mapping[str, Any]:
        """Return the metrics of the policy in the middle of round t's training; a judge is too expensive to ask."""
        initial, models = self.folder.read(0, "evaluate", codecs.EVALUATION), self.models_of(policy)
        return evaluate_policy(self.recipe, self.components, Silent(), models, t, initial, judged=False).metrics

    def _begin(self, target: Path) -> Mapping[str, Any]:
        policy = self.policies.initial
        kept: dict[str, Any] = {"base_model": policy.fingerprint(trained=False)}
        initial = self.components.recipe.initial
        if initial is not None and initial.labelled is not None:
            preferences = labelled_preferences(initial, policy.tokenizer, policy.context_length, policy.name)
            kept |= self._train(policy, preferences, self.progress, "initial")
            kept["preferences"] = float(len(preferences))
        policy.save_weights(target)
        return kept

    def _train(
        self, policy: Policy, preferences: Sequence[Decision], progress: Progress, *seed_names: str | int
    ) -> Mapping[str, float]:
        seed = derived_seed(self.recipe.seed, *seed_names)
        with user_code(self.components.trainer):
            done: Mapping[str, float] = self.components.trainer.train(
                policy, preferences, self.recipe.beta, seed, progress
            )
            return done

    @cached_property
    def policies(self) -> RoundPolicies:
        """The policy after any round."""
        start = self.folder.stage(0, "train")
        base = None if start is None else start.info.get("base_model")
        seed = derived_seed(self.recipe.seed, "lora")
        config, plan = policy_of(self.components.recipe), self.components.trainer.plan
        return RoundPolicies(config, plan, self.folder.trained, seed, base, starts_as_reference(self.recipe))
