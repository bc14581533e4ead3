"""Losses of decided pairs, as pure functions: one number per pair, to be averaged.

Reference: Rafailov et al., "Direct Preference Optimization", NeurIPS 2023, arXiv 2305.18290, equation (7);
           Rao and Kupper, "Ties in paired-comparison experiments", JASA 62, 1967, in DPO by Chen et al., "On Extending
           Direct Preference Optimization to Accommodate Ties", NeurIPS 2025, arXiv 2409.17431;
           Xie et al., "Exploratory Preference Optimization", arXiv 2405.21046, Algorithm 1.
Formula:   h = β log(π_θ(y_c|x)/π_ref(y_c|x)) − β log(π_θ(y_r|x)/π_ref(y_r|x)), c chosen, r rejected;
           (1) stock       −log σ(h)
           (2) soft label  −s log σ(h) − (1 − s) log σ(−h), s the share of the chosen one; (1) at s = 1
           (3) Rao–Kupper  −log σ(h − log ν) for a decision, −log((ν² − 1) σ(h − log ν) σ(−h − log ν)) for a tie; (1) at
                           ν = 1, where no tie can be
           (4) XPO         (2) or (3) + α Σ log π_θ(y|x) over those of the two that were drawn from the reference
           (5) weighted    w times (2) or (3); (4)'s bonus is not weighted, because it is not a label.
           (6) KL penalty  + k (r_c² + r_r²)/4, r = β log(π_θ/π_ref) of each response: β² times a second-order estimate
                           of KL. It bounds (5) from below where s is outside [0, 1], since (r_c² + r_r²)/4 ≥ h²/8.
Unit:      nats.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch.nn.functional import logsigmoid


@dataclass(frozen=True)
class PairColumns:
    """Facts about B pairs besides their tokens.

    Attributes:
        weight_B: w, the factor of each pair's loss.
        share_B: s, the share of the chosen response: 1 for a plain decision, 0.5 for a tie. It may lie outside [0, 1],
            and the weight may be negative, only where a judge is corrected (`choice_models.prediction_powered`).
        from_reference_B2: 1 where the chosen and the rejected response were drawn from the reference, else 0.
        penalty_B: k of equation (6); None for none.
    """

    weight_B: torch.Tensor
    share_B: torch.Tensor
    from_reference_B2: torch.Tensor
    penalty_B: torch.Tensor | None = None


@dataclass(frozen=True)
class Objective:
    """The loss to minimise.

    Attributes:
        tie_threshold: ν of equation (3), above 1; None for equation (2).
        xpo_alpha: α of equation (4); 0 for none.
    """

    tie_threshold: float | None = None
    xpo_alpha: float = 0.0

    def __call__(
        self,
        margin_B: torch.Tensor,
        log_prob_B2: torch.Tensor,
        columns: PairColumns,
        reward_B2: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return the losses of B pairs.

        Args:
            margin_B: h.
            log_prob_B2: log π_θ(y|x) of the chosen and the rejected responses, in nats.
            columns: further facts about the pairs.
            reward_B2: r of the chosen and the rejected responses, for equation (6).

        Returns:
            loss_B: in nats.
        """
        if self.tie_threshold is None:
            label_loss_B = soft_label_loss(margin_B, columns.share_B)
        else:
            label_loss_B = rao_kupper_loss(margin_B, columns.share_B == 0.5, self.tie_threshold)
        loss_B = columns.weight_B * label_loss_B  # equation (5)
        if columns.penalty_B is not None and reward_B2 is not None:
            loss_B = loss_B + columns.penalty_B * reward_B2.square().sum(dim=1) / 4  # equation (6)
        return loss_B + xpo_bonus(log_prob_B2, columns.from_reference_B2, self.xpo_alpha) if self.xpo_alpha else loss_B


def soft_label_loss(margin_B: torch.Tensor, share_B: torch.Tensor) -> torch.Tensor:
    """Return equation (2): the cross-entropy of the Bradley–Terry probability with a share of the votes."""
    return -share_B * logsigmoid(margin_B) - (1 - share_B) * logsigmoid(-margin_B)


def rao_kupper_loss(margin_B: torch.Tensor, tie_B: torch.Tensor, threshold: float) -> torch.Tensor:
    """Return equation (3).

    Args:
        margin_B: h.
        tie_B: which pairs were called equal.
        threshold: ν > 1; two equally good responses are called equal with probability (ν − 1) / (ν + 1).
    """
    won_B = -logsigmoid(margin_B - math.log(threshold))
    lost_B = -logsigmoid(-margin_B - math.log(threshold))
    return torch.where(tie_B, won_B + lost_B - math.log(threshold**2 - 1), won_B)


def xpo_bonus(log_prob_B2: torch.Tensor, from_reference_B2: torch.Tensor, alpha: float) -> torch.Tensor:
    """Return equation (4)'s second term. Minimising it makes responses drawn from the reference less likely."""
    return alpha * (from_reference_B2 * log_prob_B2).sum(dim=1)
