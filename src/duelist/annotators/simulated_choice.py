"""Simulated decisions of an annotator who knows a reward: pairs, rankings, the best, the best and the worst.

Reference: Bradley and Terry, 1952 (pairs); Luce, "Individual Choice Behavior", 1959, and Plackett, "The analysis of
           permutations", Applied Statistics 24, 1975 (rankings); Marley and Louviere, "Some probabilistic models of
           best, worst, and best-worst choices", Journal of Mathematical Psychology 49, 2005 (best and worst);
           Hausman and Ruud, "Specifying and testing econometric models for rank-ordered data", Journal of Econometrics
           34, 1987 (noise that grows with the place).
Formula:   hard: the order of the rewards, equal rewards tied;
           otherwise, with temperature T: a pair: a with probability σ((r_a − r_b) / T); place j = 0, 1, ... of a
           ranking: response i of those left with probability softmax(r / (T · (1 + growth · j)))_i; the best: place 0;
           the best b and the worst w: (b, w) with probability proportional to exp((r_b − r_w) / T).

The noise depends only on the seed, the question and the responses. The same annotator gives the same answer again, in
any order and in any study with the same seed, so two rules can be compared under the same noise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from itertools import groupby, permutations
from typing import Literal

import numpy as np
import scipy

from duelist.annotators.base import label_id
from duelist.seeding import hash_uniform
from duelist.types import Answer, Label, Outcome, Question

Choice = Literal["hard", "bradley_terry"]


@dataclass(frozen=True)
class SimulatedChoice:
    """How an annotator decides, given the rewards.

    Attributes:
        annotator: the annotator's name.
        seed: the only source of randomness.
        choice: `hard`, or with noise.
        temperature: T, in units of the reward.
        growth: growth of T per place of a ranking, as a share of T.
    """

    annotator: str
    seed: int
    choice: Choice
    temperature: float
    growth: float = 0.0

    def answer(self, question: Question, rewards: Mapping[str, float]) -> Label | Answer:
        """Return the decision on a question, given the reward of each response by id."""
        act = label_id(self.seed, question, self.annotator)
        if question.k == 2:
            return Label(question.id, self.annotator, self._outcome(question, rewards), id=act)
        answer = partial(Answer, question.id, self.annotator, id=act)
        if question.asks == "best_worst":
            best, worst = self._best_and_worst(question, rewards)
            # With equal rewards, a hard choice names none.
            return answer(outcome="skip") if best is None else answer(best=best, worst=worst)
        ranking = self._ranking(question, rewards)
        if question.asks == "best_of_k":
            return answer(outcome="skip") if len(ranking[0]) > 1 else answer(best=ranking[0][0])
        return answer(ranking=ranking)

    def _outcome(self, pair: Question, rewards: Mapping[str, float]) -> Outcome:
        difference = rewards[pair.a.id] - rewards[pair.b.id]
        if self.choice == "hard":
            return "tie" if difference == 0 else ("a" if difference > 0 else "b")
        first_is_a = pair.a.id < pair.b.id
        p_first = scipy.special.expit((difference if first_is_a else -difference) / self.temperature)
        first_wins = hash_uniform(self.seed, "bradley_terry", pair.id) < p_first
        return "a" if first_wins == first_is_a else "b"

    def _ranking(self, question: Question, rewards: Mapping[str, float]) -> list[tuple[str, ...]]:
        left = sorted(r.id for r in question.responses)
        if self.choice == "hard":
            order = sorted(left, key=lambda r: -rewards[r])
            return [tuple(group) for _, group in groupby(order, key=lambda r: rewards[r])]
        ranking: list[tuple[str, ...]] = []
        for place in range(len(left)):
            temperature = self.temperature * (1.0 + self.growth * place)
            # The largest of the rewards with Gumbel noise is a draw from their softmax.
            noisy = {r: rewards[r] / temperature + self._gumbel(question, r, place) for r in left}
            best = max(left, key=noisy.__getitem__)
            ranking.append((best,))
            left.remove(best)
        return ranking

    def _gumbel(self, question: Question, response_id: str, place: int) -> float:
        uniform = hash_uniform(self.seed, "plackett_luce", question.id, response_id, place)
        return float(-np.log(-np.log(np.clip(uniform, 1e-300, 1 - 1e-16))))

    def _best_and_worst(self, question: Question, rewards: Mapping[str, float]) -> tuple[str | None, str | None]:
        """Return the best and the worst response; None if a hard choice cannot name them."""
        ids = sorted(r.id for r in question.responses)
        if self.choice == "hard":
            ordered = sorted(rewards[r] for r in ids)
            if ordered[0] == ordered[1] or ordered[-1] == ordered[-2]:
                return None, None
            return max(ids, key=rewards.__getitem__), min(ids, key=rewards.__getitem__)
        pairs = list(permutations(ids, 2))
        logit_X = np.array([rewards[b] - rewards[w] for b, w in pairs]) / self.temperature
        cumulative_X = np.cumsum(np.exp(logit_X - logit_X.max()))
        drawn = hash_uniform(self.seed, "best_worst", question.id) * cumulative_X[-1]
        return pairs[min(int(np.searchsorted(cumulative_X, drawn, side="right")), len(pairs) - 1)]
