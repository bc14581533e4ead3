"""Judge by a reward model: the Bradley–Terry probability of its rewards.

Formula:   P(a) = σ((r_a − r_b) / T). The two orders are one and the same: each response is scored alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import scipy

from duelist.engines.base import Engine
from duelist.judgement import Judgement
from duelist.judges.base import Comparison, Judge
from duelist.judges.config import JudgeConfig
from duelist.models.rewards.functions import ModelReward, ModelRewardConfig
from duelist.progress import Progress
from duelist.settings.context import Context
from duelist.settings.credentials import with_credentials
from duelist.types import Response


class RewardModelJudge(Judge):
    """Judge by a sequence-classification model with one output."""

    def __init__(self, config: JudgeConfig) -> None:
        assert config.reward_model is not None
        self.config = config
        self.name = f"judge:{Path(config.reward_model).name}"
        own = {"revision", "input", "dtype", "device", "batch_size", "load"}
        settings = {"model": config.reward_model, **config.model_dump(include=own)}
        self._reward = ModelReward(ModelRewardConfig.model_validate(with_credentials(settings)), "the judge")

    def check(self, context: Context) -> None:
        self._reward.check(context)

    def compute_with(self, engine: Engine, progress: Progress) -> None:
        self._reward.compute_with(engine, progress)

    def judge(self, comparisons: Sequence[Comparison], seed: int, progress: Progress) -> list[Judgement]:
        scored = {(c.prompt.id, text): c.prompt for c in comparisons for text in (c.a, c.b)}
        if not scored:
            return []
        with progress.stage("Judging", len(comparisons)) as advance:
            # The reward reads texts: the token ids of these responses are placeholders.
            responses = [Response.of(prompt, text, [], [0], 0) for (_, text), prompt in scored.items()]
            reward = dict(zip(scored, self._reward.score(list(scored.values()), responses).tolist(), strict=True))
            advance(len(comparisons))
        found = []
        for c in comparisons:
            difference = reward[c.prompt.id, c.a] - reward[c.prompt.id, c.b]
            p = float(scipy.special.expit(difference / self.config.temperature))
            opinion = (p, 1 - p, 0.0)
            found.append(Judgement(opinion, opinion))
        return found
