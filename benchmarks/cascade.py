"""The cascade's promise and what it saves, in simulated studies with judges of known accuracy.

    python benchmarks/cascade.py [--studies 400] [--rounds 8] [--budget 60] [--max-error 0.1] [--judge NAME ...]

No model runs: pairs, a judge's opinions and people's votes are drawn, and go round by round through the cascade's own
code (`duelist.cascade.labelling`). For each pair the probability is known that a random person disagrees with the
judge. So of every threshold that was trusted, the true error is known: its mean over a large sample of pairs that the
threshold takes. A study breaks the promise if any round trusted a threshold whose true error exceeds `--max-error`.

Prints for each judge: its accuracy (votes that it agrees with, ties included as disagreements), the share of the pairs
that people need not label, the error of the judge's labels that counted, and the number of studies that broke the
promise. At 95 % confidence, at most 31 of 400 may (a right procedure exceeds that with probability 0.7 %).

In the rows `border`, every threshold has an error just above the one allowed, the worst case for the promise. `grows`
breaks the promise's assumption: the judge becomes worse during the study.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from duelist.annotators.base import History
from duelist.cascade.labelling import Policy, labels_of
from duelist.cascade.trust import Trust
from duelist.judgement import Judgement
from duelist.types import Batch, Label, Outcome, Prompt, Question, Response

PROMPT = Prompt.of("simulated")
TIES, SKIPS = 0.01, 0.02  # shares of people's votes
REFERENCE = 20_000  # pairs that a threshold's true error is computed on


@dataclass(frozen=True)
class Pairs:
    """N simulated pairs. The judge decides for a where it decides; sides are shuffled afterwards.

    Attributes:
        confidence_N: what the judge gives its decision; NaN if it contradicts itself.
        error_N: probability that a random person's vote is not the judge's.
    """

    confidence_N: NDArray[np.float64]
    error_N: NDArray[np.float64]


# Draws so many pairs, given the largest error allowed and the share of the study that is over.
Draw = Callable[[np.random.Generator, int, float, float], Pairs]


def wrong(agrees_N: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the probability of disagreement, given that of agreement by those who do not say `tie`."""
    return 1 - (1 - TIES) * agrees_N


def calibrated_judge(accuracy: float) -> Draw:
    """A judge whose confidence is right: of those with confidence c, a share c of the votes agree."""

    def draw(rng: np.random.Generator, n: int, max_error: float, over: float) -> Pairs:
        mean = 2 * accuracy - 1
        confidence_N = 0.5 + 0.5 * rng.beta(2 * mean, 2 * (1 - mean), n)
        return Pairs(confidence_N, wrong(confidence_N))

    return draw


def useless(rng: np.random.Generator, n: int, max_error: float, over: float) -> Pairs:
    """A judge that tosses a coin, and is sure of it."""
    return Pairs(rng.uniform(0.5, 1, n), wrong(np.full(n, 0.5)))


def longer(rng: np.random.Generator, n: int, max_error: float, over: float) -> Pairs:
    """A judge that takes the longer response, surer the longer; people prefer it in three cases of five."""
    return Pairs(rng.uniform(0.6, 1, n), wrong(np.full(n, 0.6)))


def left(rng: np.random.Generator, n: int, max_error: float, over: float) -> Pairs:
    """A judge that takes what is shown first in seven cases of ten, and is right in 85 % of the rest."""
    confidence_N = np.where(rng.random(n) < 0.7, np.nan, rng.uniform(0.6, 1, n))
    return Pairs(confidence_N, wrong(np.full(n, 0.85)))


def border(rng: np.random.Generator, n: int, max_error: float, over: float) -> Pairs:
    """A judge whose error is just above the one allowed, however sure it is."""
    return Pairs(rng.uniform(0.5, 1, n), np.full(n, max_error + 1e-6))


def border_of_few(rng: np.random.Generator, n: int, max_error: float, over: float) -> Pairs:
    """The same with two confidences, so that the thresholds are few."""
    return Pairs(rng.choice([0.7, 0.9], n), np.full(n, max_error + 1e-6))


def half_good(rng: np.random.Generator, n: int, max_error: float, over: float) -> Pairs:
    """A judge that is good where it is sure, and so bad elsewhere that all together are just above the error."""
    sure_N = rng.random(n) < 0.5
    confidence_N = np.where(sure_N, rng.uniform(0.9, 1, n), rng.uniform(0.5, 0.9, n))
    return Pairs(confidence_N, np.where(sure_N, 0.1, 1.9) * max_error + 1e-6)


def overconfident(rng: np.random.Generator, n: int, max_error: float, over: float) -> Pairs:
    """A judge that errs most where it is surest."""
    confidence_N = rng.uniform(0.5, 1, n)
    return Pairs(confidence_N, np.where(confidence_N > 0.9, 3.0, 0.6) * max_error)


def grows(rng: np.random.Generator, n: int, max_error: float, over: float) -> Pairs:
    """A judge that is good for half of the study, and then errs three times as often as allowed."""
    return Pairs(rng.uniform(0.5, 1, n), np.full(n, (0.1 if over < 0.5 else 3.0) * max_error))


JUDGES: Mapping[str, Draw] = {
    "50 %": useless,
    "65 %": calibrated_judge(0.65),
    "80 %": calibrated_judge(0.8),
    "95 %": calibrated_judge(0.95),
    "99 %": calibrated_judge(0.99),
    "longer": longer,
    "left": left,
    "border": border,
    "border, two": border_of_few,
    "half good": half_good,
    "overconfident": overconfident,
}
WITHOUT_PROMISE: Mapping[str, Draw] = {"grows": grows}


