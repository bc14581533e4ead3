"""Facts about a recipe that its components use to reject a recipe they cannot work in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from duelist.settings.lookups import Lookups
from duelist.types import Prompt, Response


@dataclass(frozen=True)
class Rounding:
    """Rounding of half-precision weights that are trained directly.

    Attributes:
        dtype: the weights' type.
        weight: the size of a typical weight.
        least: the largest step from it that is lost to rounding.
    """

    dtype: str
    weight: float
    least: float


@dataclass(frozen=True)
class Context:
    """Facts about a recipe, passed to `check` of each of its components before anything is drawn, asked or written.

    Attributes:
        names: each component's name in the recipe, by kind.
        trains: the trained model: the policy or a reward model.
        needs: the fields of `Features` that the acquisition needs.
        beta: β of DPO and of the implicit reward.
        online: whether a round is one optimizer step.
        decoder: whether a server decodes the responses.
        adapter: how the policy is trained; None if there is no policy.
        on_cpu: whether the policy will be on the CPU.
        starts_as_reference: whether the policy equals its reference in round 1.
        labelled_start: whether the policy is trained on labelled preferences before round 1.
        posterior: `reward_model.posterior`; None if no reward model is trained.
        origins: origins of the sampler's responses (`Sampler.origins`); None if unknown.
        weighs_pairs: whether the sampler, or the draws of `acquisition.lure`, give pairs loss weights.
        weighed_by: which of the two, in words.
        budgets: number of questions asked in each round.
        lookahead: number of rounds by which a batch is selected before the answers to the last one.
        sets_of: the largest number of responses in a question; 2 for pairs.
        within_prompts: whether both responses of every pair belong to one prompt; None if unknown.
        rounding: rounding of the trained weights; None if it loses no steps, or if unknown.
        train: training prompts, as far as they are available.
        judged: whether a judge labels pairs beside people (`judged_pool`).
        keeps_reward: whether the trainer keeps the explicit reward model of each round.
        asks_at_random: whether some pairs of each batch are drawn at random from the pool.
        held_out: held-out prompts, as far as they are available.
        given: the required responses from the data set, as far as they are available.
        lookups: looks up resources that may be unavailable.
    """

    names: Mapping[str, str]
    trains: Literal["policy", "reward_model"]
    needs: frozenset[str]
    beta: float
    online: bool
    decoder: bool
    adapter: Literal["lora", "none"] | None
    on_cpu: bool
    starts_as_reference: bool
    labelled_start: bool
    posterior: str | None
    origins: frozenset[str] | None
    weighs_pairs: bool
    within_prompts: bool | None
    rounding: Rounding | None = None
    budgets: Sequence[int] = ()
    lookahead: int = 0
    sets_of: int = 2
    weighed_by: str = "the sampler"
    judged: bool = False
    keeps_reward: bool = False
    asks_at_random: bool = False
    train: Sequence[Prompt] = ()
    held_out: Sequence[Prompt] = ()
    given: Callable[[], Sequence[Response]] = list
    lookups: Lookups = field(default_factory=Lookups)


class Checked:
    """Abstract base of every component: a check of the recipe, in addition to the component's interface."""

    def check(self, context: Context) -> None:
        """Reject a recipe in which the component cannot work; called before anything is drawn, asked or written.

        A component loads its resources at first use, so that it can be created only for this check.

        Raises:
            DuelistError: if it cannot work; the message names the conflict.
        """
