"""Differences of frozen embeddings.

Reference: Das et al., "Active Preference Optimization for Sample Efficient RLHF", 2024 (a linear reward on frozen
           embeddings).
Formula:   δ = Ψ(x_1, y_1) − Ψ(x_2, y_2).
Cost:      one embedding per response, once in a study.

Without its own source, the featurizer uses the embeddings that the study's reward model reads, or else the base model's
hidden states. Training the policy does not change them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from duelist.featurizers.base import FeatureJob, Featurizer, distinct_responses
from duelist.models.embeddings.cache import EmbeddingCache
from duelist.models.embeddings.checking import require_source
from duelist.models.embeddings.config import EmbeddingConfig
from duelist.models.embeddings.sources import make_embedder
from duelist.models.trained import Models
from duelist.settings.context import Context


class EmbeddingFeaturizerConfig(EmbeddingConfig):
    """Settings of the `embedding` featurizer: the settings of its embedding source."""


class Embedding(Featurizer):
    """Featurizer that embeds each response once; a pair's feature is the difference of its two embeddings."""

    def __init__(self, config: EmbeddingFeaturizerConfig) -> None:
        self.config = config
        self._own: EmbeddingCache | None = None

    @property
    def provides(self) -> tuple[str, ...]:
        return ("embedding_ND", "embedding_RD")

    def check(self, context: Context) -> None:
        if self.config != EmbeddingFeaturizerConfig():
            require_source("featurizers.embedding", self.config, context)

    def compute(self, job: FeatureJob) -> Mapping[str, NDArray[Any]]:
        responses, index_N2 = distinct_responses(job.questions)
        if not responses:
            return dict.fromkeys(job.wanted, np.empty((0, 0), np.float32))
        vectors_RH = self._source(job.models)(job.prompts, responses, job.progress)
        if "embedding_RD" in job.wanted:
            return {"embedding_RD": vectors_RH}
        return {"embedding_ND": vectors_RH[index_N2[:, 0]] - vectors_RH[index_N2[:, 1]]}

    def _source(self, models: Models) -> EmbeddingCache:
        if models.embeddings is not None and self.config == EmbeddingFeaturizerConfig():
            return models.embeddings
        if self._own is None:
            embedder = make_embedder(self.config, models.policy, models.engine, models.kept)
            self._own = EmbeddingCache(embedder, models.embeddings_folder)
        return self._own
