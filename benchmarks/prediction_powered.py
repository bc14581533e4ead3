"""Whether a judge saves people's labels, and whether a useless one does harm: prediction-powered training in formulas.

    python benchmarks/prediction_powered.py DIR              # about an hour on one core; goes on where it ended
    python benchmarks/prediction_powered.py DIR --seeds 0:4  # to see that it runs
    python benchmarks/prediction_powered.py DIR --table      # the table of what is there

The world is that of policy_gap_toy.py: 24 kinds of prompt with Zipf frequencies, 32 enumerable responses each, a
log-linear policy, a linear reward drawn anew for every seed. Every round draws 600 new candidate pairs (kinds by
frequency, responses from the reference), asks 16 of them, and has 256 others judged. A person prefers a with
probability σ(true margin). The policy is fitted to all labels so far, as the DPO loss plus a ridge.

Judges: right about which response is truly better in 50, 65, 80 or 95 % of the pairs, drawn anew for each pair and
seed, and then certain of it (probability 0 or 1). `longer`: like 80 %, but in half of the pairs it says the longer one.
`left`: like 80 %, but in half of the pairs it says the one shown first, in both orders: its mean is 1/2. `silent`: like
95 %, but without a verdict on half of the pairs. `opposite`: wrong in 80 % of the pairs. `vote`: agrees with the vote
of the person asked, in 65, 80 or 95 % of the pairs, so it also knows of what the policy's features do not tell.

Sampling: `random`; `chosen`: `information` with half of each batch as control slice, every label of weight 1;
`chosen, inclusion`: the same batches, people's labels weighted by their inclusion probabilities. Training: people
alone; prediction_powered, tuned or with a fixed ω; as_people: judged pairs as more labels.
Seeds are paired: the same world, pools and answers.

Measured: the oracle's mean reward under the policy by frequency, and J = reward − β KL.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy import stats

from duelist.acquisition.base import choose
from duelist.acquisition.control import control_size, with_control
from duelist.acquisition.information import Information, InformationConfig
from duelist.choice_models.prediction_powered import FOLDS, PoolSample, Weights, coefficients, tuned_omegas
from duelist.types import Features
from policy_gap_toy import RESPONSES, World

BETA, POOL, BUDGET, ROUNDS, JUDGED, CONTROL = 0.5, 600, 16, 16, 256, 0.5
METRICS = ("weighted", "objective")


@dataclass(frozen=True)
class Judge:
    """A simulated judge: how often it is right, and what else decides its verdicts."""

    right: float
    bias: str = ""


JUDGES = {
    "50 %": Judge(0.5),
    "65 %": Judge(0.65),
    "80 %": Judge(0.8),
    "95 %": Judge(0.95),
    "longer": Judge(0.8, "longer"),
    "left": Judge(0.8, "left"),
    "silent": Judge(0.95, "silent"),
    "opposite": Judge(0.2),
    "vote 65 %": Judge(0.65, "vote"),
    "vote 80 %": Judge(0.8, "vote"),
    "vote 95 %": Judge(0.95, "vote"),
}


@dataclass(frozen=True)
class Arm:
    """How pairs are asked, and how a judge is used."""

    sampling: str = "random"
    training: str = "people"
    judge: str = ""
    omega: float | None = None  # tuned

    @property
    def name(self) -> str:
        omega = "" if self.omega is None else f" ω={self.omega:g}"
        return ", ".join(x for x in (self.sampling, self.training + omega, self.judge) if x)


def arms() -> list[Arm]:
    """Every arm; people alone come first."""
    found = [Arm(), Arm("chosen"), Arm("chosen, inclusion")]
    found += [Arm(training="prediction_powered", judge=judge) for judge in JUDGES]
    found += [Arm(training="as_people", judge=judge) for judge in ("50 %", "65 %", "95 %", "longer")]
    found += [Arm(training="prediction_powered", judge=judge, omega=1.0) for judge in ("50 %", "95 %")]
    for sampling in ("chosen", "chosen, inclusion"):
        found += [Arm(sampling, "prediction_powered", judge) for judge in ("50 %", "95 %")]
    return found


@dataclass(frozen=True)
class Pool:
    """One round's pairs, and what everybody would say of them."""

    kind_N: np.ndarray
    phi_ND: np.ndarray
    a_N: np.ndarray  # whether a person prefers a
    share_N: dict[str, np.ndarray]  # of each judge: its probability of a
    verdict_N: dict[str, np.ndarray]  # whether it has one


