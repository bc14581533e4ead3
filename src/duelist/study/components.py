"""Components of a recipe, created on first use and checked against the recipe."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from duelist.acquisition.base import Acquisition, require_selects_sets
from duelist.annotators.base import Annotator
from duelist.data.prompts import PromptSet, load_prompts
from duelist.engines.base import Engine
from duelist.errors import RecipeError, user_code
from duelist.evaluation.reward_held_out import held_out_responses
from duelist.featurizers.base import Featurizer
from duelist.judges.base import Judge
from duelist.judges.config import JudgeConfig
from duelist.judges.of import judge_of
from duelist.models.policy.config import PolicyConfig
from duelist.models.policy.loading import device_of
from duelist.models.rewards.functions import Reward
from duelist.pairing.base import Pairing
from duelist.progress import Progress, Silent
from duelist.recipe.component import Component
from duelist.recipe.preparation import prepare
from duelist.recipe.reading import preparation_settings, with_prepared
from duelist.recipe.recipe import Recipe, labelled_start, starts_as_reference, trains_reward_model, uses_given_responses
from duelist.recipe.round_plan import budgets
from duelist.samplers.base import FROM_DATASET, Sampler
from duelist.samplers.settings import DecodingConfig
from duelist.settings.context import Context, Rounding
from duelist.settings.credentials import with_credentials
from duelist.settings.importing import import_object
from duelist.settings.lookups import PREPARED, Lookups
from duelist.store.layout import JUDGE
from duelist.study.targets import Targets
from duelist.trainers.base import Trainer
from duelist.types import Response


class StudyComponents:
    """Components of one study, created lazily, so a study that only records labels loads no model.

    Attributes:
        recipe: the recipe, with `{prepared}` filled in.
        folder: the study's folder; None outside a study.
        progress: is told of failures of the engine that were recovered from.
    """

    def __init__(self, recipe: Recipe, folder: Path | None = None, progress: Progress | None = None) -> None:
        self.recipe = recipe
        self.folder = folder
        self.progress = progress or Silent()

    @cached_property
    def engine(self) -> Engine:
        """Who computes map-shaped work; its workers start with the first of it."""
        return self.recipe.engine.build()

    @cached_property
    def prompts(self) -> PromptSet:
        """The training and held-out prompts."""
        return load_prompts(self.recipe.prompts, self.recipe.seed, responses=uses_given_responses(self.recipe))

    @cached_property
    def sampler(self) -> Sampler:
        """Prompts -> responses."""
        return self.recipe.sampler.build()

    @cached_property
    def targets(self) -> Targets:
        """The target prompts."""
        given = uses_given_responses(self.recipe)
        return Targets.load(self.recipe.target, self.prompts, self.recipe.seed, responses=given)

    @cached_property
    def target_sampler(self) -> Sampler:
        """Target prompts -> responses: the data set's own, or the policy's, decoded as in the recipe's sampler."""
        component = self.recipe.sampler
        if component.cls.origins == FROM_DATASET:
            return self.sampler
        decoding = {k: v for k, v in component.content().items() if k in DecodingConfig.model_fields}
        count = self.recipe.target.responses_per_prompt
        return Component.of(Sampler, {"name": "vanilla", **decoding, "responses_per_prompt": count}).build()

    @cached_property
    def pairing(self) -> Pairing:
        """Responses -> candidate pairs."""
        return self.recipe.pairing.build()

    @cached_property
    def featurizers(self) -> Sequence[Featurizer]:
        """Pairs -> features."""
        return [featurizer.build() for featurizer in self.recipe.featurizers.values()]

    @cached_property
    def acquisition(self) -> Acquisition:
        """Features -> selection."""
        return self.recipe.acquisition.build()

    @cached_property
    def needs(self) -> frozenset[str]:
        """The fields of `Features` that the acquisition needs."""
        return self.recipe.acquisition.options.needs(self.acquisition)

    @cached_property
    def trainer(self) -> Trainer[Any, Any]:
        """Labels -> policy or reward model."""
        return self.recipe.trainer.build()

    @cached_property
    def annotator(self) -> Annotator:
        """Pairs -> labels.

        Raises:
            RecipeError: if the recipe names none.
        """
        require_annotator(self.recipe)
        assert self.recipe.annotator is not None
        annotator: Annotator = self.recipe.annotator.build()
        if self.folder is not None:
            annotator.keep_in(self.folder / JUDGE)
        annotator.compute_with(self.engine, self.progress)
        return annotator

    @cached_property
    def reward(self) -> Reward | None:
        """The reward that the evaluation uses: the recipe's `reward`, or the annotator's own."""
        if self.recipe.reward is not None:
            reward: Reward = self.recipe.reward.build()
            reward.compute_with(self.engine, self.progress)
            return reward
        return None if self.recipe.annotator is None else self.annotator.reward

    @cached_property
    def label_temperature(self) -> float | None:
        """Bradley–Terry temperature of the labels, in units of the evaluation's reward; None if not known."""
        if self.recipe.reward is not None or self.recipe.annotator is None:
            return None  # the evaluation's reward is not the annotator's, or people label
        return self.annotator.label_temperature

    @cached_property
    def evaluation_judge(self) -> Judge | None:
        """The judge of the evaluation's win rates; None if the recipe has none."""
        return self._judge(self.recipe.evaluation.judge)

    @cached_property
    def pool_judge(self) -> Judge | None:
        """The judge beside people; None if the recipe has none."""
        pool = self.recipe.judged_pool
        return None if pool is None else self._judge(pool.judge)

    def _judge(self, config: JudgeConfig | None) -> Judge | None:
        if config is None:
            return None
        judge = judge_of(with_credentials(config), None if self.folder is None else self.folder / JUDGE)
        judge.compute_with(self.engine, self.progress)
        return judge

    def close(self) -> None:
        """Release the workers of the engine, if there are any."""
        if "engine" in self.__dict__:  # it was used
            self.engine.close()

    def check(self, context: Context) -> None:
        """Let each component reject what it cannot do in this recipe, except judges that are not prepared yet.

        Raises:
            DuelistError: if a component does not fit the recipe; the message names it.
        """
        require_selects_sets(self.acquisition, self.pairing.sets_of)
        self._require_usable_draws()
        self._require_measurable_steps()
        for component in self._made():
            with user_code(component):
                component.check(context)

    def _made(self) -> Iterator[Any]:
        yield from (self.engine, self.sampler, self.pairing, *self.featurizers, self.acquisition, self.trainer)
        for kind in ("annotator", "reward"):
            component = getattr(self.recipe, kind)
            if component is not None and PREPARED not in str(component.content()):
                yield getattr(self, kind)
        pool = self.recipe.judged_pool
        if pool is not None and PREPARED not in str(pool.model_dump()):
            yield self.pool_judge
        judge = self.recipe.evaluation.judge
        if judge is not None and PREPARED not in str(judge.model_dump()):
            yield self.evaluation_judge

    def context(self, lookups: Lookups, prompts: PromptSet | None, rounding: Rounding | None = None) -> Context:
        """Return the facts about the recipe that components may use in their checks.

        Args:
            lookups: Hub look-ups that may fail when offline.
            prompts: the recipe's prompts; None if they cannot be reached.
            rounding: rounding of the trained weights.
        """
        recipe, policy, sampler, pairing = self.recipe, self.recipe.policy, self.sampler, self.pairing
        kinds = ("sampler", "pairing", "acquisition", "trainer")
        weighs_draws = recipe.acquisition.options.weighs_draws
        crosses = pairing.crosses_prompts
        return Context(
            names={kind: getattr(recipe, kind).name for kind in kinds},
            trains="reward_model" if trains_reward_model(recipe) else "policy",
            needs=self.needs,
            beta=recipe.beta,
            online=recipe.online,
            decoder=recipe.decoder is not None,
            adapter=None if policy is None else policy.adapter,
            on_cpu=_is_on_cpu(policy, lookups),
            starts_as_reference=starts_as_reference(recipe),
            labelled_start=labelled_start(recipe),
            posterior=None if recipe.reward_model is None else recipe.reward_model.posterior,
            origins=sampler.origins,
            weighs_pairs=sampler.weighs_pairs or weighs_draws,
            weighed_by="`acquisition.lure`" if weighs_draws else f"sampler {recipe.sampler.name!r}",
            within_prompts=not crosses if crosses or recipe.pairing.is_shipped else None,
            rounding=rounding,
            budgets=budgets(recipe),
            lookahead=recipe.lookahead,
            sets_of=pairing.sets_of,
            judged=recipe.judged_pool is not None,
            keeps_reward=self.trainer.plan.keeps_reward,
            asks_at_random=recipe.control_fraction > 0 or self.acquisition.uniform or weighs_draws,
            train=() if prompts is None else prompts.train,
            held_out=() if prompts is None else prompts.held_out,
            given=lambda: self._given(prompts),
            lookups=lookups,
        )

    def _require_usable_draws(self) -> None:
        """Check that pairs can be drawn with known probabilities, if the recipe asks for it.

        Raises:
            RecipeError: if questions have more than two responses, or a judge is corrected with equal weights.
        """
        options = self.recipe.acquisition.options
        if options.lure is None:
            return
        if self.pairing.sets_of > 2:
            raise RecipeError(
                f"`acquisition.lure` draws pairs, but questions have up to {self.pairing.sets_of} responses "
                "(`pairing.sets_of`): set `sets_of: 2`, or `acquisition.lure: null`."
            )
        use = self.trainer.plan.judge
        corrected = self.recipe.judged_pool is not None and use is not None and use.how == "prediction_powered"
        if corrected and not options.weighs_draws:
            raise RecipeError(
                "`trainer.judge: prediction_powered` needs the weights of pairs that were drawn by their gains, but "
                "`acquisition.lure.weights` is equal: set it to lure, or `trainer.judge` to as_people or ignore."
            )

    def _require_measurable_steps(self) -> None:
        """Check that the policy can be evaluated between the steps of a round, if the recipe asks for it.

        Raises:
            RecipeError: if it cannot; the reason is named.
        """
        every = self.recipe.evaluation.every_steps
        if every is None:
            return
        if self.recipe.online:
            raise RecipeError(
                f"Online, a round is one optimizer step, but `evaluation.every_steps` is {every}: set it to null, and "
                "`evaluation.every` to a number of rounds."
            )
        if not self.trainer.plan.counts_steps:
            raise RecipeError(
                f"`evaluation.every_steps` measures a policy between the optimizer steps of its training, but trainer "
                f"{self.recipe.trainer.name!r} does not tell them: use `dpo` with `processes: 1`, or set "
                "`every_steps` to null."
            )

    def _given(self, prompts: PromptSet | None) -> list[Response]:
        """Return the data set's own responses that the study embeds."""
        if prompts is None or self.sampler.origins != FROM_DATASET:
            return []
        texts = [(p, text) for p in prompts.train for text in prompts.given.texts.get(p.id, [])]
        responses = [Response.of(p, text, [], [0], 0) for p, text in texts]
        if self.recipe.reward_model is not None:
            responses += held_out_responses(self.recipe.prompts, prompts.held_out).responses
        return responses


def _is_on_cpu(policy: PolicyConfig | None, lookups: Lookups) -> bool:
    if policy is None or policy.device == "cpu":
        return True
    return lookups.may_import("`policy.device`") and device_of(policy.device).type == "cpu"


def require_annotator(recipe: Recipe) -> None:
    """Raise an error if the recipe has no annotator, for a study that runs by itself.

    Raises:
        RecipeError: if the recipe names no annotator.
    """
    if recipe.annotator is None:
        raise RecipeError("`annotator` must be set to run a study by itself, but it is null: use ask() and tell().")


def prepared(recipe: Recipe, progress: Progress) -> Recipe:
    """Return the recipe with `{prepared}` filled in; run the preparation now if it has not run yet.

    Raises:
        RecipeError: if the preparation function does not accept the settings.
        DuelistError: if the function fails.
    """
    if recipe.prepare is None:
        return recipe
    function = recipe.prepare.function
    with user_code(import_object(function)):
        return with_prepared(recipe, prepare(function, preparation_settings(recipe), progress))
