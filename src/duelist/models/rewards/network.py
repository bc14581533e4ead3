"""Reward model on fixed embeddings: a small network, an ensemble, or a network with a last-layer or dropout posterior.

Reference: Shen, Sun, Ton, arXiv 2502.04354, Section 5: an MLP of three hidden layers of 64 units, no bias at the end.
Formula:   r(x, y) = wᵀΦ(x, y),  Φ = F_θ(Ψ(x, y)), Ψ the embedding scaled to norm √E.

Dimensions: H of the embedding, D of Φ, K members of an ensemble or draws from a posterior.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from duelist.errors import DataError, ModelError
from duelist.models.embeddings.cache import EmbeddingCache
from duelist.models.embeddings.sources import make_embedder
from duelist.models.policy.plain_tokens import plain_token_ids
from duelist.models.rewards.config import RewardModelConfig
from duelist.progress import Silent
from duelist.types import Message, Prompt, Response

WEIGHTS, CONFIG = "model.safetensors", "config.json"
FORMAT = 1


class RewardModel:
    """One network, or several of the same shape computed together.

    Attributes:
        config: the settings.
        weights: `w0` [K, H, D₀], `b0` [K, 1, D₀], ..., `head` [K, D]; K is 1 except for an ensemble.
        draws: posterior draws: `head` [K, D] (Laplace), or `mask0` [K, D₀], ... (dropout).
    """

    def __init__(
        self, config: RewardModelConfig, weights: Mapping[str, torch.Tensor], draws: Mapping[str, torch.Tensor]
    ) -> None:
        self.config = config
        self.weights = dict(weights)
        self.draws = dict(draws)

    @staticmethod
    def fresh(config: RewardModelConfig, dimension: int, seed: int) -> RewardModel:
        """Create a model with random hidden layers (uniform, ± 1/√inputs) and a zero last layer: every margin is zero.

        A Laplace posterior then equals the prior, N(0, 1/λ).
        """
        rng = torch.Generator().manual_seed(seed % 2**63)
        k = config.members if config.posterior == "ensemble" else 1
        weights: dict[str, torch.Tensor] = {}
        size = dimension
        for layer, units in enumerate(config.hidden):
            bound = 1 / math.sqrt(size)
            weights[f"w{layer}"] = (torch.rand(k, size, units, generator=rng) * 2 - 1) * bound
            weights[f"b{layer}"] = (torch.rand(k, 1, units, generator=rng) * 2 - 1) * bound
            size = units
        weights["head"] = torch.zeros(k, size)
        draws: dict[str, torch.Tensor] = {}
        if config.posterior == "laplace":
            draws["head"] = torch.randn(config.draws, size, generator=rng) / math.sqrt(config.prior_precision)
        elif config.posterior == "dropout":
            for layer, units in enumerate(config.hidden):
                keep = torch.rand(config.draws, units, generator=rng) >= config.dropout
                draws[f"mask{layer}"] = keep.float() / (1 - config.dropout)
        return RewardModel(config, weights, draws)

    @property
    def dimension(self) -> int:
        """Dimension of the embeddings: E in the formula, H in shapes."""
        first = self.weights.get("w0", self.weights["head"])
        return int(first.shape[1])

    def inputs(self, vectors_RH: NDArray[Any]) -> torch.Tensor:
        """Return the network's input, `[R, H]`: each vector scaled to norm √H, so its entries have mean square one.

        A zero vector stays zero. Without `normalize`, vectors are not scaled.

        Raises:
            ModelError: if the vectors do not have the model's dimension.
        """
        vectors = torch.from_numpy(np.array(vectors_RH, dtype=np.float32))
        if vectors.ndim != 2 or vectors.shape[1] != self.dimension:
            raise ModelError(
                f"A reward model reads vectors of the dimension that it was made for, [R, {self.dimension}], but got "
                f"an array of shape {list(vectors.shape)}: a study goes on with the embeddings it began with, so "
                "restore their file or model, or begin a new study."
            )
        if not self.config.normalize:
            return vectors
        norm_R1 = vectors.norm(dim=1, keepdim=True)
        return vectors * (math.sqrt(vectors.shape[1]) / torch.where(norm_R1 > 0, norm_R1, torch.ones_like(norm_R1)))

    def features(self, vectors_RH: NDArray[Any]) -> NDArray[np.float64]:
        """Return ∇r in the last layer's weights, `[R, D]`: Φ, or for an ensemble the members' Φ/K side by side."""
        with torch.no_grad():
            phi_KRD = last_layer_features(self.weights, self.inputs(vectors_RH))
        k = len(phi_KRD)
        _, r, f = phi_KRD.shape
        return np.asarray((phi_KRD / k).transpose(0, 1).reshape(r, k * f).double().numpy())

    def rewards(self, vectors_RH: NDArray[Any]) -> NDArray[np.float64]:
        """Return the rewards, `[R]`; for an ensemble, the members' mean."""
        return np.asarray(self._members(vectors_RH).mean(axis=1))

    def samples(self, vectors_RH: NDArray[Any]) -> NDArray[np.float64]:
        """Return the rewards under the K members or posterior draws, `[R, K]`; without a posterior, K is 1."""
        if self.config.posterior == "laplace":
            with torch.no_grad():
                phi_RD = last_layer_features(self.weights, self.inputs(vectors_RH))[0]
                return np.asarray((phi_RD.double() @ self.draws["head"].double().T).numpy())
        if self.config.posterior == "dropout":
            return self._dropped(vectors_RH)
        return self._members(vectors_RH)

    def _members(self, vectors_RH: NDArray[Any]) -> NDArray[np.float64]:
        with torch.no_grad():
            phi_KRD = last_layer_features(self.weights, self.inputs(vectors_RH))
            return np.asarray(torch.einsum("krf,kf->rk", phi_KRD.double(), self.weights["head"].double()).numpy())

    def _dropped(self, vectors_RH: NDArray[Any]) -> NDArray[np.float64]:
        columns = []
        inputs_RH = self.inputs(vectors_RH)
        with torch.no_grad():
            for draw in range(self.config.draws):
                masks = [self.draws[f"mask{layer}"][draw] for layer in range(len(self.config.hidden))]
                phi_RD = last_layer_features(self.weights, inputs_RH, masks)[0]
                columns.append((phi_RD.double() @ self.weights["head"][0].double()).numpy())
        return np.stack(columns, axis=1)

    def save(self, folder: Path) -> None:
        """Write `model.safetensors` and `config.json` into an existing folder."""
        tensors = {f"weights.{k}": v.contiguous() for k, v in self.weights.items()}
        tensors |= {f"draws.{k}": v.contiguous() for k, v in self.draws.items()}
        save_file(tensors, str(folder / WEIGHTS))
        content = {"format": FORMAT, "reward_model": self.config.model_dump(mode="json")}
        (folder / CONFIG).write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")

    @staticmethod
    def load(folder: str | Path) -> RewardModel:
        """Load a trained reward model from a study's folder `reward_model/`.

        Raises:
            ModelError: if there is none, or its files do not match.
        """
        place = Path(folder).expanduser()
        try:
            content = json.loads((place / CONFIG).read_text(encoding="utf-8"))
            config = RewardModelConfig.model_validate(content["reward_model"])
            tensors = load_file(str(place / WEIGHTS))
        except Exception as error:  # JSON, pydantic and safetensors each raise their own errors
            raise ModelError(
                f"A trained reward model is a folder with {CONFIG} and {WEIGHTS}, but {place} cannot be read as one: "
                f"{error} Give a study's `reward_model` folder."
            ) from error
        parts: dict[str, dict[str, torch.Tensor]] = {"weights": {}, "draws": {}}
        for name, tensor in tensors.items():
            kind, _, key = name.partition(".")
            parts[kind][key] = tensor
        return RewardModel(config, parts["weights"], parts["draws"])

    def score(self, prompts: Sequence[str | Sequence[Message]], responses: Sequence[str]) -> NDArray[np.float64]:
        """Return the rewards of texts, `[R]`, embedded with the source that the model was trained on.

        Args:
            prompts: texts, or lists of messages; `responses[i]` is a response to `prompts[i]`.
            responses: texts.

        Raises:
            DuelistError: if there is not one prompt per response, or the source of embeddings is missing or has no
                vector for a text.
        """
        if len(prompts) != len(responses):
            raise DataError(
                f"There must be one prompt for each response, but got {len(prompts)} prompts and {len(responses)} "
                "responses: name a prompt once for each of its responses."
            )
        if not responses:
            return np.empty(0)
        asked = [Prompt.of(p) for p in prompts]
        answers = [Response.of(p, text, [], plain_token_ids(text), 0) for p, text in zip(asked, responses, strict=True)]
        embed = EmbeddingCache(make_embedder(self.config.embedding))
        return self.rewards(embed({p.id: p for p in asked}, answers, Silent()))


def last_layer_features(
    weights: Mapping[str, torch.Tensor], inputs_RH: torch.Tensor, masks: Sequence[torch.Tensor] = ()
) -> torch.Tensor:
    """Return Φ of every member, `[K, R, D]`; `masks` multiply the hidden units layer by layer."""
    hidden = inputs_RH.expand(len(weights["head"]), *inputs_RH.shape)
    for layer in range((len(weights) - 1) // 2):
        hidden = torch.relu(torch.baddbmm(weights[f"b{layer}"], hidden, weights[f"w{layer}"]))
        if masks:
            hidden = hidden * masks[layer]
    return hidden