def pools(world: World, seed: int) -> list[Pool]:
    """The pools of all rounds, the same for every arm."""
    found = []
    for t in range(ROUNDS):
        rng = np.random.default_rng([seed, 1, t])
        kind_N = rng.choice(len(world.frequency_X), size=POOL, p=world.frequency_X)
        pair_N2 = np.array([rng.choice(RESPONSES, size=2, replace=False) for _ in range(POOL)])
        true_N = np.subtract(*world.reward_XY[kind_N[:, None], pair_N2].T)
        longer_N = np.sign(np.subtract(*world.length_XY[kind_N[:, None], pair_N2].T))
        a_N = rng.random(POOL) < 1 / (1 + np.exp(-true_N))
        luck_N, swayed_N = rng.random(POOL), rng.random(POOL) < 0.5
        phi_ND = world.differences(kind_N, pair_N2, np.zeros(world.feature_XYD.shape[2]), "none")
        shares, verdicts = {}, {}
        for name, judge in JUDGES.items():
            share_N = ((a_N if judge.bias == "vote" else true_N > 0) == (luck_N < judge.right)).astype(float)
            if judge.bias == "longer":
                share_N = np.where(swayed_N & (longer_N != 0), (1 + longer_N) / 2, share_N)
            if judge.bias == "left":
                share_N = np.where(swayed_N, 0.5, share_N)
            shares[name] = share_N
            verdicts[name] = ~swayed_N if judge.bias == "silent" else np.ones(POOL, bool)
        found.append(Pool(kind_N, phi_ND, a_N, shares, verdicts))
    return found


def fit(phi_ND: np.ndarray, coefficient_N2: np.ndarray, ridge: float, start_D: np.ndarray) -> np.ndarray:
    """A minimum of Σ c_a (−log σ(m)) + c_b (−log σ(−m)) + ridge/2 |θ|², by Newton's method on a convex model of it."""
    theta_D, (for_a_N, for_b_N) = start_D, coefficient_N2.T

    def loss(at_D: np.ndarray) -> float:
        m_N = phi_ND @ at_D
        return float(for_a_N @ np.logaddexp(0, -m_N) + for_b_N @ np.logaddexp(0, m_N) + ridge / 2 * at_D @ at_D)

    for _ in range(100):
        p_N = 1 / (1 + np.exp(-np.clip(phi_ND @ theta_D, -500, 500)))
        slope_D = ridge * theta_D + phi_ND.T @ (for_b_N * p_N - for_a_N * (1 - p_N))
        weight_N = np.maximum((for_a_N + for_b_N) * p_N * (1 - p_N), 0)
        step_D, size = np.linalg.solve((phi_ND.T * weight_N) @ phi_ND + ridge * np.eye(len(theta_D)), slope_D), 1.0
        before = loss(theta_D)
        while size > 1e-6 and loss(theta_D - size * step_D) > before:
            size /= 2
        theta_D = theta_D - size * step_D
        if np.abs(size * step_D).max() < 1e-6:
            break
    return theta_D


def sample_of(
    pool: Pool, judge: str, asked: np.ndarray, certain: np.ndarray, further: np.ndarray, margin: np.ndarray
) -> PoolSample:
    """The round as the loss sees it."""

    def of_judge(rows: np.ndarray) -> np.ndarray:
        share = pool.share_N[judge][rows]
        return np.asarray(np.stack([share, 1 - share], axis=1) * pool.verdict_N[judge][rows, None])

    people = pool.a_N[asked].astype(float)
    people_P2, folds = np.stack([people, 1 - people], axis=1), np.arange(len(asked)) % FOLDS
    return PoolSample(
        POOL, certain, np.ones(len(asked), bool), people_P2, of_judge(asked), margin, folds, of_judge(further)
    )


