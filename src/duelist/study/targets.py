"""The prompts that matter: where a rule should make the policy better, and the pairs that stand for them.

A rule that needs `target_MD` gets the gradient differences of pairs of responses that the current policy gives to these
prompts. The pairs are never asked.
"""

from __future__ import annotations

from dataclasses import dataclass

from duelist.data.prompts import PromptsConfig, PromptSet, TargetConfig, load_prompts
from duelist.errors import DataError
from duelist.models.trained import Models
from duelist.pairing.in_prompt import InPrompt
from duelist.progress import Progress
from duelist.samplers.base import SampleJob, Sampler
from duelist.seeding import generator, hash_keys
from duelist.types import Draws, GivenResponses, Pair, Prompt


@dataclass(frozen=True)
class Targets:
    """The prompts that matter in one study, and the responses that came with them."""

    prompts: tuple[Prompt, ...]
    given: GivenResponses

    @staticmethod
    def load(config: TargetConfig, own: PromptSet, seed: int, *, responses: bool) -> Targets:
        """Read and draw the prompts.

        Args:
            config: which.
            own: the study's prompts.
            seed: draws them.
            responses: read the file's responses as well.

        Raises:
            DataError: if the file is not usable.
        """
        found = own if config.path is None else load_prompts(PromptsConfig(path=config.path), seed, responses=responses)
        keys = hash_keys(generator(seed, "target"), [p.id for p in found.train])
        drawn = sorted(keys.argsort(kind="stable")[: config.prompts].tolist())
        return Targets(tuple(found.train[i] for i in drawn), found.given)

    def sample(self, sampler: Sampler, models: Models, t: int, beta: float, seed: int, progress: Progress) -> Draws:
        """What the policy says to these prompts in round t."""
        return sampler.sample(SampleJob(models, self.prompts, self.given, t, beta, seed, progress))

    def pairs(self, draws: Draws, t: int) -> list[Pair]:
        """The pairs of those responses.

        Raises:
            DataError: if there is none.
        """
        pairs = InPrompt().pairs(draws, self.given, t)
        if not pairs:
            raise DataError(
                f"The target prompts must get two different responses somewhere, but all {len(draws.responses)} "
                "responses to them are alike within their prompts: raise `target.prompts` or "
                "`target.responses_per_prompt`, or the sampler's temperature."
            )
        return pairs
