"""Parts of a recipe that are each right, but do nothing with one another."""

from __future__ import annotations

from duelist.acquisition.base import Acquisition
from duelist.errors import RecipeError
from duelist.models.policy_config import PolicyConfig
from duelist.recipes.component_settings import build
from duelist.recipes.components import COMPONENTS
from duelist.recipes.recipe import Recipe
from duelist.samplers.base import Sampler
from duelist.trainers.base import Planned
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
        _require_weights_used(sampler, build("trainer", recipe.trainer, Planned))


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
