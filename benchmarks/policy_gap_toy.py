"""How the rules on label information fare where everything can be enumerated: a log-linear policy, no neural network.

    python benchmarks/policy_gap_toy.py                 # some minutes on one core; a table per question
    python benchmarks/policy_gap_toy.py --seeds 4       # to see that it runs

The world: 24 kinds of prompt whose frequencies follow Zipf's law (exponent 1.3), 32 possible responses to each, of 1 to
8 tokens. A response's features are the sum of its tokens', part shared by all kinds (6 dimensions) and part of the
kind's own (4 each). The policy is π_θ(y|x) ∝ exp(θ·f(x, y)), the reference θ = 0, the implicit reward's margin
β θ·(f_a − f_b), and the oracle's reward β θ*·f with θ* drawn anew for every seed: realizable, as the theory asks.
600 candidate pairs are drawn once (kinds by frequency, responses from the reference). 128 labels in 8 rounds, the first
round random; the policy is fitted to all labels so far as the DPO loss plus a ridge. Seeds are paired: the same world,
pool, first batch and answers for every rule.

Measured: the oracle's mean reward under the policy, every kind counted alike ("per kind") or by frequency ("weighted"),
and the oracle objective J = reward − β KL, by frequency: each as area under the learning curve over rounds 1 to 8, less
that of random choice on the same seed.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from duelist.acquisition.activedpo import ActiveDPO, ActiveDPOConfig
from duelist.acquisition.base import Acquisition, choose, take
from duelist.acquisition.information import Information, InformationConfig
from duelist.acquisition.policy_gap import PolicyGap, PolicyGapConfig
from duelist.acquisition.random import Random
from duelist.types import Features

KINDS, RESPONSES, VOCABULARY, SHARED, OWN = 24, 32, 10, 6, 4
ZIPF, POOL, BUDGET, ROUNDS, TARGETS = 1.3, 600, 16, 8, 400
REWARD_DEVIATION = 1.5  # of the oracle's reward within a kind, on average


class World:
    """One seed's prompts, responses, oracle, pool and answers."""

    def __init__(self, seed: int, beta: float, nuisance: int, misfit: float) -> None:
        rng = np.random.default_rng(seed)
        d = SHARED + KINDS * OWN
        self.beta = beta
        frequency_X = np.arange(1, KINDS + 1) ** -ZIPF
        self.frequency_X = frequency_X / frequency_X.sum()
        self.length_XY = rng.integers(1, 9, size=(KINDS, RESPONSES))
        self.feature_XYD = np.zeros((KINDS, RESPONSES, d))
        shared_VS = rng.normal(size=(VOCABULARY, SHARED))
        for x in range(KINDS):
            own_VO = rng.normal(size=(VOCABULARY, OWN))
            own = slice(SHARED + x * OWN, SHARED + (x + 1) * OWN)
            for y in range(RESPONSES):
                tokens_T = rng.integers(VOCABULARY, size=self.length_XY[x, y])
                self.feature_XYD[x, y, :SHARED] = shared_VS[tokens_T].sum(axis=0)
                self.feature_XYD[x, y, own] = own_VO[tokens_T].sum(axis=0)
        theta_D = rng.normal(size=d)
        reward_XY = self.feature_XYD @ theta_D
        scale = REWARD_DEVIATION / reward_XY.std(axis=1).mean()
        self.best_D = theta_D * scale / beta
        self.precision = (beta / scale) ** 2  # of each weight of θ*, as it was drawn: 1 / its variance
        self.reward_XY = beta * self.feature_XYD @ self.best_D
        self.kind_N = rng.choice(KINDS, size=POOL, p=self.frequency_X)
        self.pair_N2 = np.array([rng.choice(RESPONSES, size=2, replace=False) for _ in range(POOL)])
        self.answer_N = rng.random(POOL)  # a is preferred where this lies under σ(true margin)
        self.seed = seed
        # What no policy can express, and what any can express but the oracle does not care for.
        self.reward_XY += misfit * REWARD_DEVIATION * rng.normal(size=self.reward_XY.shape)
        if nuisance:
            size = np.sqrt((self.feature_XYD**2).sum(axis=2).mean() / nuisance)
            noise_XYD = size * rng.normal(size=(KINDS, RESPONSES, nuisance))
            self.feature_XYD = np.concatenate([self.feature_XYD, noise_XYD], axis=2)

    def policy(self, theta_D: np.ndarray) -> np.ndarray:
        """π_θ(y|x) of every response, `[X, Y]`."""
        logit_XY = self.feature_XYD @ theta_D
        weight_XY = np.exp(logit_XY - logit_XY.max(axis=1, keepdims=True))
        return np.asarray(weight_XY / weight_XY.sum(axis=1, keepdims=True))

    def differences(self, kind_M: np.ndarray, pair_M2: np.ndarray, theta_D: np.ndarray, normalize: str) -> np.ndarray:
        """φ of some pairs, as the `gradient` featurizer would give them."""
        gradient_XYD = self.feature_XYD - np.einsum("xy,xyd->xd", self.policy(theta_D), self.feature_XYD)[:, None]
        if normalize == "token":
            gradient_XYD = self.beta * gradient_XYD / self.length_XY[..., None]
        elif normalize == "response":
            gradient_XYD = gradient_XYD / np.linalg.norm(gradient_XYD, axis=2, keepdims=True)
        else:
            gradient_XYD = self.beta * gradient_XYD
        return np.asarray(gradient_XYD[kind_M, pair_M2[:, 0]] - gradient_XYD[kind_M, pair_M2[:, 1]])

    def values(self, theta_D: np.ndarray) -> dict[str, float]:
        """What is measured of a policy."""
        policy_XY = self.policy(theta_D)
        reward_X = (policy_XY * (self.reward_XY - self.reward_XY.mean(axis=1, keepdims=True))).sum(axis=1)
        kl_X = (policy_XY * np.log(np.maximum(policy_XY, 1e-300) * RESPONSES)).sum(axis=1)
        return {
            "per_kind": float(reward_X.mean()),
            "weighted": float(self.frequency_X @ reward_X),
            "objective": float(self.frequency_X @ (reward_X - self.beta * kl_X)),
            "objective_per_kind": float((reward_X - self.beta * kl_X).mean()),
        }


