"""Learner that trains a reward model on fixed embeddings, from scratch each round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from duelist.errors import user_code
from duelist.featurizers.reward_head import RewardHead
from duelist.models.embeddings.cache import EmbeddingCache
from duelist.models.embeddings.sources import make_embedder
from duelist.models.policy.kept import KeptPolicy
from duelist.models.policy.policy import Policy
from duelist.models.rewards.config import RewardModelConfig
from duelist.models.rewards.network import RewardModel
from duelist.models.trained import Models
from duelist.progress import Progress
from duelist.recipe.recipe import Recipe, policy_of
from duelist.seeding import derived_seed
from duelist.store.folder import StudyFolder
from duelist.study.components import StudyComponents
from duelist.study.learners.base import Learner
from duelist.trainers.comparisons import Comparisons, RankedComparisons, TrainingData
from duelist.trainers.decisions import holds_sets, padded_ranks, ranked_sets, scales_of
from duelist.types import Decision, Preference, RankedSet, Response


class RewardLearner(Learner):
    """Learner of the recipe's reward model; a policy, if there is one, only writes the responses."""

    artifact = "reward_model"

    def __init__(self, recipe: Recipe, components: StudyComponents, folder: StudyFolder, progress: Progress) -> None:
        self.recipe = recipe
        self.components = components
        self.folder = folder
        self.progress = progress
        self.margins = RewardHead()
        self._loaded: tuple[int, RewardModel] | None = None

    def models(self, t: int) -> Models:
        if self._loaded is None or self._loaded[0] != t:
            self._loaded = (t, RewardModel.load(self.folder.trained(t)))
        folder, engine = self.folder.embeddings("featurizer"), self.components.engine
        return Models(self._policy, self._loaded[1], self._embed, folder, engine=engine, kept=self._kept)

    def train(self, t: int, preferences: Sequence[Decision], target: Path) -> Mapping[str, Any]:
        if t == 0:
            model = self._fresh(self._dimension())
            model.save(target)
            return {"embedding_dimension": model.dimension}
        model = self._fresh(RewardModel.load(self.folder.trained(0)).dimension)
        done: Mapping[str, float] = {}
        if preferences:
            data = self._data(preferences)
            trainer, seed = self.components.trainer, derived_seed(self.recipe.seed, "train", t)
            with user_code(trainer):
                done = trainer.train(model, data, self.recipe.beta, seed, self.progress)
        model.save(target)
        return done

    def _data(self, decisions: Sequence[Decision]) -> TrainingData:
        if holds_sets(decisions):
            return self._ranked(ranked_sets(decisions), scales_of(decisions))
        return self._comparisons([d for d in decisions if isinstance(d, Preference)])

    def _comparisons(self, preferences: Sequence[Preference]) -> Comparisons:
        prompts = self.folder.store.prompts()  # a pair may cross prompts, so the preference's own prompt is not enough
        vectors = self._embed(prompts, [r for p in preferences for r in (p.chosen, p.rejected)], self.progress)
        return Comparisons(
            vectors[::2],
            vectors[1::2],
            np.array([p.share for p in preferences]),
            np.array([p.weight for p in preferences]),
        )

    def _ranked(self, sets: Sequence[RankedSet], scales: tuple[float, ...]) -> RankedComparisons:
        distinct = {r.id: r for s in sets for r in s.responses}
        row = {response_id: i for i, response_id in enumerate(distinct)}
        rank_PQ, best_worst_P = padded_ranks(sets)
        place_PQ = np.full_like(rank_PQ, -1)
        place_PQ[rank_PQ >= 0] = [row[r.id] for s in sets for r in s.responses]
        vectors = self._embed(self.folder.store.prompts(), list(distinct.values()), self.progress)
        weight_P = np.array([s.weight for s in sets])
        return RankedComparisons(vectors, place_PQ, rank_PQ, best_worst_P, weight_P, scales)

    def _fresh(self, dimension: int) -> RewardModel:
        """Return the same initial model every round, so rounds differ only in their labels."""
        return RewardModel.fresh(self._config, dimension, derived_seed(self.recipe.seed, "reward model"))

    def _dimension(self) -> int:
        prompt = self.components.prompts.train[0]
        texts = self.components.prompts.given.texts.get(prompt.id) or ["."]
        probe = Response.of(prompt, texts[0], *self._probe_tokens(), 0)
        return int(self._embed({prompt.id: prompt}, [probe], self.progress).shape[1])

    def _probe_tokens(self) -> tuple[Sequence[int], Sequence[int]]:
        """Return token ids of a response that is embedded only to find the number of dimensions."""
        return ([], [0]) if self._policy is None else ([self._policy.tokenizer.eos_token_id] * 2, [0])

    @cached_property
    def _config(self) -> RewardModelConfig:
        config = self.components.recipe.reward_model or RewardModelConfig()
        if config.embedding.source == "hidden_states" and config.embedding.model is None and self._policy is not None:
            named = config.embedding.model_copy(update={"model": policy_of(self.components.recipe).model})
            return config.model_copy(update={"embedding": named})  # so the saved model can be used without a study
        return config

    @cached_property
    def _policy(self) -> Policy | None:
        if self.recipe.policy is None:
            return None
        return Policy.load(policy_of(self.components.recipe), derived_seed(self.recipe.seed, "lora"))

    @cached_property
    def _kept(self) -> KeptPolicy | None:
        """The policy for workers; it is not trained."""
        if self._policy is None:
            return None
        config, seed = policy_of(self.components.recipe), derived_seed(self.recipe.seed, "lora")
        return KeptPolicy(config, seed, None, None, self.recipe.torch_threads, self._policy)

    @cached_property
    def _embed(self) -> EmbeddingCache:
        config = (self.components.recipe.reward_model or RewardModelConfig()).embedding
        embedder = make_embedder(config, self._policy, self.components.engine, self._kept)
        return EmbeddingCache(embedder, self.folder.embeddings(self.artifact))
