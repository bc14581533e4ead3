"""Target prompts: where a rule should improve the policy, and the pairs that represent them.

A rule that needs `target_MD` gets gradient differences of pairs of the current policy's responses to these prompts.
The pairs are never asked.
"""

from __future__ import annotations

from dataclasses import dataclass

from duelist.data.prompts import PromptsConfig, PromptSet, TargetConfig, load_prompts
from duelist.data.stored_prompts import prompt_ids
from duelist.errors import DataError
from duelist.models.trained import Models
from duelist.pairing.in_prompt import InPrompt, InPromptConfig
from duelist.progress import Progress
from duelist.samplers.base import SampleJob, Sampler
from duelist.seeding import generator, hash_keys
from duelist.types import Draws, GivenResponses, Prompt, Question


@dataclass(frozen=True)
class Targets:
    """Target prompts of one study, and the responses that came with them."""

    prompts: tuple[Prompt, ...]
    given: GivenResponses

    @staticmethod
    def load(config: TargetConfig, own: PromptSet, seed: int, *, responses: bool) -> Targets:
        """Read the target prompts and draw a sample of them.

        Args:
            config: which prompts to read.
            own: the study's prompts.
            seed: seed of the sample of prompts.
            responses: whether to read the file's responses as well.

        Raises:
            DataError: if the file is not usable.
        """
        found = own if config.path is None else load_prompts(PromptsConfig(path=config.path), seed, responses=responses)
        keys = hash_keys(generator(seed, "target"), prompt_ids(found.train))
        drawn = sorted(keys.argsort(kind="stable")[: config.prompts].tolist())
        return Targets(tuple(found.train[i] for i in drawn), found.given)

    def sample(self, sampler: Sampler, models: Models, t: int, beta: float, seed: int, progress: Progress) -> Draws:
        """Draw the policy's responses to the target prompts in round t."""
        return sampler.sample(SampleJob(models, self.prompts, self.given, t, beta, seed, progress))

    def pairs(self, draws: Draws, t: int) -> list[Question]:
        """Return the pairs of those responses.

        Raises:
            DataError: if there is no pair.
        """
        pairs = InPrompt(InPromptConfig()).pairs(draws, self.given, t)
        if not pairs:
            raise DataError(
                f"The target prompts must get two different responses somewhere, but all {len(draws.responses)} "
                "responses to them are alike within their prompts: raise `target.prompts` or "
                "`target.responses_per_prompt`, or the sampler's temperature."
            )
        return pairs
