"""Pictures of every rule: the comparisons it picks in the plane over a few rounds.

Reference: Shen, Sun, Ton, arXiv 2502.04354, Section 4 and Figure 1.
Formula:   the true reward is the log-density of two Gaussians at ±(2.5, 2.5) with variance 0.25; labels are
           Bradley–Terry; the model is an MLP of three layers of 16 units; each round draws 1,000 points from N(0, I)
           in prompts of ten, and picks 200 of the 4,500 comparisons within prompts.

Every rule gets the same points and the same candidate comparisons (the paper compares any two points, which rules that
select within prompts cannot). N(0, I) plays the part of the policy, and a point's coordinates are its frozen embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from duelist.acquisition.base import Acquisition, choose
from duelist.evaluation.reward_model import spearman
from duelist.gallery.panel import SIDE, Panel, grid_points
from duelist.models.policy.process_state import torch_threads
from duelist.models.rewards.config import RewardModelConfig
from duelist.models.rewards.network import RewardModel
from duelist.progress import Progress, Silent
from duelist.recipe.component import Component
from duelist.recipe.components import COMPONENTS
from duelist.seeding import derived_seed, generator
from duelist.trainers.reward_fitting import Comparisons, OptimizerConfig, fit_reward_model
from duelist.types import Features

Floats = NDArray[np.float64]

CENTRES = np.array([[2.5, 2.5], [-2.5, -2.5]])
VARIANCE = 0.25
RESPONSES = 10
TARGETS = 64
MODEL = RewardModelConfig(hidden=(16, 16, 16), posterior="laplace", normalize=False, prior_precision=0.1)


@dataclass(frozen=True)
class GalleryConfig:
    """Size and seed of the gallery.

    Attributes:
        rounds: panels per rule.
        points: points drawn per round.
        picks: comparisons picked per round.
        steps: optimizer steps of the model per round.
        seed: the only source of randomness.
    """

    rounds: int = 4
    points: int = 1000
    picks: int = 200
    steps: int = 400
    seed: int = 0


def true_reward(points_R2: Floats) -> Floats:
    """Return the log-density of the equal mixture of the two Gaussians, `[R]`."""
    squares_R2 = ((points_R2[:, None] - CENTRES[None]) ** 2).sum(axis=2)
    return np.asarray(np.logaddexp.reduce(-squares_R2 / (2 * VARIANCE), axis=1) - np.log(4 * np.pi * VARIANCE))


def draw_rule(rule: str, config: GalleryConfig) -> list[Panel]:
    """Run a rule for a few rounds, training on the labels after each.

    Raises:
        RecipeError: if there is no such rule.
    """
    acquisition = Component.of(Acquisition, rule).build()
    model = RewardModel.fresh(MODEL, 2, derived_seed(config.seed, "model"))
    optimizer = OptimizerConfig(learning_rate=1e-2, steps=config.steps)
    past = _Asked.none()
    panels = []
    grid_X2 = grid_points()
    pair_N2 = _candidates(config.points)
    test_R2 = generator(config.seed, "test").normal(size=(2000, 2))
    for t in range(1, config.rounds + 1):
        points_R2 = generator(config.seed, "points", t).normal(size=(config.points, 2))
        prompt_R = np.arange(config.points) // RESPONSES
        features = _features(model, points_R2, pair_N2, prompt_R, past, generator(config.seed, "targets"), t)
        selection = choose(acquisition, features, config.picks, generator(config.seed, "select", t))
        picks_B2 = pair_N2[selection.indices_B]
        panels.append(
            Panel(
                points_R2,
                picks_B2,
                model.rewards(grid_X2).reshape(SIDE, SIDE),
                1 - spearman(model.rewards(test_R2), true_reward(test_R2)),
            )
        )
        labels = generator(config.seed, "labels", t)
        past = past.with_answers(points_R2[picks_B2], model, labels)
        model = RewardModel.fresh(MODEL, 2, derived_seed(config.seed, "model"))
        share_P = np.ones(len(past.points_P22))
        data = Comparisons(past.preferred(0), past.preferred(1), share_P, share_P)
        fit_reward_model(model, data, optimizer, derived_seed(config.seed, "train", t), Silent())
    return panels


def write_gallery(
    folder: Path,
    rules: Sequence[str] | None = None,
    config: GalleryConfig | None = None,
    progress: Progress | None = None,
) -> list[Path]:
    """Draw each rule into `folder/RULE.png`.

    Args:
        folder: created if it does not exist.
        rules: names of acquisitions or dotted paths; all shipped ones by default.
        config: size and seed of the gallery.
        progress: reports the number of rules drawn.

    Returns:
        The paths of the pictures.

    Raises:
        RecipeError: if there is no such rule.
    """
    from duelist.gallery.figures import draw_panels

    config, progress = config or GalleryConfig(), progress or Silent()
    names = list(rules or COMPONENTS["acquisition"])
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    truth_XX = true_reward(grid_points()).reshape(SIDE, SIDE)
    with torch_threads(1), progress.stage("Drawing rules", len(names)) as advance:
        for rule in names:
            path = folder / f"{rule.rpartition(':')[2]}.png"
            draw_panels(path, rule, truth_XX, draw_rule(rule, config))
            written.append(path)
            advance(1)
    return written


@dataclass(frozen=True)
class _Asked:
    """Comparisons asked so far: both points, their margin when asked, and which one won."""

    points_P22: Floats
    margin_P: Floats
    first_won_P: NDArray[np.bool_]

    @staticmethod
    def none() -> _Asked:
        return _Asked(np.empty((0, 2, 2)), np.empty(0), np.empty(0, bool))

    def with_answers(self, points_B22: Floats, model: RewardModel, rng: np.random.Generator) -> _Asked:
        margin_B = model.rewards(points_B22[:, 0]) - model.rewards(points_B22[:, 1])
        truth_B = true_reward(points_B22[:, 0]) - true_reward(points_B22[:, 1])
        won_B = rng.random(len(points_B22)) < 1 / (1 + np.exp(-np.clip(truth_B, -500, 500)))
        return _Asked(
            np.concatenate([self.points_P22, points_B22]),
            np.concatenate([self.margin_P, margin_B]),
            np.concatenate([self.first_won_P, won_B]),
        )

    def preferred(self, place: int) -> Floats:
        """Return the points that won (place 0) or lost (place 1)."""
        which_P = np.where(self.first_won_P, place, 1 - place)
        return np.asarray(self.points_P22[np.arange(len(which_P)), which_P])


def _candidates(points: int) -> NDArray[np.int64]:
    """Return the candidate comparisons `[N, 2]`: all pairs of points of the same prompt."""
    starts = range(0, points - RESPONSES + 1, RESPONSES)
    return np.array([(s + i, s + j) for s in starts for i, j in combinations(range(RESPONSES), 2)])


def _features(
    model: RewardModel,
    points_R2: Floats,
    pair_N2: NDArray[np.int64],
    prompt_R: NDArray[np.int64],
    past: _Asked,
    target_rng: np.random.Generator,
    t: int,
) -> Features:
    now = _seen(model, points_R2[pair_N2], f"round{t}.", pair_N2, prompt_R)
    position_P2 = np.arange(2 * len(past.points_P22)).reshape(-1, 2)
    before = _seen(model, past.points_P22, "past.", position_P2, np.zeros(position_P2.size, int))
    won_P2 = np.stack([past.first_won_P, ~past.first_won_P], axis=1).astype(np.int64)
    before = replace(before, votes_N2=won_P2, asked_margin_N=past.margin_P)
    target_M22 = target_rng.normal(size=(TARGETS, 2, 2))
    target_MD = model.features(target_M22[:, 0]) - model.features(target_M22[:, 1])
    return replace(now, target_MD=target_MD, past=before)


def _seen(
    model: RewardModel, points_N22: Floats, name: str, pair_N2: NDArray[np.int64], prompt_R: NDArray[np.int64]
) -> Features:
    """Return every field of `Features` from the coordinates of both points."""
    n = len(points_N22)
    flat = points_N22.reshape(-1, 2)
    reward_N2 = model.rewards(flat).reshape(n, 2)
    phi_N2D = model.features(flat).reshape(n, 2, MODEL.hidden[-1])
    surprise_N2 = 0.5 * (points_N22**2).sum(axis=2) + np.log(2 * np.pi)  # −log of the density of N(0, I)
    entropy_N = np.zeros(n)
    if n:
        sums = np.bincount(prompt_R[pair_N2[:, 0]], weights=surprise_N2.mean(axis=1))
        entropy_N = (sums / np.maximum(1, np.bincount(prompt_R[pair_N2[:, 0]])))[prompt_R[pair_N2[:, 0]]]
    return Features(
        pair_id_N=np.array([f"{name}{i}-{j}" for i, j in pair_N2], dtype=np.str_),
        prompt_ids_N2=np.char.add(f"{name}prompt", prompt_R[pair_N2].astype(np.str_)).reshape(n, 2),
        response_ids_N2=np.char.add(name, pair_N2.astype(np.str_)).reshape(n, 2),
        length_N2=np.ones((n, 2), np.int64),
        margin_N=reward_N2[:, 0] - reward_N2[:, 1],
        log_ratio_N2=reward_N2,
        prompt_entropy_N=entropy_N,
        gradient_ND=phi_N2D[:, 0] - phi_N2D[:, 1],
        embedding_ND=points_N22[:, 0] - points_N22[:, 1],
        reward_N2K=model.samples(flat).reshape(n, 2, MODEL.draws),
        votes_N2=np.zeros((n, 2), np.int64),
        asked_margin_N=np.zeros(n),
    )
