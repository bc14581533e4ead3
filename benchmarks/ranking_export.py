"""What the export of rankings as pairs loses: the error of a reward fitted to implied pairs, relative to rankings.

A linear reward r(y) = θᵀx(y) on features x ~ N(0, I_D), θ ~ N(0, I_D · scale²/D), answers by Plackett-Luce. Each
estimator is the maximum of likelihood times the prior N(0, I_D · scale²/D):

    ranking    the Plackett-Luce likelihood of the whole rankings, the reference
    weighted   all implied pairs, with the weights of `duelist export --pairs all`
    counted    all implied pairs, each with weight 1
    adjacent   neighbours only, each with weight 1 (`--pairs adjacent`)
    best       the best of k only

The error is |θ̂ − θ|², averaged over seeds. Of `weighted`, `counted` and `adjacent` the exported form is used: rows of
(better, worse, weight) from `duelist.store.export.implied_pairs`.

Run: python benchmarks/ranking_export.py
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, log_softmax, softmax

from duelist.answers import REST
from duelist.store.export import implied_pairs
from duelist.types import Prompt, RankedSet, Response

Floats = NDArray[np.float64]
Loss = Callable[[Floats], tuple[float, Floats]]
PROMPT = Prompt.of("a prompt")


def sorted_answer(k: int, named: int) -> RankedSet:
    """Return the answer that ranks the first `named` of k responses in their order, and no others."""
    responses = tuple(Response.of(PROMPT, f"{i}", [1], [i + 2], 1) for i in range(k))
    ranks = tuple(i if i < named else REST for i in range(k))
    return RankedSet(PROMPT, responses, ranks, "ranking", "question", "annotator")


def of_rankings(features_NKD: Floats, stages: int) -> Loss:
    """Return −log of the Plackett-Luce likelihood of N rankings in the order of the rows, and its gradient."""

    def loss(theta_D: Floats) -> tuple[float, Floats]:
        value, gradient_D = 0.0, np.zeros_like(theta_D)
        for stage in range(stages):
            left_NKD = features_NKD[:, stage:]
            logit_NK = left_NKD @ theta_D
            value -= float(log_softmax(logit_NK, axis=1)[:, 0].sum())
            mean_ND = np.einsum("nk,nkd->nd", softmax(logit_NK, axis=1), left_NKD)
            gradient_D += (mean_ND - left_NKD[:, 0]).sum(axis=0)
        return value, gradient_D

    return loss


def of_pairs(features_NKD: Floats, pairs: list[tuple[int, int, float]]) -> Loss:
    """Return the weighted logistic loss of the pairs (better, worse, weight) of each of N answers, and its gradient."""
    phi_ND = np.concatenate([features_NKD[:, i] - features_NKD[:, j] for i, j, _ in pairs])
    weight_N = np.repeat([w for *_, w in pairs], len(features_NKD))

    def loss(theta_D: Floats) -> tuple[float, Floats]:
        margin_N = phi_ND @ theta_D
        return float(weight_N @ np.logaddexp(0, -margin_N)), -(weight_N * expit(-margin_N)) @ phi_ND

    return loss


def fitted(loss: Loss, dimension: int, precision: float) -> Floats:
    """Return the most probable θ."""

    def objective(theta_D: Floats) -> tuple[float, Floats]:
        value, gradient_D = loss(theta_D)
        return value + 0.5 * precision * float(theta_D @ theta_D), gradient_D + precision * theta_D

    return np.asarray(minimize(objective, np.zeros(dimension), jac=True, method="L-BFGS-B").x)


def errors(k: int, n: int, dimension: int, scale: float, seed: int) -> dict[str, float]:
    """Return |θ̂ − θ|² of each estimator for one seed."""
    rng = np.random.default_rng([k, n, seed])
    theta_D = rng.normal(size=dimension) * scale / np.sqrt(dimension)
    features_NKD = rng.normal(size=(n, k, dimension))
    order_NK = np.argsort(-(features_NKD @ theta_D + rng.gumbel(size=(n, k))), axis=1)
    features_NKD = np.take_along_axis(features_NKD, order_NK[:, :, None], axis=1)  # best first
    answer = sorted_answer(k, k)
    weighted = implied_pairs(answer)
    losses = {
        "ranking": of_rankings(features_NKD, k - 1),
        "weighted": of_pairs(features_NKD, weighted),
        "counted": of_pairs(features_NKD, [(i, j, 1.0) for i, j, _ in weighted]),
        "adjacent": of_pairs(features_NKD, implied_pairs(answer, "adjacent")),
        "best": of_rankings(features_NKD, 1),
    }
    precision = dimension / scale**2
    return {name: float(((fitted(x, dimension, precision) - theta_D) ** 2).sum()) for name, x in losses.items()}


def main() -> None:
    """Print the mean squared errors relative to that of the rankings, with standard errors over seeds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--dimension", type=int, default=10)
    options = parser.parse_args()
    names = ("weighted", "counted", "adjacent", "best")
    print("scale  k    n   " + "".join(f"{name:>16}" for name in names))
    for scale in (1.0, 3.0):
        for k in (3, 4, 6):
            for n in (20, 200):
                every = [errors(k, n, options.dimension, scale, seed) for seed in range(options.seeds)]
                reference = np.array([e["ranking"] for e in every])
                cells = []
                for name in names:
                    own = np.array([e[name] for e in every])
                    ratio = own.mean() / reference.mean()
                    deviation = (own - ratio * reference).std() / np.sqrt(len(own)) / reference.mean()
                    cells.append(f"{ratio:9.3f} ±{deviation:5.3f}")
                print(f"{scale:5.1f} {k:2d} {n:4d}   " + "".join(f"{cell:>16}" for cell in cells), flush=True)


if __name__ == "__main__":
    main()
