"""What a component may know of the recipe that it stands in, to refuse what it cannot do there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from duelist.settings.lookups import Lookups
from duelist.types import Prompt, Response


@dataclass(frozen=True)
class Rounding:
    """How coarse half-precision weights are that are trained themselves.

    Attributes:
        dtype: the weights' type.
        weight: the size of a typical one.
        least: the largest step from it that is rounded off.
    """

    dtype: str
    weight: float
    least: float


@dataclass(frozen=True)
class Context:
    """Facts about a recipe, handed to `check` of each of its components before anything is drawn, asked or written.

    Attributes:
        names: each component's name in the recipe, by its kind.
        trains: what the study trains.
        needs: the fields of `Features` that the acquisition needs.
        beta: β of DPO and of the implicit reward.
        online: whether a round is one optimizer step.
        decoder: whether a server decodes the responses.
        adapter: how the policy is trained; None where there is no policy.
        on_cpu: whether the policy will be on the CPU.
        starts_as_reference: whether the policy is its reference in round 1.
        labelled_start: whether the policy is trained on labelled preferences before round 1.
        posterior: `reward_model.posterior`; None where no reward model is trained.
        origins: where the sampler's responses come from (`Sampler.origins`); None where that is not known.
        weighs_pairs: whether the sampler's pairs have loss weights of their own.
        within_prompts: whether the two responses of every pair answer one prompt; None where that is not known.
        rounding: of the weights that are trained; None where steps are not lost in it, or that is not known.
        train: prompts to train on, as far as they are within reach.
        held_out: prompts to evaluate on, as far as they are within reach.
        given: the data set's own responses that will be needed, as far as they are within reach.
        lookups: looks up what may be out of reach.
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
    train: Sequence[Prompt] = ()
    held_out: Sequence[Prompt] = ()
    given: Callable[[], Sequence[Response]] = list
    lookups: Lookups = field(default_factory=Lookups)


class Checked:
    """Abstract: what every component can say beside what its interface asks for."""

    def check(self, context: Context) -> None:
        """Refuse a recipe in which it cannot work; called before anything is drawn, asked or written.

        A component that loads something does so when it is first used, so that it can be made for this alone.

        Raises:
            DuelistError: naming what does not fit.
        """
