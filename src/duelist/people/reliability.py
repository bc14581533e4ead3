"""Reliability of annotators by the one-coin Dawid–Skene model, and the posterior of each question's outcome.

Reference: Dawid and Skene, JRSS C 28, 1979; Zhang, Chen, Zhou and Jordan, "Spectral methods meet EM", JMLR 17, 2016
           (one coin). Fitted by crowd-kit (`crowdkit.aggregation.OneCoinDawidSkene`).
Formula:   an annotator w gives the right outcome with probability s_w, and each of the other K − 1 with probability
           (1 − s_w) / (K − 1). EM finds s_w, the outcomes' shares and the posterior of each question's outcome.
           Which response is called a is arbitrary. So the model is fitted to the questions together with their mirrored
           copies (a for b): a and b have equal shares, and swapping the sides of any question changes nothing.

The estimates are maximum-likelihood ones: after a few votes they may be 0 or 1. Two annotators alone cannot be told
apart, because they agree with one another equally often: give some questions to three.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from duelist.people.libraries import optional_library
from duelist.people.votes import PREFERENCES, Ballots, ballots, mirrored, shared_questions
from duelist.types import Label

STEPS = 200
TOLERANCE = 1e-6  # of the evidence lower bound per vote, in nats


@dataclass(frozen=True)
class Reliability:
    """One-coin Dawid–Skene fit.

    Attributes:
        skill: by annotator, the probability of the right outcome; None for an annotator who shares no question with
            another, whose votes therefore cannot be compared.
        posterior: by question, the probability of each outcome. A vote alone on its question has the skill of its
            annotator; if that is None, the mean skill of the others.
    """

    skill: Mapping[str, float | None]
    posterior: Mapping[str, Mapping[str, float]]


def dawid_skene(votes: Iterable[Label]) -> Reliability | None:
    """Fit the one-coin Dawid–Skene model to the votes.

    The fit uses questions with two votes or more: a vote alone carries no information about its annotator, and would
    slow EM down. A skip is a missing value, as are a judge's `inconsistent` and `unparsed`; `tie`, `both_bad` and
    `both_good` are outcomes like `a` and `b`.

    Args:
        votes: labels in order of arrival.

    Returns:
        The fit; None if no question has two votes, or the votes on those questions are all one outcome other than a
        and b.

    Raises:
        DataError: if a label holds vote counts.
        ModelError: if the library crowd-kit is not installed.
    """
    found = ballots(votes)
    shared = {question: given for question, given in found.items() if len(given) > 1}
    outcomes = sorted({side for given in shared.values() for o in given.values() for side in (o, mirrored(o))})
    if len(outcomes) < 2:
        return None
    skill, posterior = _fit(shared, outcomes)
    mean = fmean(skill.values())
    prior = {o: sum(p[o] for p in posterior.values()) for o in outcomes}
    symmetric = {o: (n + prior[mirrored(o)]) / 2 for o, n in prior.items()}
    for question, given in found.items():
        if question not in shared:
            [(annotator, outcome)] = given.items()
            posterior[question] = _posterior_alone(outcome, skill.get(annotator, mean), symmetric)
    return Reliability(
        skill={annotator: skill.get(annotator) for annotator in shared_questions(found)},
        posterior={question: posterior[question] for question in found},
    )


def _fit(shared: Ballots, outcomes: list[str]) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """Return the skills by annotator and the posteriors by question, as fitted by crowd-kit.

    crowd-kit sees whole numbers for questions, annotators and outcomes, so no name can be mistaken for a missing value.
    """
    aggregation = optional_library("crowdkit.aggregation", "crowd-kit", "Reliability of annotators (Dawid–Skene)")
    pandas = optional_library("pandas", "pandas", "Reliability of annotators (Dawid–Skene)")
    annotators = sorted({annotator for given in shared.values() for annotator in given})
    worker, code = ({name: i for i, name in enumerate(names)} for names in (annotators, outcomes))
    rows = [
        (2 * i + copy, worker[annotator], code[mirrored(outcome) if copy else outcome])
        for i, given in enumerate(shared.values())
        for annotator, outcome in given.items()
        for copy in (0, 1)
    ]
    model: Any = aggregation.OneCoinDawidSkene(n_iter=STEPS, tol=TOLERANCE)
    model.fit(pandas.DataFrame(rows, columns=["task", "worker", "label"]))
    skill = {name: float(model.skills_[i]) for name, i in worker.items()}
    proba = model.probas_
    posterior = {question: {o: float(proba.at[2 * i, code[o]]) for o in outcomes} for i, question in enumerate(shared)}
    return skill, posterior


def _posterior_alone(outcome: str, skill: float, questions: Mapping[str, float]) -> dict[str, float]:
    """Return the posterior of a question with one vote.

    Args:
        outcome: the vote.
        skill: probability that it is right.
        questions: expected number of shared questions by their outcome. The prior adds one to each (Laplace), so an
            outcome not seen on shared questions is possible.
    """
    possible = sorted({*questions, *PREFERENCES, outcome})
    wrong = (1 - skill) / (len(possible) - 1)
    joint = {o: (questions.get(o, 0.0) + 1) * (skill if o == outcome else wrong) for o in possible}
    total = sum(joint.values())
    return {o: value / total for o, value in joint.items()}
