"""Answers as embeddings, and their losses under a reward model: pairs, and questions of k responses."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import torch
from numpy.typing import NDArray
from torch.nn.functional import softplus

from duelist.models.rewards.network import RewardModel, last_layer_features
from duelist.trainers.ranking_losses import Answers, answer_loss, loss_curvature

BLOCK_QUESTIONS = 256  # whose responses' last-layer features are held at a time


class Labels(ABC):
    """The losses of P answers, with a model's inputs ready."""

    weight_P: torch.Tensor

    @abstractmethod
    def losses(self, rewards: Callable[[torch.Tensor], torch.Tensor], index: torch.Tensor) -> torch.Tensor:
        """Return the losses `[K, P]` of some answers, without weights.

        Args:
            rewards: the rewards `[K, R]` of K members, from the model's inputs `[R, H]`.
            index: which answers.
        """

    @abstractmethod
    def curvature(self, model: RewardModel) -> torch.Tensor:
        """Return the second derivative `[D, D]` of the weighted loss in the last layer's weights, in float64."""


class TrainingData(ABC):
    """Answers that a reward model can be trained on."""

    @abstractmethod
    def labels(self, model: RewardModel) -> Labels:
        """Return the answers ready for `model`."""


@final
@dataclass(frozen=True)
class Comparisons(TrainingData):
    """Labelled pairs, as embeddings.

    Attributes:
        first_PH: embeddings of the preferred responses.
        second_PH: embeddings of the others.
        share_P: the share of the votes for the first response.
        weight_P: factor of each pair's loss.
    """

    first_PH: NDArray[Any]
    second_PH: NDArray[Any]
    share_P: NDArray[Any]
    weight_P: NDArray[Any]

    def labels(self, model: RewardModel) -> Labels:
        return _Pairs(model, self)


@final
@dataclass(frozen=True)
class RankedComparisons(TrainingData):
    """Answers to questions of k responses, pairs included, as embeddings.

    Attributes:
        vector_RH: embeddings of the responses.
        place_PQ: positions among them of each question's responses; −1 beyond the last one.
        rank_PQ: `RankedSet.ranks`; −1 beyond the last response.
        best_worst_P: which answers are best-and-worst.
        weight_P: factor of each question's loss.
        scales: s of each stage of a ranking (`Answers.of`).
    """

    vector_RH: NDArray[Any]
    place_PQ: NDArray[Any]
    rank_PQ: NDArray[Any]
    best_worst_P: NDArray[Any]
    weight_P: NDArray[Any]
    scales: tuple[float, ...] = ()

    def labels(self, model: RewardModel) -> Labels:
        return _Questions(model, self)


class _Pairs(Labels):
    def __init__(self, model: RewardModel, data: Comparisons) -> None:
        self._first, self._second = model.inputs(data.first_PH), model.inputs(data.second_PH)
        self._share = torch.as_tensor(data.share_P, dtype=torch.float32)
        self.weight_P = torch.as_tensor(data.weight_P, dtype=torch.float32)

    def losses(self, rewards: Callable[[torch.Tensor], torch.Tensor], index: torch.Tensor) -> torch.Tensor:
        reward_KR = rewards(torch.cat([self._first[index], self._second[index]]))
        margin_KP = reward_KR[:, : len(index)] - reward_KR[:, len(index) :]
        return self._share[index] * softplus(-margin_KP) + (1 - self._share[index]) * softplus(margin_KP)

    def curvature(self, model: RewardModel) -> torch.Tensor:
        """Return Σ p(1 − p) δδᵀ."""
        phi_RD = last_layer_features(model.weights, torch.cat([self._first, self._second]))[0].double()
        delta_PD = phi_RD[: len(self._first)] - phi_RD[len(self._first) :]
        p_P = torch.sigmoid(delta_PD @ model.weights["head"][0].double())
        scaled_PD = delta_PD * (p_P * (1 - p_P) * self.weight_P.double()).sqrt()[:, None]
        return scaled_PD.T @ scaled_PD


class _Questions(Labels):
    def __init__(self, model: RewardModel, data: RankedComparisons) -> None:
        self._vectors = model.inputs(data.vector_RH)
        self._place_PQ = torch.as_tensor(data.place_PQ).clamp(min=0)  # the first response fills the places beyond
        rank_PQ, best_worst_P = torch.as_tensor(data.rank_PQ), torch.as_tensor(data.best_worst_P)
        self._answers = Answers.of(rank_PQ, best_worst_P, data.scales)
        self._exact = Answers.of(rank_PQ, best_worst_P, data.scales, torch.float64)
        self.weight_P = torch.as_tensor(data.weight_P, dtype=torch.float32)

    def _inputs(self, index: torch.Tensor) -> torch.Tensor:
        return self._vectors[self._place_PQ[index].reshape(-1)]

    def losses(self, rewards: Callable[[torch.Tensor], torch.Tensor], index: torch.Tensor) -> torch.Tensor:
        reward_KR = rewards(self._inputs(index))
        return answer_loss(reward_KR.reshape(len(reward_KR), len(index), -1), self._answers.at(index))

    def curvature(self, model: RewardModel) -> torch.Tensor:
        """Return Σ Φᵀ M Φ, Φ of a question's responses and M the curvature of its loss in their rewards."""
        head_D = model.weights["head"][0].double()
        total_DD = torch.zeros(len(head_D), len(head_D), dtype=torch.float64)
        for index in torch.arange(len(self.weight_P)).split(BLOCK_QUESTIONS):
            phi_RD = last_layer_features(model.weights, self._inputs(index))[0].double()
            phi_PQD = phi_RD.reshape(len(index), -1, len(head_D))
            matrix_PQQ = loss_curvature(phi_PQD @ head_D, self._exact.at(index))
            weighted_PQD = self.weight_P[index].double()[:, None, None] * (matrix_PQQ @ phi_PQD)
            total_DD += phi_RD.T @ weighted_PQD.flatten(0, 1)
        return (total_DD + total_DD.T) / 2
