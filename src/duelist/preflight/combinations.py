"""Parts of a recipe that are each right, but do nothing with one another."""

from __future__ import annotations

from collections.abc import Set

from duelist.acquisition.base import Acquisition
from duelist.errors import RecipeError
from duelist.models.policy.config import PolicyConfig
from duelist.pairing.base import Pairing
from duelist.recipe.component_settings import build
from duelist.recipe.components import COMPONENTS
from duelist.recipe.recipe import Recipe
from duelist.samplers.base import Sampler
from duelist.samplers.settings import DecodingConfig
from duelist.trainers.base import Trainer
from duelist.trainers.dpo import DPO
from duelist.trainers.rlhf import RLHF


def require_parts_that_fit(recipe: Recipe, policy: PolicyConfig) -> None:
    """Refuse combinations of which one part could do nothing with the other.

    Raises:
        RecipeError: naming both.
    """
    name = recipe.acquisition["name"]
    if policy.adapter == "none":
        if "gradient_ND" in build("acquisition", recipe.acquisition, Acquisition).needs:
            raise RecipeError(
                f"Gradient features are those of a LoRA adapter, which the acquisition {name!r} needs, but "
                "`policy.adapter` is none: set `policy.adapter: lora`, or choose a rule on margins or embeddings."
            )
        if recipe.trainer["name"] == "rlhf":
            raise RecipeError(
                "The trainer 'rlhf' trains a LoRA adapter, but `policy.adapter` is none: set `policy.adapter: lora`, "
                "or use the trainer `dpo`."
            )
    sampler = recipe.sampler["name"]
    if recipe.trainer.get("loss") == "xpo" and sampler in COMPONENTS["sampler"] and sampler != "hybrid":
        raise RecipeError(
            f"`trainer.loss: xpo` is DPO unless some responses are drawn from the reference, but the sampler "
            f"{sampler!r} draws none: use the sampler `hybrid`, or `loss: dpo`."
        )
    if build("sampler", recipe.sampler, Sampler).weighs_pairs:
        _require_weights_used(sampler, build("trainer", recipe.trainer, Trainer))


def require_different_responses(recipe: Recipe, needs: Set[str]) -> None:
    """Refuse greedy decoding where it makes the two responses of every pair the same, which is no pair.

    Args:
        recipe: the recipe.
        needs: the fields that the acquisition needs.

    Raises:
        RecipeError: naming sampler and setting.
    """
    sampler, name = build("sampler", recipe.sampler, Sampler), recipe.sampler["name"]
    config = getattr(sampler, "config", None)
    if not isinstance(config, DecodingConfig) or not config.decoding(recipe.beta).greedy:
        return
    setting = "temperature: 0" if config.temperature == 0 else "top_k: 1"
    if "target_MD" in needs:
        raise RecipeError(
            f"The target's responses are drawn with the sampler's settings and must be able to differ, but "
            f"`sampler.{setting}` decodes greedily: sample at a temperature above 0, or choose another acquisition."
        )
    pairing = build("pairing", recipe.pairing, Pairing)
    if pairing.crosses_prompts or recipe.pairing["name"] not in COMPONENTS["pairing"]:
        return
    if sampler.draws_from_policy_alone:
        raise RecipeError(
            f"The two responses of a pair must be able to differ, but with `sampler.{setting}` the sampler {name!r} "
            "draws the same response to a prompt every time: sample at a temperature above 0 (greedy decoding is for "
            "`evaluation`)."
        )
    policy = recipe.policy
    if recipe.initial is None and (policy is None or policy.initial_model is policy.initial_adapter is None):
        raise RecipeError(
            f"The two responses of a pair must be able to differ, but with `sampler.{setting}` they are the same while "
            f"the policy is its reference, as it is in round 1: sample at a temperature above 0, or start from a "
            "trained policy (`policy.initial_model`, `policy.initial_adapter` or `initial`)."
        )


def _require_weights_used(sampler: str, trainer: object) -> None:
    """Refuse a trainer that would leave out, or stop at, the loss weights of the sampler's pairs.

    Raises:
        RecipeError: naming both.
    """
    weights = f"The loss weights of sampler {sampler!r}"
    if isinstance(trainer, RLHF):
        raise RecipeError(f"{weights} are left out by the trainer `rlhf`: use `dpo`, or another sampler.")
    if isinstance(trainer, DPO):
        try:
            trainer.config.require_stock_loss(weights)
        except ValueError as error:
            raise RecipeError(str(error)) from error
