"""Questions of several responses by the definitions: enumerated information, dense matrices, every candidate tried."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations, permutations
from typing import Any

import numpy as np

from duelist.types import Features


def matrix_of(rewards: Any, asks: str, scales: Any = (1.0,)) -> np.ndarray:
    """M of one question: the sum over all answers of P times the outer product of the score."""
    k = len(rewards)
    unit = np.eye(k)

    def softmax(among: list[int], scale: float) -> np.ndarray:
        odds = np.zeros(k)
        odds[among] = np.exp(scale * (rewards[among] - rewards[among].max()))
        return np.asarray(odds / odds.sum())

    matrix = np.zeros((k, k))
    if asks == "best_worst" and k > 2:
        pairs = list(permutations(range(k), 2))
        weight = np.array([np.exp(rewards[b] - rewards[w]) for b, w in pairs])
        signs = np.array([unit[b] - unit[w] for b, w in pairs])
        mean = weight @ signs / weight.sum()
        return np.asarray(((signs - mean).T * (weight / weight.sum())) @ (signs - mean))
    for order in permutations(range(k)):
        probability, score = 1.0, np.zeros(k)
        for j in range(1 if asks == "best_of_k" else k - 1):
            scale = scales[min(j, len(scales) - 1)]
            p = softmax(list(order[j:]), scale)
            probability *= p[order[j]]
            score = score + scale * (unit[order[j]] - p)
        share = 1.0 if asks != "best_of_k" else 1 / np.prod(np.arange(1, k))  # orders with the same first one
        matrix += share * probability * np.outer(score, score)
    return matrix


def members(features: Any, i: int) -> np.ndarray:
    return np.asarray(features.place_NQ[i][features.place_NQ[i] >= 0])


def information(
    features: Features, field: str = "gradient", weighted: bool = True, tau: float = 1.0, scales: Any = (1.0,)
) -> np.ndarray:
    """Gᵀ M G / τ² of every question, `[N, D, D]`."""
    vectors: Any = getattr(features, f"{field}_RD")
    matrices = []
    for i in range(features.n):
        mine = members(features, i)
        asks = str(features.asks_N[i])  # type: ignore[index]
        rewards: Any = features.reward_R[mine] / tau if weighted else np.zeros(len(mine))  # type: ignore[index]
        one = matrix_of(rewards, asks, scales) if weighted else 4 * matrix_of(rewards, asks)
        g = np.asarray(vectors[mine], np.float64)
        matrices.append(g.T @ one @ g / tau**2)
    return np.array(matrices).reshape(-1, vectors.shape[1], vectors.shape[1])


def pool_moment(features: Features, field: str = "gradient") -> np.ndarray:
    """The mean over the questions of the mean over their pairs of φφᵀ."""
    vectors: Any = getattr(features, f"{field}_RD")
    parts = []
    for i in range(features.n):
        both = [vectors[a] - vectors[b] for a, b in combinations(members(features, i), 2)]
        parts.append(np.mean([np.outer(x, x) for x in both], axis=0))
    return np.asarray(np.mean(parts, axis=0))


def greedy(
    start_DD: np.ndarray, one_NDD: np.ndarray, budget: int, criterion: Callable[[np.ndarray], float], cost_N: Any = None
) -> tuple[list[int], list[float], np.ndarray]:
    """The picks that raise the criterion most (per cost), what each raised it by, and the matrix after them."""
    picks: list[int] = []
    rises: list[float] = []
    cost_N = np.ones(len(one_NDD)) if cost_N is None else cost_N
    for _ in range(budget):
        before = criterion(start_DD)
        rise = np.array([criterion(start_DD + one) - before for one in one_NDD])
        worth = rise / cost_N
        worth[picks] = -np.inf
        picks.append(int(worth.argmax()))
        rises.append(float(rise[picks[-1]]))
        start_DD = start_DD + one_NDD[picks[-1]]
    return picks, rises, start_DD


def logdet(matrix_DD: np.ndarray) -> float:
    return float(np.linalg.slogdet(matrix_DD)[1])


def best_left(matrix_DD: np.ndarray, one_NDD: np.ndarray, picks: list[int]) -> float:
    """What the best of the questions that are left would add to the log-determinant."""
    return max(logdet(matrix_DD + one_NDD[i]) for i in range(len(one_NDD)) if i not in picks) - logdet(matrix_DD)
