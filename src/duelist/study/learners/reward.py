"""A study that trains a reward model on fixed embeddings, from scratch each round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit

from duelist.errors import RecipeError, user_code
from duelist.evaluation.reward_held_out import HeldOutResponses, held_out_responses
from duelist.evaluation.reward_model import Floats, longer_wins, preference_metrics, ranking_metrics
from duelist.featurizers.base import Featurizer
from duelist.featurizers.reward_head import RewardHead
from duelist.models.decoding.generation import generate
from duelist.models.embeddings.sources import EmbeddingCache, make_embedder
from duelist.models.policy.policy import Policy
from duelist.models.rewards.config import RewardModelConfig
from duelist.models.rewards.network import RewardModel
from duelist.models.trained import Models
from duelist.progress import Progress
from duelist.recipe.recipe import Recipe
from duelist.seeding import derived_seed
from duelist.store import codecs
from duelist.store.folder import StudyFolder
from duelist.study.components import Parts
from duelist.study.learners.base import Learner
from duelist.trainers.reward_fitting import Comparisons
from duelist.types import Draws, Evaluation, Preference, Prompt, Response

SAMPLES = 200  # scored responses that an evaluation keeps, for people to look at


class RewardLearner(Learner):
    """Trains the reward model that the recipe describes; a policy, where there is one, only writes the responses."""

    def __init__(self, recipe: Recipe, parts: Parts, folder: StudyFolder, progress: Progress) -> None:
        self.recipe = recipe
        self.parts = parts
        self.folder = folder
        self.progress = progress
        self._loaded: tuple[int, RewardModel] | None = None

    @property
    def artifact(self) -> str:
        return "reward_model"

    @property
    def margins(self) -> Featurizer:
        return RewardHead()

    def models(self, t: int) -> Models:
        if self._loaded is None or self._loaded[0] != t:
            self._loaded = (t, RewardModel.load(self.folder.trained(t)))
        return Models(self._policy, self._loaded[1], self._embed, self.folder.vectors("featurizer"))

    def save_initial(self, target: Path) -> Mapping[str, Any]:
        model = self._fresh(self._dimension())
        model.save(target)
        return {"embedding_dimension": model.dimension}

    def train(self, t: int, preferences: Sequence[Preference], target: Path) -> Mapping[str, float]:
        model = self._fresh(RewardModel.load(self.folder.trained(0)).dimension)
        done: Mapping[str, float] = {}
        if preferences:
            data = self._comparisons(preferences)
            seed = derived_seed(self.recipe.seed, "train", t)
            with user_code(self.parts.reward_trainer):
                done = self.parts.reward_trainer.fit(model, data, seed, self.progress)
        model.save(target)
        return done

    def evaluate(self, t: int, initial: Evaluation | None) -> Evaluation:
        held = self._held_out
        if not held.responses:
            return Evaluation({"pair_accuracy": None}, [])
        model = self.models(t).reward_model_for("The evaluation")[0]
        vectors_RE = self._embed(held.prompts, held.responses, self.progress)
        score_R, truth_R = model.rewards(vectors_RE), self._true_rewards
        metrics: dict[str, Any] = {}
        if truth_R is not None:
            metrics |= ranking_metrics(held.groups, score_R, truth_R)
        if held.preferred:
            first_N, second_N = np.array(held.preferred).T
            sample_RK = model.samples(vectors_RE)
            margin_NK = sample_RK[first_N] - sample_RK[second_N]
            metrics |= preference_metrics(expit(margin_NK).mean(axis=1), score_R[first_N] - score_R[second_N])
            length_R = np.array([len(r.token_ids) for r in held.responses])
            metrics["longer_wins"] = longer_wins(length_R[first_N], length_R[second_N])
        if not metrics:
            raise RecipeError(
                "Held-out prompts must have labelled pairs, or responses with a known reward, but these have neither: "
                "add labels to the rows, set `reward`, or set `prompts.held_out` to 0."
            )
        return Evaluation(metrics, self._samples(held, score_R, truth_R))

    def _samples(self, held: HeldOutResponses, score_R: Floats, truth_R: Floats | None) -> list[dict[str, Any]]:
        return [
            {
                "prompt_id": r.prompt_id,
                "prompt": held.prompts[r.prompt_id].as_trl(),
                "response": r.text,
                "score": float(score_R[i]),
                "reward": None if truth_R is None else float(truth_R[i]),
            }
            for i, r in enumerate(held.responses[:SAMPLES])
        ]

    def _comparisons(self, preferences: Sequence[Preference]) -> Comparisons:
        prompts = self.folder.store.prompts()  # a pair may cross prompts, so a preference's own is not enough
        vectors = self._embed(prompts, [r for p in preferences for r in (p.chosen, p.rejected)], self.progress)
        return Comparisons(
            vectors[::2],
            vectors[1::2],
            np.array([p.share for p in preferences]),
            np.array([p.weight for p in preferences]),
        )

    def _fresh(self, dimension: int) -> RewardModel:
        """The same start every round: rounds differ by their labels alone."""
        return RewardModel.fresh(self._config, dimension, derived_seed(self.recipe.seed, "reward model"))

    def _dimension(self) -> int:
        prompt = self.parts.prompts.train[0]
        texts = self.parts.prompts.given.texts.get(prompt.id) or ["."]
        probe = Response.of(prompt, texts[0], *self._probe_tokens(), 0)
        return int(self._embed({prompt.id: prompt}, [probe], self.progress).shape[1])

    def _probe_tokens(self) -> tuple[Sequence[int], Sequence[int]]:
        """Token ids of a response that is embedded only to see how many dimensions there are."""
        return ([], [0]) if self._policy is None else ([self._policy.tokenizer.eos_token_id] * 2, [0])

    @cached_property
    def _config(self) -> RewardModelConfig:
        config = self.parts.reward_model_config
        if config.embedding.source == "hidden_states" and config.embedding.model is None and self._policy is not None:
            named = config.embedding.model_copy(update={"model": self.parts.policy_config.model})
            return config.model_copy(update={"embedding": named})  # so that the saved model can be used without a study
        return config

    @cached_property
    def _policy(self) -> Policy | None:
        if self.recipe.policy is None:
            return None
        return Policy.load(self.parts.policy_config, derived_seed(self.recipe.seed, "lora"))

    @cached_property
    def _embed(self) -> EmbeddingCache:
        embedder = make_embedder(self.parts.reward_model_config.embedding, self._policy)
        return EmbeddingCache(embedder, self.folder.vectors(self.artifact))

    @cached_property
    def _held_out(self) -> HeldOutResponses:
        prompts = self.parts.prompts.held_out
        held = held_out_responses(self.parts.prompts_config, prompts)
        policy = self._policy
        if held.responses or policy is None:
            return held
        # The policy that writes the responses is not trained: its answers are drawn once, and kept.
        drawn = self.folder.run(0, "held_out", codecs.DRAWS, lambda: self._drawn(policy, prompts))
        return HeldOutResponses({p.id: p for p in prompts}, drawn.responses, ())

    def _drawn(self, policy: Policy, prompts: Sequence[Prompt]) -> Draws:
        config = self.recipe.evaluation
        answers = generate(
            policy,
            prompts,
            config.decoding,
            responses_per_prompt=config.responses_per_prompt,
            round=0,
            seed=derived_seed(self.recipe.seed, "evaluate"),
            progress=self.progress,
        )
        return Draws(tuple({r.id: r for r in answers}.values()))

    @cached_property
    def _true_rewards(self) -> Floats | None:
        reward, held = self.parts.reward, self._held_out
        if reward is None:
            return None
        with user_code(reward):
            return reward.score([held.prompts[r.prompt_id] for r in held.responses], held.responses)
