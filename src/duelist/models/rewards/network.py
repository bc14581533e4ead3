"""A reward model on fixed embeddings: a small network, several of them, or one with a posterior over its last layer.

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
    """Weights of one network or several of the same shape, computed together.

    Attributes:
        config: what it is.
        weights: `w0` [K, H, D₀], `b0` [K, 1, D₀], ..., `head` [K, D]; K is 1 but for an ensemble.
        draws: of a posterior: `head` [K, D] (Laplace), or `mask0` [K, D₀], ... (dropout).
    """

    def __init__(
        self, config: RewardModelConfig, weights: Mapping[str, torch.Tensor], draws: Mapping[str, torch.Tensor]
    ) -> None:
        self.config = config
        self.weights = dict(weights)
        self.draws = dict(draws)

    @staticmethod
    def fresh(config: RewardModelConfig, dimension: int, seed: int) -> RewardModel:
        """Random hidden layers (uniform, ± 1/√inputs) under a last layer of zeros: every margin is zero.

        A Laplace posterior is then the prior, N(0, 1/λ).
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
        """E, of the embeddings it reads."""
        first = self.weights.get("w0", self.weights["head"])
        return int(first.shape[1])

    def inputs(self, vectors_RH: NDArray[Any]) -> torch.Tensor:
        """What the network reads, `[R, H]`: each vector at norm √H, so that its entries have a mean square of one.

        A zero vector stays zero; without `normalize` all stay as they are.

        Raises:
            ModelError: if they are not of the dimension that the model reads.
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
        """∇r in the last layer's weights, `[R, D]`: Φ. Of an ensemble's mean reward, the members' Φ/K side by side."""
        with torch.no_grad():
            phi_KRD = last_layer_features(self.weights, self.inputs(vectors_RH))
        k = len(phi_KRD)
        _, r, f = phi_KRD.shape
        return np.asarray((phi_KRD / k).transpose(0, 1).reshape(r, k * f).double().numpy())

    def rewards(self, vectors_RH: NDArray[Any]) -> NDArray[np.float64]:
        """The rewards, `[R]`: of an ensemble, the members' mean."""
        return np.asarray(self._members(vectors_RH).mean(axis=1))

    def samples(self, vectors_RH: NDArray[Any]) -> NDArray[np.float64]:
        """Rewards under the K members or posterior draws, `[R, K]`; without a posterior, the one there is."""
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
        """Write `model.safetensors` and `config.json` into a folder that exists."""
        tensors = {f"weights.{k}": v.contiguous() for k, v in self.weights.items()}
        tensors |= {f"draws.{k}": v.contiguous() for k, v in self.draws.items()}
        save_file(tensors, str(folder / WEIGHTS))
        content = {"format": FORMAT, "reward_model": self.config.model_dump(mode="json")}
        (folder / CONFIG).write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")

    @staticmethod
    def load(folder: str | Path) -> RewardModel:
        """Read a reward model that a study has trained: its folder `reward_model/`.

        Raises:
            ModelError: if there is none, or its files do not fit together.
        """
        place = Path(folder).expanduser()
        try:
            content = json.loads((place / CONFIG).read_text(encoding="utf-8"))
            config = RewardModelConfig.model_validate(content["reward_model"])
            tensors = load_file(str(place / WEIGHTS))
        except Exception as error:  # JSON, pydantic and safetensors each have errors of their own
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
        """The rewards of texts, `[R]`: embeds them with the source the model was trained on.

        Args:
            prompts: text, or lists of messages; `prompts[i]` is what `responses[i]` answers.
            responses: texts.

        Raises:
            DuelistError: if there is not one prompt for each response, or the source of embeddings is not there or has
                no vector for a text.
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
    """Φ of every member, `[K, R, D]`; `masks` multiply the hidden units, layer by layer."""
    hidden = inputs_RH.expand(len(weights["head"]), *inputs_RH.shape)
    for layer in range((len(weights) - 1) // 2):
        hidden = torch.relu(torch.baddbmm(weights[f"b{layer}"], hidden, weights[f"w{layer}"]))
        if masks:
            hidden = hidden * masks[layer]
    return hidden
