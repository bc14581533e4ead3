"""Training of a reward model on fixed embeddings, from scratch, all members at once."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import torch

from duelist.models.rewards.network import RewardModel, last_layer_features
from duelist.progress import Progress
from duelist.trainers.comparisons import Comparisons as Comparisons
from duelist.trainers.comparisons import Labels, TrainingData
from duelist.trainers.reward_optimizer import OptimizerConfig as OptimizerConfig

CHECK_EVERY = 10  # steps between two evaluations on the labels set aside for early stopping


def fit_reward_model(
    model: RewardModel, data: TrainingData, config: OptimizerConfig, seed: int, progress: Progress
) -> Mapping[str, float]:
    """Fit `model` in place from its current weights; minimise Σ loss + λ/2 ‖θ‖² for every member.

    A last layer of zeros is first drawn uniformly within ± 1/√F, because from zero the hidden layers would not move.

    Args:
        model: the model at its initial weights.
        data: P answers, one or more.
        config: settings of the training.
        seed: seed of the batches, the labels set aside, dropout and posterior draws.
        progress: receives the number of steps done.

    Returns:
        `train_loss`, the mean loss over the training labels, in nats; `validation_loss` if labels were
        set aside.
    """
    rng = torch.Generator().manual_seed(seed % 2**63)
    labels = data.labels(model)
    order = torch.randperm(len(labels.weight_P), generator=rng)
    aside = int(config.validation * len(order))
    held, used = order[:aside], order[aside:]
    size = min(config.batch_size, len(used))
    steps = max(config.steps, math.ceil(config.passes * len(used) / size))
    parameters = {k: v.clone() for k, v in model.weights.items()}
    if model.config.hidden and not parameters["head"].any():
        head = parameters["head"]
        parameters["head"] = (torch.rand(head.shape, generator=rng) * 2 - 1) / math.sqrt(head.shape[1])
    for value in parameters.values():
        value.requires_grad_()
    optimizer = torch.optim.Adam(list(parameters.values()), lr=config.learning_rate)
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: 0.5 * (1 + math.cos(math.pi * min(step / steps, 1)))
    )
    prior = model.config.prior_precision / (2 * len(used))
    drop = model.config.dropout if model.config.posterior == "dropout" else 0.0
    best: dict[str, torch.Tensor] = {}
    best_loss_K: torch.Tensor | None = None

    def losses(index: torch.Tensor, dropped: bool) -> torch.Tensor:
        """Return the weighted mean loss of every member over the answers `index`, `[K]`."""

        def rewards(inputs_RH: torch.Tensor) -> torch.Tensor:
            masks = _masks(parameters, len(inputs_RH), drop, rng) if dropped and drop else []
            return torch.einsum("krf,kf->kr", last_layer_features(parameters, inputs_RH, masks), parameters["head"])

        return (labels.losses(rewards, index) * labels.weight_P[index]).mean(dim=1)

    with progress.stage("Training", steps) as advance:
        for batch in _batches(used, size, steps, rng):
            penalty = sum((p.square().sum() for p in parameters.values()), start=torch.zeros(()))
            loss = losses(batch, True).sum() + prior * penalty
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            advance(1)
            if aside and scheduler.last_epoch % CHECK_EVERY == 0:
                with torch.no_grad():
                    now_K = losses(held, False)
                    better_K = torch.ones_like(now_K, dtype=torch.bool) if best_loss_K is None else now_K < best_loss_K
                    best_loss_K = now_K if best_loss_K is None else torch.minimum(now_K, best_loss_K)
                    for name, value in parameters.items():
                        chosen = better_K.reshape(-1, *[1] * (value.dim() - 1))
                        best[name] = torch.where(chosen, value, best.get(name, value)).clone()
    model.weights = best or {k: v.detach() for k, v in parameters.items()}
    with torch.no_grad():
        parameters = model.weights
        found = {"train_loss": float(losses(used, False).mean())}
    if best_loss_K is not None:
        found["validation_loss"] = float(best_loss_K.mean())
    if model.config.posterior == "laplace":
        model.draws = {"head": laplace_draws(model, labels, rng)}
    return found


def laplace_draws(model: RewardModel, labels: Labels, rng: torch.Generator) -> torch.Tensor:
    """Draw the last layer's weights, `[K, D]`, from N(w, H⁻¹), H = λI + the curvature of the labels' loss."""
    with torch.no_grad():
        head_D = model.weights["head"][0].double()
        prior_DD = model.config.prior_precision * torch.eye(len(head_D), dtype=torch.float64)
        factor_DD = torch.linalg.cholesky(labels.curvature(model) + prior_DD)
        noise_DK = torch.randn(len(head_D), model.config.draws, generator=rng, dtype=torch.float64)
        draws_DK = torch.linalg.solve_triangular(factor_DD.T, noise_DK, upper=True)
        return (head_D + draws_DK.T).float()


def _batches(used: torch.Tensor, size: int, steps: int, rng: torch.Generator) -> Iterator[torch.Tensor]:
    """Yield `steps` batches: passes over the labels, each in a new order; a pass drops its incomplete last batch."""
    done = 0
    while True:
        order = used[torch.randperm(len(used), generator=rng)] if size < len(used) else used
        for start in range(0, len(used) - size + 1, size):
            if done == steps:
                return
            yield order[start : start + size]
            done += 1


def _masks(parameters: Mapping[str, torch.Tensor], rows: int, drop: float, rng: torch.Generator) -> list[torch.Tensor]:
    layers = (len(parameters) - 1) // 2
    shapes = [(1, rows, parameters[f"w{layer}"].shape[2]) for layer in range(layers)]
    return [(torch.rand(shape, generator=rng) >= drop).float() / (1 - drop) for shape in shapes]
