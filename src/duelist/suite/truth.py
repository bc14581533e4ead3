"""The truth about each pair, for references that may see it: what the annotator will say, and what J counts.

Reference: none needed.
Formula:   of responses a and b: (0) the probability that the annotator prefers it; (1) its true reward over the
           temperature T; (2) the weight of its prompt in J.
Unit:      probability; log-odds of a label; none.
Cost:      one reward per distinct response.

It fills `reward_N2K`, the one field with several numbers per response. No rule that a recipe can name by a short name
knows that these are not draws from a posterior, so only `duelist.suite` uses it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from duelist.featurizers.base import FeatureJob, Featurizer, distinct_responses
from duelist.models.rewards.functions import FunctionReward
from duelist.suite.annotator import NoisyAnnotatorConfig, label_probabilities, true_margins, words

CHOSEN, REWARD, WEIGHT = range(3)  # columns of `reward_N2K`
COLUMNS = 3


class TruthConfig(BaseModel):
    """Settings of the truth."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    annotator: NoisyAnnotatorConfig = Field(description="Settings of the annotator whose labels are foreseen.")
    weight: str | None = Field(default=None, description="Prompt column with the weight in J; null: 1 for all.")


@final
class Truth(Featurizer):
    """Featurizer that fills `reward_N2K` with the columns `CHOSEN`, `REWARD` and `WEIGHT`."""

    def __init__(self, config: TruthConfig) -> None:
        self.config = config
        self._reward = FunctionReward(config.annotator)

    @property
    def provides(self) -> tuple[str, ...]:
        return ("reward_N2K",)

    def compute(self, job: FeatureJob) -> Mapping[str, NDArray[Any]]:
        responses, place_N2 = distinct_responses(job.questions)
        prompts = [job.prompts[r.prompt_id] for r in responses]
        reward_R = self._reward.score(prompts, responses)
        words_R = np.array([words(r) for r in responses], dtype=np.int64)
        column = self.config.weight
        weight_R = np.array([1.0 if column is None else float(p.columns[column]) for p in prompts])
        own = self.config.annotator
        difference_N = reward_R[place_N2[:, 0]] - reward_R[place_N2[:, 1]]
        longer_N = words_R[place_N2[:, 0]] - words_R[place_N2[:, 1]]
        chosen_N2 = label_probabilities(own, true_margins(own, difference_N, longer_N))
        truth_N2K = np.empty((len(place_N2), 2, COLUMNS))
        truth_N2K[:, :, CHOSEN] = chosen_N2
        truth_N2K[:, :, REWARD] = reward_R[place_N2] / own.temperature
        truth_N2K[:, :, WEIGHT] = weight_R[place_N2]
        return {"reward_N2K": truth_N2K}