def run(world: World, rounds: list[Pool], arm: Arm, seed: int) -> dict[str, list[float]]:
    """One study: what is measured after each round, and the mean ω."""
    theta_D = np.zeros(world.feature_XYD.shape[2])
    found: dict[str, list[float]] = {name: [world.values(theta_D)[name]] for name in METRICS} | {"omega": []}
    samples: list[PoolSample] = []
    rows: list[tuple[np.ndarray, np.ndarray]] = []
    past = Features.identities([])
    for t, pool in enumerate(rounds):
        rng = np.random.default_rng([seed, 2, t])
        order = rng.permutation(POOL)
        asked, certain = order[:BUDGET], np.zeros(BUDGET, bool)
        if arm.sampling != "random":
            asked, certain, past = chosen(pool, theta_D, past, t, seed)
        further = order[~np.isin(order, asked)][:JUDGED]
        judge = arm.judge or "50 %"
        samples.append(sample_of(pool, judge, asked, certain, further, pool.phi_ND[asked] @ theta_D))
        rows.append((asked, further))
        phi_ND = np.concatenate([p.phi_ND[i] for p, parts in zip(rounds, rows, strict=False) for i in parts])
        c_N2, omega = losses(arm, samples)
        theta_D = fit(phi_ND, c_N2, world.precision, theta_D)
        for name in METRICS:
            found[name].append(world.values(theta_D)[name])
        found["omega"].append(omega)
    return found


def losses(arm: Arm, samples: list[PoolSample]) -> tuple[np.ndarray, float]:
    """The coefficients of all pairs so far, and the mean ω."""
    if arm.training == "as_people":
        return np.concatenate([np.concatenate([s.people_P2, s.judge_R2]) for s in samples]), 0.0
    omegas = [np.zeros(len(s.fold_P)) for s in samples]
    if arm.training == "prediction_powered":
        omegas = tuned_omegas(samples) if arm.omega is None else [np.full(len(s.fold_P), arm.omega) for s in samples]
    weights: Weights = "inclusion" if "inclusion" in arm.sampling else "equal"
    found = [coefficients(s, omega_P, weights) for s, omega_P in zip(samples, omegas, strict=True)]
    return np.concatenate([x for c in found for x in (c.asked_P2, c.further_R2)]), float(np.concatenate(omegas).mean())


def chosen(
    pool: Pool, theta_D: np.ndarray, past: Features, t: int, seed: int
) -> tuple[np.ndarray, np.ndarray, Features]:
    """The batch of `information` with a control slice, which of it was taken for certain, and what is past then."""
    ids = np.array([f"{t} {i}" for i in range(POOL)])
    two = np.stack([ids, ids], axis=1)
    seen = Features(
        ids, two, two, np.ones((POOL, 2), np.int64), margin_N=pool.phi_ND @ theta_D, gradient_ND=pool.phi_ND
    )
    if past.margin_N is None:
        past = replace(past, margin_N=np.zeros(0), gradient_ND=np.zeros((0, pool.phi_ND.shape[1])))
    past = replace(past, margin_N=past.gradient_ND @ theta_D)
    rule = Information(InformationConfig(calibrate=False))
    picked = choose(rule, replace(seen, past=past), BUDGET, np.random.default_rng([seed, 3, t]))
    sampled = with_control(picked, ids.tolist(), control_size(CONTROL, BUDGET), np.random.default_rng([seed, 4, t]))
    rows = sampled.selection.indices_B
    grown = {
        name: np.concatenate([getattr(past, name), getattr(seen, name)[rows]])
        for name in vars(seen)
        if getattr(seen, name) is not None
    }
    return rows, sampled.inclusion_B == 1, Features(**grown)


Results = dict[str, dict[int, dict[str, list[float]]]]  # arm -> seed -> numbers


