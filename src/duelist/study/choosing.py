"""What the choice of a round's questions sees, and what it picks: nothing here is written to the study's folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from duelist.acquisition.base import Acquisition, choose, gains_of
from duelist.acquisition.control import Sampled, control_size, drawn_by_gain, uniformly_drawn, with_control
from duelist.acquisition.initial_random import InitialRandom
from duelist.acquisition.judged_discount import discounted
from duelist.annotators.reading_time import study_reading_time
from duelist.data.stored_prompts import first_found
from duelist.featurizers.base import FeatureJob, distinct_responses, featurize, has_sets
from duelist.featurizers.feature_folder import FeatureCache
from duelist.progress import Progress
from duelist.recipe.recipe import Recipe
from duelist.recipe.round_plan import asked_before, budget_of, model_round
from duelist.seeding import derived_seed, generator
from duelist.store.store import Store
from duelist.study.answered import answers_before, answers_so_far, votes_so_far
from duelist.study.components import StudyComponents
from duelist.study.judged_pool import JudgedPools
from duelist.study.learners.base import Learner
from duelist.types import Features, Prompt, Question


@final
@dataclass(frozen=True)
class Choosing:
    """The choice of any round's questions.

    Attributes:
        recipe: the study's recipe.
        components: its components.
        store: the record.
        learner: the models after each round.
        judged_pools: what a judge beside people told; None without one.
        progress: receives the number of computed features.
    """

    recipe: Recipe
    components: StudyComponents
    store: Store
    learner: Learner
    judged_pools: JudgedPools | None
    progress: Progress

    def acquisition(self, t: int) -> Acquisition:
        """Return the rule that selects round t's batch: the recipe's, after the pairs drawn at random."""
        random_picks = self.recipe.initial_random - asked_before(self.recipe, t)
        rule = self.components.acquisition
        return InitialRandom(rule, random_picks, budget_of(self.recipe, t)) if random_picks > 0 else rule

    def needs(self, t: int) -> frozenset[str]:
        """Return the fields of `Features` that round t's selection needs."""
        of_rule = self.components.needs
        return of_rule if self.acquisition(t).needs else frozenset()  # a batch drawn at random needs no features

    def feature_job(
        self,
        after: int,
        candidates: Sequence[Question],
        past: Sequence[Question] = (),
        targets: Sequence[Question] = (),
    ) -> FeatureJob:
        """Return the input of the featurizers with the model after a round."""
        of_targets = self.components.targets.prompts if targets else ()
        places = ({p.id: p for p in of_targets}, self.components.prompts.by_id, self.store.prompts())
        return FeatureJob(
            self.learner.models(after),
            candidates,
            past,
            prompts=first_found(*places),
            beta=self.recipe.beta,
            seed=derived_seed(self.recipe.seed, "projection"),
            progress=self.progress,
            targets=targets,
        )

    def recorded(
        self, after: int, needs: frozenset[str], candidates: Sequence[Question], past: Sequence[Question]
    ) -> dict[str, NDArray[Any]]:
        """Return the fields known without a model: the answers up to a round to past questions, and the cost of all."""
        known = answers_before(after + 1, self.store)
        fields: dict[str, NDArray[Any]] = {}
        if "cost_N" in needs:
            model = study_reading_time([x.question for x in self.store.asked()], known)
            fields["cost_N"] = model.seconds([*candidates, *past])
        if not {"asked_margin_N", "votes_N2"} & needs:
            return fields
        if has_sets([*candidates, *past]):
            return fields | answers_so_far(past, known, self.store)
        return fields | votes_so_far(len(candidates), past, known, self.store)

    def features(
        self,
        t: int,
        after: int,
        candidates: Sequence[Question],
        past: Sequence[Question],
        targets: Sequence[Question],
        cache: FeatureCache | None = None,
    ) -> Features:
        """Compute round t's features with the model after round `after`, less what the judge told of its pairs."""
        needs, judged, worth = self.needs(t), dict[str, Question](), 0.0
        if self.judged_pools is not None and {"gradient_ND", "past"} <= needs:
            judged, worth = self.judged_pools.told(after)
        known = {q.id for q in past}
        further = [q for q in judged.values() if q.id not in known] if worth else []
        every = [*past, *further]
        job = self.feature_job(after, candidates, every, targets)
        job = job if cache is None else replace(job, cache=cache)
        found = featurize(self.components.featurizers, needs, job, self.recorded(after, needs, candidates, every))
        if not worth:
            return found
        judged_N = np.array([q.id in judged for q in candidates], bool)
        return discounted(found, judged_N, np.arange(len(every)) >= len(past), worth)

    def pick(self, t: int, candidates: Sequence[Question], features: Features) -> Sampled:
        """Return round t's batch: the rule's picks, or pairs drawn by its gains, and the control slice."""
        rule, budget, seed = self.acquisition(t), budget_of(self.recipe, t), self.recipe.seed
        size, rng = control_size(self.recipe.control_fraction, budget), generator(seed, "control", t)
        ids, lure = [q.id for q in candidates], self.recipe.acquisition.options.lure
        random_first = max(0, self.recipe.initial_random - asked_before(self.recipe, t))
        if lure is not None and not rule.uniform:
            gains = gains_of(self.components.acquisition, features, generator(seed, "select", t))
            return drawn_by_gain(gains, ids, budget, max(size, random_first), lure, rng, features.cost_N)
        selection = choose(rule, features, budget, generator(seed, "select", t))
        sampled = with_control(selection, ids, size, rng, uniform=rule.uniform, random_first=random_first)
        return sampled if lure is None else uniformly_drawn(sampled, len(ids))

    def seen(
        self, t: int, selected: Sequence[Question], prompts: Mapping[str, Prompt] = MappingProxyType({})
    ) -> tuple[list[tuple[float, ...]], list[float], float | None]:
        """Return what the model says of the selected questions before training on them.

        It is recorded for every rule, and costs a forward pass of policy and reference for each response.

        Args:
            t: the round.
            selected: the questions.
            prompts: their prompts that are none of the study's, by id.

        Returns:
            The rewards of each question's responses, its margin, and the mean log ratio (None without a policy).
        """
        margins, sets = self.learner.margins, has_sets(selected)
        _, place_NQ = distinct_responses(selected)
        wanted = {"reward_R"} if sets else {"reward_R", "margin_N", "log_ratio_N2"}
        job = self.feature_job(model_round(self.recipe, t), selected)
        job = replace(job, prompts=first_found(job.prompts, prompts), wanted=frozenset(wanted & set(margins.provides)))
        seen = margins.compute(job)
        rewards = [tuple(seen["reward_R"][row[: q.k]].tolist()) for row, q in zip(place_NQ, selected, strict=True)]
        # Of a larger question: the largest difference.
        margin = [r[0] - r[1] if len(r) == 2 else max(r) - min(r) for r in rewards]
        margin = margin if sets else np.asarray(seen["margin_N"]).tolist()
        if "log_ratio_N2" not in margins.provides:
            return rewards, margin, None
        if sets:
            return rewards, margin, float(np.mean([r for of_one in rewards for r in of_one])) / self.recipe.beta
        return rewards, margin, float(seen["log_ratio_N2"].mean())