@dataclass(frozen=True)
class Outcomes:
    """What one study came to.

    Attributes:
        pairs: number of pairs.
        taken: number of pairs that the judge labelled.
        errors: number of these on which a person, if asked, would disagree.
        broken: whether a threshold was trusted whose true error exceeds the one allowed.
        agreeing: share of all votes that agree with the judge, as expected.
    """

    pairs: int
    taken: int
    errors: float
    broken: bool
    agreeing: float


def simulate(
    draw: Draw, seed: int, rounds: int, budget: int, max_error: float, audit_fraction: float = 0.2
) -> Outcomes:
    """Run one study: in each round the cascade decides on a batch, and one person votes on what is left."""
    rng = np.random.default_rng(seed)
    policy = Policy("judge", max_error, audit_fraction)
    asked: dict[str, Question] = {}
    told: list[Label] = []
    taken, errors, broken = 0, 0.0, False
    agreeing = list[float]()
    for t in range(1, rounds + 1):
        over = (t - 1) / rounds
        drawn = draw(rng, budget, max_error, over)
        a_is_judges_N = rng.random(budget) < 0.5
        questions = [pair(seed, t, i) for i in range(budget)]
        judgements = [opinion(float(sure), bool(a)) for sure, a in zip(drawn.confidence_N, a_is_judges_N, strict=True)]
        batch = Batch(t, tuple(questions), {PROMPT.id: PROMPT}, (0.0,) * budget, "none")
        history = History(dict(asked), {PROMPT.id: PROMPT}, list(told), rounds - 1)
        found, trust = labels_of(batch, judgements, history, policy, seed)
        if any(x.certificate.threshold is not None for x in trust.slices):
            reference = draw(np.random.default_rng(1), REFERENCE, max_error, over)
            broken = broken or true_error(trust, reference) > max_error
        told += found.labels
        asked |= {q.id: q for q in questions}
        agreeing += (1 - drawn.error_N[~np.isnan(drawn.confidence_N)]).tolist()
        for i, label in enumerate(found.labels):
            if label.advisory:
                vote = person(rng, drawn.error_N[i], "a" if a_is_judges_N[i] else "b")
                told.append(Label(label.pair_id, "person", vote, id=f"{label.id}p"))
            else:
                taken += 1
                errors += drawn.error_N[i]
    return Outcomes(rounds * budget, taken, errors, broken, float(np.mean(agreeing)))


def true_error(trust: Trust, reference: Pairs) -> float:
    """Return the true error among the pairs that the judge is trusted with; 0 if it is trusted with none."""
    decided = ~np.isnan(reference.confidence_N)
    confidence_X, error_X = reference.confidence_N[decided], reference.error_N[decided]
    (only,) = trust.slices
    takes_X = only.takes(confidence_X)
    return float(error_X[takes_X].mean()) if takes_X.any() else 0.0


def pair(seed: int, t: int, i: int) -> Question:
    """Return a pair that no other study and round has."""
    name = f"{seed}-{t}-{i}"
    a, b = (Response(f"{name}{side}", PROMPT.id, side, (1,), (2,), t) for side in "ab")
    return Question(name, (a, b), t)


def opinion(sure: float, a: bool) -> Judgement:
    """Return a judge's opinion: its decision in both orders, or what is shown first in either (NaN)."""
    if np.isnan(sure):
        return Judgement((0.8, 0.2, 0.0), (0.2, 0.8, 0.0))
    both = (sure, 1 - sure, 0.0) if a else (1 - sure, sure, 0.0)
    return Judgement(both, both)


def person(rng: np.random.Generator, error: float, judges: Outcome) -> Outcome:
    """Return a random person's vote on a pair, given the probability that it is not the judge's."""
    if rng.random() < SKIPS:
        return "skip"
    if rng.random() >= error:
        return judges
    other: Outcome = "b" if judges == "a" else "a"
    return "tie" if rng.random() < min(TIES / error, 1) else other


def row(name: str, found: Sequence[Outcomes]) -> str:
    """Return a row of the table."""
    taken, pairs = sum(x.taken for x in found), sum(x.pairs for x in found)
    error = f"{sum(x.errors for x in found) / taken:9.3f}" if taken else f"{'none':>9}"
    agreeing = float(np.mean([x.agreeing for x in found]))
    return f"{name:<14}{agreeing:>9.2f}{taken / pairs:>9.1%}{error}{sum(x.broken for x in found):>6} of {len(found)}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--budget", type=int, default=60)
    parser.add_argument("--max-error", type=float, default=0.1)
    parser.add_argument("--judge", nargs="*", default=[*JUDGES, *WITHOUT_PROMISE])
    given = parser.parse_args()
    print(f"{given.studies} studies of {given.rounds} rounds of {given.budget} pairs, max_error {given.max_error:g}")
    print(f"{'judge':<14}{'agrees':>9}{'saved':>9}{'error':>9}{'broken':>10}")
    for name in given.judge:
        draw = {**JUDGES, **WITHOUT_PROMISE}[name]
        found = [simulate(draw, s, given.rounds, given.budget, given.max_error) for s in range(given.studies)]
        print(row(name, found), flush=True)


if __name__ == "__main__":
    main()
