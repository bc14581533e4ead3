"""Work of each round in counted units, known before anything runs: what the cost model multiplies (docs/plan.md)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from duelist.data.prompts import PromptSet
from duelist.preflight.pool import pairs_in_rounds, prompts_in_rounds, responses_in_rounds
from duelist.recipe.recipe import Recipe, trains_reward_model
from duelist.recipe.round_plan import asked_before, budget_of, budgets, is_checkpoint, is_evaluated
from duelist.trainers.trl_settings import TrlSettings

Units = Mapping[str, float]
REST = "rest"  # everything of a round outside its stages: annotating, reading artifacts back, closing the round
RL = ("RLOOConfig", "GRPOConfig")  # TRL's configurations that train on prompts, not on decisions
# TRL's defaults, where a recipe says nothing.
BATCH, EPOCHS, GENERATIONS = 8, 3, 8


@dataclass(frozen=True)
class RoundWork:
    """Work of one round.

    Attributes:
        round: the round; 0 is the initial model.
        stages: for each stage that runs, how many of each unit it works on. `rounds` is always 1.
    """

    round: int
    stages: Mapping[str, Units]


def work_of_rounds(recipe: Recipe, prompts: PromptSet | None) -> list[RoundWork] | None:
    """Return the work of rounds 0 to T; None if the pool's size cannot be known yet.

    Questions and responses are counted at their maximum, as if no two responses were equal.

    Args:
        recipe: the recipe, with `{prepared}` filled in if it has been prepared.
        prompts: its prompts; None if they are not available.
    """
    answered = prompts_in_rounds(recipe, prompts)
    responses = responses_in_rounds(recipe, prompts)
    questions = pairs_in_rounds(recipe, prompts)
    if answered is None or responses is None or questions is None:
        return None
    held_out = (recipe.prompts.held_out or 0) if prompts is None else len(prompts.held_out)
    evaluation = _evaluation(recipe, held_out)
    whole = max(answered) if prompts is None else len(prompts.train)
    rounds = [RoundWork(0, {"train": {"rounds": 1.0}, "evaluate": evaluation})]
    for t in range(1, recipe.rounds + 1):
        pool = (answered[t - 1], responses[t - 1], questions[t - 1])
        rounds.append(RoundWork(t, _of_round(recipe, t, pool, whole, evaluation)))
    return rounds


def _of_round(
    recipe: Recipe, t: int, pool: tuple[int, int, int], whole: int, evaluation: dict[str, float]
) -> Mapping[str, Units]:
    prompts, responses, questions = pool
    budget, asked = budget_of(recipe, t), asked_before(recipe, t)
    fixed = recipe.pool == "fixed"
    k = recipe.pairing.build().sets_of
    left = max(questions - asked, budget) if fixed else questions
    rule = recipe.acquisition
    by_rule = bool(rule.build().needs) and asked + budget > recipe.initial_random
    drawn = rule.options.candidates
    candidates = left if drawn is None or not by_rule else min(left, drawn * budget)
    stages: dict[str, dict[str, float]] = {}
    if not fixed or t == 1:
        counts = recipe.sampler.build().counts
        decoded = responses if counts is None else prompts * counts.decoded
        size = recipe.sampler.setting("batch_size")
        stages["sample"] = {"rounds": 1, "responses": decoded, "batches": math.ceil(decoded / size) if size else 0}
    stages["pair"] = {"rounds": 1, "questions": left}
    stages["featurize"] = {"rounds": 1}
    if by_rule:
        stages["featurize"] = {"rounds": 1, "responses": min(responses, k * candidates), "past": k * asked}
    if by_rule and "target_MD" in rule.build().needs:
        target = recipe.target
        of_target = target.prompts if target.path is not None else min(target.prompts, whole)
        stages["target"] = {"rounds": 1, "responses": of_target * target.responses_per_prompt}
        stages["featurize"]["responses"] += stages["target"]["responses"]
    stages["select"] = {"rounds": 1, "picks": budget, "questions": candidates if by_rule else 0}
    training = _training(recipe, t, whole)
    if recipe.online:
        stages["step"] = training
        if is_checkpoint(recipe, t, recipe.rounds):
            stages |= {"optimizer": {"rounds": 1}, "train": {"rounds": 1}}
    else:
        stages["train"] = training
    if is_evaluated(recipe, t, recipe.rounds):
        stages["evaluate"] = evaluation
    new = _different_prompts(recipe, range(1, t + 1), whole) - _different_prompts(recipe, range(1, t), whole)
    stages[REST] = {"rounds": 1, "responses": responses, "questions": left, "picks": budget, "prompts": new}
    stages[REST] |= {"first": 1} if t == 1 else {}  # its first round also records the study itself
    return stages


def of_step(settings: TrlSettings) -> int:
    """Return the number of items in an optimizer step."""
    train = settings.train
    return int(train.get("per_device_train_batch_size", BATCH)) * int(train.get("gradient_accumulation_steps", 1))


def _different_prompts(recipe: Recipe, rounds: range, whole: int) -> float:
    """Return the expected number of prompts asked about, if each round draws them at random without repeats."""
    asked = budgets(recipe)[rounds.start - 1 : rounds.stop - 1]
    return whole * (1 - math.prod(1 - min(budget / whole, 1) for budget in asked)) if whole else 0.0


def _evaluation(recipe: Recipe, held_out: int) -> dict[str, float]:
    if trains_reward_model(recipe):
        return {"rounds": 1, "responses": held_out}
    responses = held_out * recipe.evaluation.responses_per_prompt
    return {"rounds": 1, "responses": responses, "batches": math.ceil(responses / recipe.evaluation.batch_size)}


def _training(recipe: Recipe, t: int, whole: int) -> dict[str, float]:
    """Return the decisions that round t trains on, as if every question had one, and the optimizer steps they take."""
    trainer = recipe.trainer.build()
    first = 1 if trainer.plan.accumulate == "all" and not recipe.online else t
    decisions = sum(budgets(recipe)[first - 1 : t])
    prompts = _different_prompts(recipe, range(first, t + 1), whole)
    units = {"rounds": 1.0, "decisions": float(decisions), "steps": 0.0, "prompts": 0.0}
    for settings in trainer.trl_settings:
        said = settings.train
        items: float = decisions
        if settings.config in RL:
            units["prompts"] = prompts
            items = prompts * int(said.get("num_generations", GENERATIONS))
        units["steps"] += math.ceil(items / of_step(settings)) * float(said.get("num_train_epochs", EPOCHS))
    return units