@dataclass(frozen=True)
class Arm:
    """A rule, and what it is shown."""

    rule: Callable[[World], Acquisition]
    normalize: str = "none"
    candidates: int | None = None
    targets: str = "frequency"  # or "kinds": each kind as often as any other
    true_margins: bool = False


def fit(phi_PD: np.ndarray, chosen_a_P: np.ndarray, ridge: float) -> np.ndarray:
    """The minimum of the DPO loss plus ridge/2 |θ|², by Newton's method."""
    signed_PD = np.where(chosen_a_P[:, None], phi_PD, -phi_PD)
    theta_D = np.zeros(phi_PD.shape[1])

    def loss(at_D: np.ndarray) -> float:
        return float(np.logaddexp(0, -signed_PD @ at_D).sum() + ridge / 2 * at_D @ at_D)

    for _ in range(50):
        wrong_P = 1 / (1 + np.exp(signed_PD @ theta_D))
        slope_D = ridge * theta_D - signed_PD.T @ wrong_P
        curve_DD = (signed_PD * (wrong_P * (1 - wrong_P))[:, None]).T @ signed_PD + ridge * np.eye(len(theta_D))
        step_D, size = np.linalg.solve(curve_DD, slope_D), 1.0
        while size > 1e-6 and loss(theta_D - size * step_D) > loss(theta_D):
            size /= 2
        theta_D = theta_D - size * step_D
        if np.abs(step_D).max() < 1e-8:
            break
    return theta_D


