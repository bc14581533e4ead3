"""A study that aligns a policy: training against a reference, measured on held-out prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from duelist.errors import user_code
from duelist.evaluation.held_out import evaluate
from duelist.featurizers.base import Featurizer
from duelist.featurizers.margin import Margin, MarginConfig
from duelist.models.policy.all_parameters import AllParameters
from duelist.models.policy.lora_adapter import LoraAdapter
from duelist.models.policy.policy import Policy
from duelist.models.trained import Models
from duelist.progress import Progress
from duelist.recipe.recipe import Recipe, policy_of
from duelist.seeding import derived_seed
from duelist.store.folder import StudyFolder
from duelist.study.components import StudyComponents
from duelist.study.learners.base import Learner
from duelist.study.learners.online import OnlinePolicy
from duelist.study.learners.round_policies import RoundPolicies
from duelist.trainers.initial_preferences import labelled_preferences
from duelist.types import Evaluation, Preference


class PolicyLearner(Learner):
    """Trains the policy, an adapter or all of it, with the recipe's trainer."""

    def __init__(self, recipe: Recipe, components: StudyComponents, folder: StudyFolder, progress: Progress) -> None:
        self.recipe = recipe
        self.components = components
        self.folder = folder
        self.progress = progress

    @property
    def artifact(self) -> str:
        return (LoraAdapter if policy_of(self.components.recipe).adapter == "lora" else AllParameters).artifact

    @property
    def margins(self) -> Featurizer:
        return Margin(MarginConfig())

    def models(self, t: int) -> Models:
        return Models(policy=self._after(t), shelf=self.folder.vectors("featurizer"))

    def save_initial(self, target: Path) -> Mapping[str, Any]:
        policy = self._policies.initial
        kept: dict[str, Any] = {"base_model": policy.fingerprint(trained=False)}
        labelled = self.components.recipe.initial
        if labelled is not None:
            preferences = labelled_preferences(labelled, policy.tokenizer, policy.context_length, policy.name)
            kept |= {**self._train(policy, preferences, "initial"), "preferences": float(len(preferences))}
        policy.save_weights(target)
        return kept

    def train(self, t: int, preferences: Sequence[Preference], target: Path) -> Mapping[str, float]:
        if self.recipe.online:
            self._after(t).save_weights(target)  # the steps have been taken
            return {}
        policy = self._policies.to_train(t)
        done = self._train(policy, preferences, "train", t) if preferences else {}
        policy.save_weights(target)
        return done

    def step(self, t: int, preferences: Sequence[Preference]) -> Mapping[str, float]:
        return self._online.step(t, preferences)

    def optimizer_state(self, t: int) -> dict[str, Any]:
        return self._online.optimizer_state(t)

    def evaluate(self, t: int, initial: Evaluation | None) -> Evaluation:
        rewards = [] if initial is None else [s["reward"] for s in initial.samples]
        return evaluate(
            self._after(t),
            self.components.prompts.held_out,
            self.components.reward,
            None if initial is None or None in rewards else np.array(rewards, dtype=np.float64),
            self.recipe.evaluation,
            beta=self.recipe.beta,
            round=t,
            # The same random numbers every round: rounds differ by the policy alone.
            seed=derived_seed(self.recipe.seed, "evaluate"),
            progress=self.progress,
            label_temperature=self.components.label_temperature,
        )

    def _train(self, policy: Policy, preferences: Sequence[Preference], *seed_names: str | int) -> Mapping[str, float]:
        seed = derived_seed(self.recipe.seed, *seed_names)
        with user_code(self.components.trainer):
            done: Mapping[str, float] = self.components.trainer.train(
                policy, preferences, self.recipe.beta, seed, self.progress
            )
            return done

    def _after(self, t: int) -> Policy:
        return self._online.after(t) if self.recipe.online else self._policies.after(t)

    @cached_property
    def _online(self) -> OnlinePolicy:
        return OnlinePolicy(self.recipe, self.components.trainer, self.folder, self._policies, self.progress)

    @cached_property
    def _policies(self) -> RoundPolicies:
        start = self.folder.stage(0, "train")
        base = None if start is None else start.info.get("base_model")
        seed = derived_seed(self.recipe.seed, "lora")
        config = policy_of(self.components.recipe)
        fresh = self.recipe.initial is None and config.initial_adapter is None and config.initial_model is None
        return RoundPolicies(config, self.components.trainer.plan, self.folder.trained, seed, base, fresh)
