"""Judged pool of a study: the judge stage of each round, and what its judgements tell the acquisition and the training.

A round's judgements are an artifact like that of any stage. They are made after the questions are asked, so that nobody
waits for the judge, and before the round trains.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from duelist.choice_models.prediction_powered import FOLDS, PoolSample, judge_worth
from duelist.errors import user_code
from duelist.judges.base import Comparison, Judge
from duelist.progress import Progress
from duelist.recipe.recipe import Recipe
from duelist.seeding import derived_seed, generator, hash_keys
from duelist.store import codecs
from duelist.store.decisions import question_of
from duelist.store.folder import StudyFolder
from duelist.store.judged import JUDGED, JudgedPair, JudgedRound
from duelist.store.row_codecs import AskedQuestion
from duelist.study.answered import answers_before
from duelist.types import Answer, Decision, Label, Preference, Prompt, Question

# Answers that are no preference, but say that there is none. Others, such as a skip, say nothing: the pair is missing.
WITHOUT_PREFERENCE = ("tie", "both_bad", "both_good")


class JudgedPools:
    """Judgements of every round's asked pairs, and of a random sample of the others in its pool."""

    def __init__(self, recipe: Recipe, folder: StudyFolder, progress: Progress) -> None:
        """Store the parts.

        Args:
            recipe: the recipe, with `{prepared}` filled in, and a `judged_pool`.
            folder: the study's folder.
            progress: receives the judge's progress.
        """
        assert recipe.judged_pool is not None
        self.recipe = recipe
        self.config = recipe.judged_pool
        self.folder = folder
        self.progress = progress
        # Artifacts never change: each is read once.
        self._rounds: dict[int, JudgedRound] = {}
        self._further: dict[int, tuple[Question, ...]] = {}

    def judge(self, t: int, judge: Judge, prompts: Mapping[str, Prompt]) -> JudgedRound:
        """Judge the questions asked in round t, and random others of its pool.

        Args:
            t: the round.
            judge: the judge.
            prompts: prompts by id, including the pool's.
        """

        def compute() -> JudgedRound:
            asked = [x.question for x in self.folder.store.asked(t)]
            known = {q.id for q in asked}
            candidates = self._candidates(t)
            others = [q for q in candidates if q.id not in known]
            keys = hash_keys(generator(self.recipe.seed, "judged", t), [q.id for q in others])
            drawn = [others[i] for i in np.argsort(keys, kind="stable")[: self.config.pairs]]
            comparisons = [Comparison.of(q, prompts[q.a.prompt_id]) for q in (*asked, *drawn)]
            with user_code(judge):
                found = judge.judge(comparisons, derived_seed(self.recipe.seed, "judge"), self.progress)
            pairs = zip((*asked, *drawn), found, strict=True)
            judged = tuple(JudgedPair(q.id, judgement, q.id in known) for q, judgement in pairs)
            return JudgedRound(len(candidates), judge.name, judged)

        return self.folder.run(t, "judge", JUDGED, compute, _costs)

    def round(self, t: int) -> JudgedRound:
        """Return the judgements of round t."""
        if t not in self._rounds:
            self._rounds[t] = self.folder.read(t, "judge", JUDGED)
        return self._rounds[t]

    def further(self, t: int) -> tuple[Question, ...]:
        """Return the pairs of round t's pool that were judged but not asked in it."""
        if t not in self._further:
            by_id = {q.id: q for q in self._candidates(t)}
            self._further[t] = tuple(by_id[x.pair_id] for x in self.round(t).pairs if not x.asked)
        return self._further[t]

    def told(self, t: int) -> tuple[dict[str, Question], float]:
        """Return what the acquisition may take as told by the judge after round t.

        Returns:
            The pairs judged but not asked in some round up to t, with a usable judgement, by id; and what a judgement
            tells of a person's label, as a share of its information. No pairs if that is nothing.
        """
        worth = self._worth(t)
        found: dict[str, Question] = {}
        for s in range(1, t + 1) if worth else ():
            judged = {x.pair_id for x in self.round(s).pairs if x.judgement.probability is not None}
            found |= {q.id: q for q in self.further(s) if q.id in judged}
        return found, worth

    def _worth(self, t: int) -> float:
        if self.config.worth != "tuned":
            return float(self.config.worth)
        rounds, store = range(1, t + 1), self.folder.store
        decisions = [x for s in rounds for x in store.decisions(s)]
        return judge_worth([sample for _, sample in self.samples(answers_before(t + 1, store), decisions, rounds)])

    def samples(
        self,
        answers: Sequence[Label | Answer],
        decisions: Sequence[Decision],
        rounds: range,
        weights: Mapping[str, float] = MappingProxyType({}),
    ) -> list[tuple[list[AskedQuestion], PoolSample]]:
        """Return the asked questions and the sample of the pool of each round.

        Args:
            answers: the answers that count.
            decisions: the training items made of them; several of one pair count as their mean.
            rounds: the rounds.
            weights: weights of pairs drawn with known probabilities, by id.
        """
        people: dict[str, list[tuple[float, float]]] = {}
        asked = {x.question.id: x.question for x in self.folder.store.asked() if x.round in rounds}
        for item in decisions:
            if isinstance(item, Preference) and item.pair_id in asked:
                both = item.weight * item.share, item.weight * (1.0 - item.share)
                a_first = item.chosen.id == asked[item.pair_id].a.id
                people.setdefault(item.pair_id, []).append(both if a_first else both[::-1])
        answered = {*people, *(question_of(x) for x in answers if x.outcome in WITHOUT_PREFERENCE)}
        return [self._sample(t, people, answered, weights) for t in rounds]

    def _sample(
        self,
        t: int,
        people: dict[str, list[tuple[float, float]]],
        answered: set[str],
        weights: Mapping[str, float],
    ) -> tuple[list[AskedQuestion], PoolSample]:
        judged, asked = self.round(t), self.folder.store.asked(t)
        probability = {x.pair_id: x.judgement.probability for x in judged.pairs}

        def of_judge(questions: Sequence[Question]) -> np.ndarray:
            found = [(q.weight, probability.get(q.id)) for q in questions]
            return np.array([(0.0, 0.0) if p is None else (w * p, w * (1 - p)) for w, p in found]).reshape(-1, 2)

        ids = [x.question.id for x in asked]
        sample = PoolSample(
            size=judged.size,
            certain_P=np.array([_taken_for_certain(x) for x in asked], bool),
            answered_P=np.array([i in answered for i in ids], bool),
            people_P2=np.array([np.mean(people.get(i, [(0.0, 0.0)]), axis=0) for i in ids]).reshape(-1, 2),
            judge_P2=of_judge([x.question for x in asked]),
            margin_P=np.array([x.margin for x in asked]),
            fold_P=np.array([derived_seed(self.recipe.seed, "fold", i) % FOLDS for i in ids], np.int64),
            judge_R2=of_judge(self.further(t)),
            weight_P=np.array([weights.get(i, 1.0) for i in ids]) if weights else None,
        )
        return asked, sample

    def _candidates(self, t: int) -> list[Question]:
        draws = self.folder.read(1 if self.recipe.pool == "fixed" else t, "sample", codecs.DRAWS)
        return self.folder.read(t, "pair", codecs.questions(draws))


def _taken_for_certain(asked: AskedQuestion) -> bool:
    """Return whether chance had no part in a question's selection, as far as is known."""
    return asked.propensity is None and (asked.inclusion is None or asked.inclusion >= 1.0)


def _costs(judged: JudgedRound) -> dict[str, float]:
    """Return the numbers of the judge stage that are recorded beside its artifact."""
    judgements = [x.judgement for x in judged.pairs]
    found = {name: float(sum(getattr(j, name) for j in judgements)) for name in ("tokens_in", "tokens_out", "cost")}
    unusable = float(sum(j.probability is None for j in judgements))
    return {"judged": float(len(judgements)), "unusable": unusable, **found}