def run(world: World, arm: Arm, ridge: float) -> dict[str, Any]:
    """One study: the measured values after each round, and what the rule reported."""
    rng = np.random.default_rng([world.seed, 7])
    rule = arm.rule(world)
    theta_D = np.zeros(world.feature_XYD.shape[2])
    phi_ND = world.differences(world.kind_N, world.pair_N2, theta_D, "none")  # of the labels: linear in θ
    true_N = np.subtract(*world.reward_XY[world.kind_N[:, None], world.pair_N2].T)
    a_N = world.answer_N < 1 / (1 + np.exp(-true_N))
    asked: list[int] = []
    asked_margin: list[float] = []
    curve: list[dict[str, float]] = []
    reported: list[dict[str, float]] = []
    for t in range(ROUNDS):
        left = np.setdiff1d(np.arange(POOL), asked)
        margin_N = true_N if arm.true_margins else phi_ND @ theta_D
        if t and arm.candidates:
            left = np.sort(rng.permutation(left)[: arm.candidates * BUDGET])
        features = shown(world, arm, theta_D, margin_N, np.array(asked, np.int64), np.array(asked_margin), a_N, rng)
        past = take(features, np.array(asked, np.int64))
        known = replace(take(features, left), past=past)
        selection = choose(Random() if t == 0 else rule, known, BUDGET, np.random.default_rng([world.seed, t]))
        picked = left[selection.indices_B]
        asked_margin += (phi_ND[picked] @ theta_D).tolist()
        asked += picked.tolist()
        reported.append(dict(selection.diagnostics))
        theta_D = fit(phi_ND[asked], a_N[asked], ridge * world.precision)
        curve.append(world.values(theta_D))
    return {"curve": curve, "reported": reported, "kinds": len(set(world.kind_N[asked].tolist()))}


def shown(
    world: World,
    arm: Arm,
    theta_D: np.ndarray,
    margin_N: np.ndarray,
    asked: np.ndarray,
    asked_margin: np.ndarray,
    a_N: np.ndarray,
    rng: np.random.Generator,
) -> Features:
    """What a rule may see of the whole pool."""
    votes_N2, asked_margin_N = np.zeros((POOL, 2), np.int64), np.zeros(POOL)
    votes_N2[asked, 0], votes_N2[asked, 1] = a_N[asked], ~a_N[asked]
    asked_margin_N[asked] = asked_margin
    share_X = world.frequency_X if arm.targets == "frequency" else np.full(KINDS, 1 / KINDS)
    kind_M = rng.choice(KINDS, size=TARGETS, p=share_X)
    sum_XY = world.policy(theta_D).cumsum(axis=1)
    drawn_M2 = (rng.random((TARGETS, 2, 1)) > sum_XY[kind_M][:, None]).sum(axis=2).clip(max=RESPONSES - 1)
    ids = np.array([f"pair{i}" for i in range(POOL)])
    return Features(
        pair_id_N=ids,
        prompt_ids_N2=np.array([(f"kind{x}", f"kind{x}") for x in world.kind_N]),
        response_ids_N2=np.array([(f"{i}a", f"{i}b") for i in ids]),
        length_N2=world.length_XY[world.kind_N[:, None], world.pair_N2],
        margin_N=margin_N,
        gradient_ND=world.differences(world.kind_N, world.pair_N2, theta_D, arm.normalize),
        votes_N2=votes_N2,
        asked_margin_N=asked_margin_N,
        target_MD=world.differences(kind_M, drawn_M2, theta_D, arm.normalize),
    )


def gap(**settings: Any) -> Callable[[World], Acquisition]:
    """`policy_gap` with these settings; λ = "true" is the precision that θ* was drawn with."""

    def make(world: World) -> Acquisition:
        if settings.get("lambda") == "true":
            return PolicyGap(PolicyGapConfig(**{**settings, "lambda": world.precision, "lambda_relative": False}))
        return PolicyGap(PolicyGapConfig(**settings))

    return make


def information(**settings: Any) -> Callable[[World], Acquisition]:
    """`information` with these settings; λ = "true" as for `gap`."""

    def make(world: World) -> Acquisition:
        if settings.get("lambda") == "true":
            return Information(InformationConfig(**{**settings, "lambda": world.precision, "lambda_relative": False}))
        return Information(InformationConfig(**settings))

    return make


