"""Losses of answers to questions of k responses, as pure functions: one number per question, to be averaged.

Reference: Rafailov et al., "Direct Preference Optimization", NeurIPS 2023, arXiv 2305.18290, appendix A.3 (Plackett–
           Luce); Hausman and Ruud, "Specifying and testing econometric models for rank-ordered data", Journal of
           Econometrics 34, 1987 (a scale for each stage); Marley and Louviere, "Some probabilistic models of best,
           worst, and best-worst choices", Journal of Mathematical Psychology 49, 2005 (best and worst); Cao et al.,
           "Learning to Rank: From Pairwise Approach to Listwise Approach", ICML 2007 (the cross-entropy between two
           distributions over orders, for ties); Xie et al., arXiv 2405.21046, Algorithm 1 (XPO).
Formula:   r_i = β log(π_θ(y_i|x)/π_ref(y_i|x)), or a reward model's reward;
           (6) ranking         −Σ_j log softmax(s_j r over what is left)_(the one chosen at stage j),  s_1 = 1
           (7) best of k       the first stage of (6)
           (8) stopped         (6) up to the last ranked response: the sum over all orders of the rest
           (9) ties            the mean of (6) over all orders consistent with the answer
           (10) best and worst −log [exp(r_b − r_w) / Σ_{i≠j} exp(r_i − r_j)]
           (11) XPO            w times the above + α Σ log π_θ(y_i|x) over those drawn from the reference.
Unit:      nats.
Cost:      a tie of g responses adds 2^g terms.

(6) at two responses is the stock loss of DPO, (9) that of a tie that counts half a preference each way. (10) at two
would be the stock loss of twice the margin, but whatever is asked about two responses is a pair.

(9) is the cross-entropy of the model's distribution over orders with the uniform one over the consistent orders. The
alternative is the logarithm of the mean probability of the consistent orders (Allison and Christakis, "Logit models for
sets of ranked items", Sociological Methodology 24, 1994). It means that people know an order but did not say it, so a
tie of two says nothing: p + (1 − p) = 1. In ours the responses are equally good, and the loss draws their rewards
together. It is also convex in the rewards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch

from duelist.choice_models.choices import choices_of


@dataclass(frozen=True)
class Answers:
    """B answers as the constants of their losses, with at most X choices each.

    Attributes:
        left_BXQ: which responses each choice is made from (see `Choices`).
        next_BXQ: the share of each response in the choice.
        weight_BX: the share of the consistent orders in which the choice occurs.
        scale_BX: s of the choice's stage.
        asked_BQ: which places hold a response.
        best_worst_B: 1 for an answer that names the best and the worst in one choice, else 0.
        best_less_worst_BQ: for these, 1 for the best, −1 for the worst, else 0.
    """

    left_BXQ: torch.Tensor
    next_BXQ: torch.Tensor
    weight_BX: torch.Tensor
    scale_BX: torch.Tensor
    asked_BQ: torch.Tensor
    best_worst_B: torch.Tensor
    best_less_worst_BQ: torch.Tensor

    @staticmethod
    def of(
        rank_BQ: torch.Tensor,
        best_worst_B: torch.Tensor,
        scales: Sequence[float] = (),
        dtype: torch.dtype = torch.float32,
    ) -> Answers:
        """Create the constants.

        Args:
            rank_BQ: `RankedSet.ranks`; −1 beyond the last response.
            best_worst_B: which answers are best-and-worst.
            scales: s of each stage, from the first; later stages have the last one's, and all have 1 if there is none.
            dtype: type of the losses.
        """
        choices = choices_of(rank_BQ.cpu().numpy(), best_worst_B.cpu().numpy().astype(bool))
        scale_X = np.array([*(scales or (1.0,)), *[scales[-1] if scales else 1.0] * rank_BQ.shape[1]])
        named_BQ = (rank_BQ == 0).to(dtype) - (rank_BQ == 2).to(dtype)

        def tensor(values: np.ndarray) -> torch.Tensor:
            return torch.from_numpy(values).to(rank_BQ.device, dtype)

        return Answers(
            torch.from_numpy(choices.left_NXQ).to(rank_BQ.device),
            tensor(choices.next_NXQ),
            tensor(choices.weight_NX),
            tensor(scale_X[choices.stage_NX]),
            rank_BQ >= 0,
            best_worst_B.to(dtype),
            named_BQ * best_worst_B.to(dtype)[:, None],
        )

    def at(self, index: torch.Tensor) -> Answers:
        """Return some of the answers."""
        return Answers(*(getattr(self, f.name)[index] for f in fields(self)))


@dataclass(frozen=True)
class SetColumns:
    """Facts about B questions besides their tokens.

    Attributes:
        answers: what was answered.
        weight_B: w, the factor of each question's loss.
        from_reference_BQ: 1 where a response was drawn from the reference, else 0.
    """

    answers: Answers
    weight_B: torch.Tensor
    from_reference_BQ: torch.Tensor


@dataclass(frozen=True)
class RankedObjective:
    """The loss to minimise.

    Attributes:
        scales: s of each stage of a ranking (see `Answers.of`).
        xpo_alpha: α of equation (11); 0 for none.
    """

    scales: tuple[float, ...] = ()
    xpo_alpha: float = 0.0

    def __call__(self, reward_BQ: torch.Tensor, log_prob_BQ: torch.Tensor, columns: SetColumns) -> torch.Tensor:
        """Return the losses of B questions.

        Args:
            reward_BQ: r of each response; 0 beyond the last one.
            log_prob_BQ: log π_θ(y|x), in nats; 0 beyond the last one.
            columns: further facts about the questions.

        Returns:
            loss_B: in nats.
        """
        loss_B = columns.weight_B * answer_loss(reward_BQ, columns.answers)
        if not self.xpo_alpha:
            return loss_B
        return loss_B + self.xpo_alpha * (columns.from_reference_BQ * log_prob_BQ).sum(dim=-1)


def answer_loss(reward_BQ: torch.Tensor, answers: Answers) -> torch.Tensor:
    """Return equations (6) to (10), `[B]`, in nats.

    Args:
        reward_BQ: r of each response, finite beyond the last one too; may have further dimensions in front.
        answers: what was answered.
    """
    reward_BXQ = answers.scale_BX[..., None] * reward_BQ[..., None, :]
    left_BX = reward_BXQ.masked_fill(~answers.left_BXQ, -torch.inf).logsumexp(dim=-1)
    loss_BX = left_BX - (answers.next_BXQ * reward_BXQ).sum(dim=-1)
    loss_B = (answers.weight_BX * loss_BX).sum(dim=-1)
    if not answers.best_worst_B.any():
        return loss_B
    options_B = _ordered_pairs(reward_BQ, answers).flatten(-2).logsumexp(dim=-1)
    chosen_B = (answers.best_less_worst_BQ * reward_BQ).sum(dim=-1)
    return loss_B + answers.best_worst_B * (options_B - chosen_B)


def loss_curvature(reward_BQ: torch.Tensor, answers: Answers) -> torch.Tensor:
    """Return the second derivatives of the losses in the rewards, `[B, Q, Q]`.

    A ranking's is Σ_j s_j² Cov(which response is chosen at stage j), the mean over consistent orders; a best-and-worst
    answer's is the covariance of (1 at the best, −1 at the worst). Of a pair it is p(1 − p) (1, −1)ᵀ(1, −1).
    """
    reward_BXQ = answers.scale_BX[..., None] * reward_BQ[..., None, :]
    p_BXQ = reward_BXQ.masked_fill(~answers.left_BXQ, -torch.inf).softmax(dim=-1)
    covariance_BXQQ = torch.diag_embed(p_BXQ) - p_BXQ[..., :, None] * p_BXQ[..., None, :]
    factor_BX = answers.weight_BX * answers.scale_BX.square()
    curvature_BQQ = (factor_BX[..., None, None] * covariance_BXQQ).sum(dim=-3)
    if not answers.best_worst_B.any():
        return curvature_BQQ
    options_BQQ = _ordered_pairs(reward_BQ, answers)
    p_BQQ = options_BQQ.flatten(-2).softmax(dim=-1).reshape(options_BQQ.shape)
    best_BQ, worst_BQ = p_BQQ.sum(dim=-1), p_BQQ.sum(dim=-2)
    mean_BQ = best_BQ - worst_BQ
    second_BQQ = torch.diag_embed(best_BQ + worst_BQ) - p_BQQ - p_BQQ.transpose(-1, -2)
    joint_BQQ = second_BQQ - mean_BQ[..., :, None] * mean_BQ[..., None, :]
    return curvature_BQQ + answers.best_worst_B[..., None, None] * joint_BQQ


def _ordered_pairs(reward_BQ: torch.Tensor, answers: Answers) -> torch.Tensor:
    """Return r_i − r_j of two different responses, −∞ elsewhere."""
    difference_BQQ = reward_BQ[..., :, None] - reward_BQ[..., None, :]
    places = torch.eye(reward_BQ.shape[-1], dtype=torch.bool, device=reward_BQ.device)
    asked_BQQ = answers.asked_BQ[:, :, None] & answers.asked_BQ[:, None, :]
    return difference_BQQ.masked_fill(~asked_BQQ | places, -torch.inf)