@dataclass(frozen=True)
class Outcome:
    """An arm against people alone, in one metric.

    Attributes:
        more: mean of the end − that of people alone on the same seeds.
        half_width: of its 95 % t-interval.
        low: lower end of that interval, in per cent of what people alone gain.
        high: upper end.
        labels: labels at which the mean curve first reaches the end of people alone, or `never`.
        omega: mean ω.
    """

    more: float
    half_width: float
    low: float
    high: float
    labels: str
    omega: float


def outcome(results: Results, arm: str, metric: str) -> Outcome:
    """An arm against people alone, over the seeds that every arm has."""
    own, base = results[arm], results[Arm().name]
    seeds = sorted(set.intersection(*(set(x) for x in results.values())))
    more = np.array([own[s][metric][-1] - base[s][metric][-1] for s in seeds])
    gain = float(np.mean([base[s][metric][-1] - base[s][metric][0] for s in seeds]))
    half = stats.t.ppf(0.975, len(seeds) - 1) * more.std(ddof=1) / np.sqrt(len(seeds)) if len(seeds) > 1 else 0.0
    curve = np.mean([own[s][metric] for s in seeds], axis=0)
    labels = crossing(curve, float(np.mean([base[s][metric][-1] for s in seeds])))
    low, high = (100 * (more.mean() + side * half) / gain for side in (-1, 1))
    omega = float(np.mean([own[s]["omega"] for s in seeds]))
    return Outcome(float(more.mean()), float(half), float(low), float(high), labels, omega)


def table(results: Results) -> str:
    """The results as Markdown: J and reward at the end, and the labels to the end of people alone."""
    seeds = set.intersection(*(set(x) for x in results.values()))
    lines = [f"{len(seeds)} seeds, {ROUNDS} rounds of {BUDGET} labels, {JUDGED} judged pairs a round:", ""]
    heads = ("sampling, training, judge", "reward − people alone", "of its gain", "J − people alone", "of its gain")
    heads += ("labels to people alone's J", "mean ω")
    lines += [f"| {' | '.join(heads)} |", "|:--|--:|--:|--:|--:|--:|--:|"]
    for arm in arms():
        found = [outcome(results, arm.name, metric) for metric in METRICS]
        cells = [x for f in found for x in (f"{f.more:+.4f} ± {f.half_width:.4f}", f"{f.low:+.1f} to {f.high:+.1f} %")]
        lines.append(f"| {arm.name} | {' | '.join(cells)} | {found[-1].labels} | {found[-1].omega:.2f} |")
    return "\n".join(lines)


def crossing(curve: np.ndarray, goal: float) -> str:
    """The labels at which a mean curve first reaches a value, linear between rounds."""
    above = np.flatnonzero(curve >= goal - 1e-12)
    if not len(above):
        return "never"
    i = int(above[0])
    part = 1.0 if i == 0 else (goal - curve[i - 1]) / (curve[i] - curve[i - 1])
    return str(round(BUDGET * (i - 1 + part)))


def read(path: Path) -> Results:
    """The results so far. A line that a kill cut short is left out."""
    found: Results = {arm.name: {} for arm in arms()}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        if row["arm"] in found:
            found[row["arm"]][row["seed"]] = row["found"]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="for results.jsonl, a line per seed and arm")
    parser.add_argument("--seeds", default="0:100", help="FIRST:END")
    parser.add_argument("--table", action="store_true", help="run nothing")
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    path = asked.folder / "results.jsonl"
    first, end = (0, 0) if asked.table else map(int, asked.seeds.split(":"))
    for seed in range(first, end):
        done = read(path)
        missing = [arm for arm in arms() if seed not in done[arm.name]]
        if not missing:
            continue
        world = World(seed, BETA, 0, 0.0)
        rounds = pools(world, seed)
        for arm in missing:
            row = {"arm": arm.name, "seed": seed, "found": run(world, rounds, arm, seed)}
            with path.open("a", encoding="utf-8") as file:
                file.write(
                    "\n" * bool(path.stat().st_size and not path.read_bytes().endswith(b"\n")) + json.dumps(row) + "\n"
                )
    print(table(read(path)))


if __name__ == "__main__":
    main()
