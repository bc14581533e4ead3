"""Held-out evaluation of the trained model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

from duelist.errors import user_code
from duelist.evaluation.held_out import evaluate
from duelist.evaluation.metrics import Floats, measure
from duelist.evaluation.reward_held_out import HeldOutResponses, held_out_responses
from duelist.evaluation.reward_model import evaluate_reward_model
from duelist.models.decoding.generation import generate
from duelist.models.policy.policy import Policy
from duelist.models.trained import Models
from duelist.progress import Progress
from duelist.recipe.recipe import Recipe
from duelist.seeding import derived_seed
from duelist.store import codecs
from duelist.store.folder import StudyFolder
from duelist.study.components import StudyComponents
from duelist.types import Draws, Evaluation, Prompt

# Measures the models after round t; the last argument is the evaluation of round 0, None in round 0.
Evaluator = Callable[[Models, int, Evaluation | None], Evaluation]


def evaluate_policy(
    recipe: Recipe,
    components: StudyComponents,
    progress: Progress,
    models: Models,
    t: int,
    initial: Evaluation | None,
    judged: bool = True,
) -> Evaluation:
    """Draw the policy's responses to the held-out prompts, score them, and have the judge compare them if any.

    Without `judged`, the judge is not asked.
    """
    return evaluate(
        models.policy_for("The evaluation"),
        components.prompts.held_out,
        components.reward,
        initial,
        components.recipe.evaluation,
        beta=recipe.beta,
        # The same random numbers every round, so rounds differ only in the policy.
        seed=derived_seed(recipe.seed, "evaluate"),
        progress=progress,
        label_temperature=components.label_temperature,
        judge=components.evaluation_judge if judged else None,
    )


class RewardModelEvaluator:
    """Evaluator that scores held-out responses with the reward model: the data set's responses, or the policy's."""

    def __init__(self, recipe: Recipe, components: StudyComponents, folder: StudyFolder, progress: Progress) -> None:
        self.recipe = recipe
        self.components = components
        self.folder = folder
        self.progress = progress
        self._policy: Policy | None = None

    def __call__(self, models: Models, t: int, initial: Evaluation | None) -> Evaluation:
        self._policy = models.policy
        held = self._held_out
        if not held.responses:
            return Evaluation(measure("reward model", {}), [])
        model, embed = models.reward_model_for("The evaluation")
        vectors_RE = embed(held.prompts, held.responses, self.progress)
        samples_RK = model.samples(vectors_RE) if held.preferred else None
        return evaluate_reward_model(held, model.rewards(vectors_RE), self._true_rewards, samples_RK)

    @cached_property
    def _held_out(self) -> HeldOutResponses:
        prompts = self.components.prompts.held_out
        held = held_out_responses(self.components.recipe.prompts, prompts)
        policy = self._policy
        if held.responses or policy is None:
            return held
        # The policy that writes the responses is not trained: its responses are drawn once and kept.
        drawn = self.folder.run(0, "held_out", codecs.DRAWS, lambda: self._drawn(policy, prompts))
        return HeldOutResponses({p.id: p for p in prompts}, drawn.responses, ())

    def _drawn(self, policy: Policy, prompts: Sequence[Prompt]) -> Draws:
        config = self.recipe.evaluation
        answers = generate(
            policy,
            prompts,
            config.decoding,
            responses_per_prompt=config.responses_per_prompt,
            round=0,
            seed=derived_seed(self.recipe.seed, "evaluate"),
            progress=self.progress,
        )
        return Draws(tuple({r.id: r for r in answers}.values()))

    @cached_property
    def _true_rewards(self) -> Floats | None:
        reward, held = self.components.reward, self._held_out
        if reward is None:
            return None
        with user_code(reward):
            return reward.score([held.prompts[r.prompt_id] for r in held.responses], held.responses)