def arms() -> dict[str, Arm]:
    """Every rule that is tried, by what it is called in the tables."""
    found: dict[str, Arm] = {"random": Arm(lambda _: Random())}
    for normalize in ("none", "token", "response"):
        for c in (None, 5):
            suffix = f"{normalize}{', c=5' if c else ''}"
            found[f"activedpo: {suffix}"] = Arm(lambda _: ActiveDPO(ActiveDPOConfig()), normalize, c)
            found[f"information: {suffix}"] = Arm(information(), normalize, c)
    found["information: p not calibrated"] = Arm(information(calibrate=False))
    found["information: true p"] = Arm(information(calibrate=False), true_margins=True)
    found["information: λ true"] = Arm(information(**{"lambda": "true"}))
    for size in (0.01, 0.1, 1.0, 10.0):
        found[f"policy_gap: pool, λ {size}"] = Arm(gap(target="pool", **{"lambda": size}))
    found["policy_gap: pool, λ true"] = Arm(gap(target="pool", **{"lambda": "true"}))
    for size in (0.01, 0.1, 1.0, "true"):
        found[f"policy_gap: drawn, λ {size}"] = Arm(gap(**{"lambda": size}))
    found["policy_gap: drawn, λ true, p not calibrated"] = Arm(gap(calibrate=False, **{"lambda": "true"}))
    found["policy_gap: drawn, λ true, true p"] = Arm(gap(calibrate=False, **{"lambda": "true"}), true_margins=True)
    found["policy_gap: drawn, λ true, c=5"] = Arm(gap(**{"lambda": "true"}), candidates=5)
    found["policy_gap: drawn by kind, λ 0.01"] = Arm(gap(**{"lambda": 0.01}), targets="kinds")
    found["policy_gap: drawn by kind, λ true"] = Arm(gap(**{"lambda": "true"}), targets="kinds")
    found["policy_gap: drawn, λ 0.01, token"] = Arm(gap(**{"lambda": 0.01}), "token")
    found["policy_gap: drawn, λ 0.1, token"] = Arm(gap(**{"lambda": 0.1}), "token")
    found["policy_gap: drawn, λ 0.01, c=5"] = Arm(gap(**{"lambda": 0.01}), candidates=5)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--beta", type=float, default=0.5)
    parser.add_argument("--ridge", type=float, default=1.0, help="of the fit, times the true precision of θ*")
    parser.add_argument("--nuisance", type=int, default=0, help="features that the oracle does not care for")
    parser.add_argument("--misfit", type=float, default=0.0, help="part of the reward that no policy can express")
    parser.add_argument("--only", default="", help="arms whose name holds this")
    parser.add_argument("-o", "--output", type=Path, help="a JSON file for all numbers")
    asked = parser.parse_args()
    chosen = {name: arm for name, arm in arms().items() if asked.only in name or name == "random"}
    auc: dict[str, list[dict[str, float]]] = {name: [] for name in chosen}
    kinds: dict[str, list[int]] = {name: [] for name in chosen}
    for seed in range(asked.first_seed, asked.first_seed + asked.seeds):
        world = World(seed, asked.beta, asked.nuisance, asked.misfit)
        for name, arm in chosen.items():
            result = run(world, arm, asked.ridge)
            keys = result["curve"][0]
            auc[name].append({k: float(np.mean([v[k] for v in result["curve"]])) for k in keys})
            kinds[name].append(result["kinds"])
    metrics = list(auc["random"][0])
    print(f"{asked.seeds} paired seeds from {asked.first_seed}, β = {asked.beta}, ridge × {asked.ridge}, ", end="")
    print(f"nuisance {asked.nuisance}, misfit {asked.misfit}:")
    print("area under the curve less random's, mean ± standard error (seeds won). Random itself: ", end="")
    print(", ".join(f"{m} {np.mean([x[m] for x in auc['random']]):.3f}" for m in metrics))
    print("| rule | " + " | ".join(metrics) + " | kinds asked |\n|---|" + "---|" * (len(metrics) + 1))
    for name, values in auc.items():
        cells = []
        for m in metrics:
            more = np.array([x[m] - y[m] for x, y in zip(values, auc["random"], strict=True)])
            error = more.std(ddof=1) / np.sqrt(len(more)) if len(more) > 1 else float("nan")
            cells.append(f"{more.mean():+.3f} ± {error:.3f} ({(more > 0).sum()})")
        print(f"| {name} | " + " | ".join(cells) + f" | {np.mean(kinds[name]):.1f} |")
    if asked.output:
        asked.output.write_text(json.dumps({"auc": auc, "arguments": vars(asked)}, default=str), encoding="utf-8")


if __name__ == "__main__":
    main()
