"""RLHF with an explicit reward model: labels train a reward model, and RL trains the policy on it.

Reference: Ouyang et al., "Training language models to follow instructions with human feedback", NeurIPS 2022 (the
           pipeline); PILAF, arXiv 2502.04270, Appendix F (with its response sampling); Ahmadian et al., "Back to
           Basics", ACL 2024 (RLOO); Shao et al., arXiv 2402.03300 (GRPO).
Formula:   r = argmin −Σ w log σ(r(x, y_chosen) − r(x, y_rejected)), a sequence classifier with one output; then
           π = argmax E[r(x, y)] − β KL(π‖π_ref) over the prompts of the labelled pairs.
Cost:      training a reward model from scratch each round, then decoding and training as in RLOO or GRPO.

Margins and gradient features still use the implicit reward β log(π_θ/π_ref): at the optimum of the second step it
equals the reward model up to a function of the prompt.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from duelist.progress import Progress
from duelist.settings.context import Context
from duelist.trainers.base import Trainer, TrainingPlan
from duelist.trainers.rlhf_settings import CONFIGS, RLHFConfig
from duelist.trainers.trl_settings import TrlSettings, require_accepted
from duelist.types import Preference

if TYPE_CHECKING:
    from duelist.models.policy.policy import Policy


class RLHF(Trainer["Policy", Sequence[Preference]]):
    """Training of a reward model on the labels, from scratch, then of the policy on that reward model.

    Loss weights of pairs (`t_pilaf`, `acquisition.lure`) enter the reward model's loss.
    """

    def __init__(self, config: RLHFConfig) -> None:
        self.config = config
        self._classifier: Any = None  # of the last `train`, until it is kept

    @property
    def plan(self) -> TrainingPlan:
        c = self.config
        return TrainingPlan(c.accumulate, c.restart, c.reference, keeps_reward=c.reward_model.keep)

    @property
    def trl_settings(self) -> Sequence[TrlSettings]:
        return [
            TrlSettings("RewardConfig", self.config.reward_model.train, "trainer.reward_model.train"),
            TrlSettings(CONFIGS[self.config.algorithm], self.config.train, "trainer.train"),
        ]

    def check(self, context: Context) -> None:
        super().check(context)
        require_accepted(self.trl_settings, context)

    def train(
        self, policy: Policy, preferences: Sequence[Preference], beta: float, seed: int, progress: Progress
    ) -> Mapping[str, float]:
        from duelist.models.policy.process_state import global_generators_kept
        from duelist.trainers.trl_rlhf import optimize_policy, train_reward_classifier

        with tempfile.TemporaryDirectory(prefix="duelist-rlhf-") as scratch, global_generators_kept():
            classifier, fitted = train_reward_classifier(
                policy, preferences, self.config.reward_model, seed, scratch, progress
            )
            optimized = optimize_policy(policy, preferences, classifier, self.config, beta, seed, scratch, progress)
        self._classifier = classifier if self.config.reward_model.keep else None
        return {**fitted, **optimized}

    def keep(self, folder: Path) -> None:
        from duelist.models.rewards.classifier import FOLDER

        if self._classifier is None:
            return
        merged = getattr(self._classifier, "merge_and_unload", lambda: self._classifier)()
        merged.save_pretrained(folder / FOLDER)
        self._classifier = None
