"""Hidden states of a causal language model as embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal, final

import numpy as np

from duelist.engines.base import Compute, ended
from duelist.engines.local import in_process
from duelist.errors import ModelError
from duelist.models.embeddings.config import EmbeddingConfig
from duelist.models.embeddings.embedder import Embedder, Vectors
from duelist.models.policy.padding import padded
from duelist.models.policy.policy import Policy
from duelist.models.policy.positions import context_length, length_thresholds
from duelist.models.policy.response_batches import batches_by_tokens
from duelist.models.policy.tokenization import check_length, encode_responses, require_chat_template
from duelist.models.policy.vocabulary import check_vocabulary
from duelist.progress import Progress
from duelist.types import Prompt, Response

Tokens = tuple[Sequence[int], Sequence[int]]  # of the prompt and of the response


@final
@dataclass(frozen=True)
class PooledStates:
    """Task: hidden states of one layer of a model, pooled over the response's tokens, for each sequence of one batch.

    Attributes:
        layer: number of the layer; -1 for the last.
        pool: see `EmbeddingConfig`.
    """

    layer: int
    pool: Literal["mean", "last", "both"]

    def __call__(self, model: Any, batch: Sequence[Tokens]) -> Vectors:
        import torch

        device = next(model.parameters()).device
        ids = padded([[*p, *r] for p, r in batch], 0, device)
        real = padded([[1] * (len(p) + len(r)) for p, r in batch], 0, device)
        with torch.no_grad():
            found = model(input_ids=ids, attention_mask=real, output_hidden_states=True)
            state_BLH = found.hidden_states[self.layer].float()
            pools = []
            for pool in ("mean", "last") if self.pool == "both" else (self.pool,):
                taken_BL = padded([_taken(pool, len(p), len(r)) for p, r in batch], 0, device).float()
                weight_BL = taken_BL / taken_BL.sum(dim=1, keepdim=True)
                pools.append(torch.einsum("bl,blh->bh", weight_BL, state_BLH))
            return np.asarray(torch.cat(pools, dim=1).cpu().numpy(), np.float32)


@final
@dataclass(frozen=True)
class OfBase:
    """Task: another task, with the reference of a policy, which its holder has set to the base model."""

    task: PooledStates

    def prepared(self, policy: Policy) -> AbstractContextManager[None]:
        """Make the policy its reference."""
        return policy.as_reference()

    def __call__(self, policy: Policy, batch: Sequence[Tokens]) -> Vectors:
        with self.prepared(policy):
            return self.task(policy.model, batch)


@final
class HiddenStates(Embedder):
    """Hidden states of one layer, pooled over the response's tokens."""

    def __init__(
        self,
        config: EmbeddingConfig,
        model: Any,
        tokenizer: Any,
        name: str,
        policy: Policy | None = None,
        compute: Compute[Any] | None = None,
    ) -> None:
        """Use a model in evaluation mode.

        Args:
            config: layer, pooling and tokens per pass.
            model: the model.
            tokenizer: its tokenizer.
            name: its name in messages.
            policy: the policy of which `model` is the model; its base model is then used, on the responses' own tokens.
            compute: computes the batches with the policy if it is given, otherwise with the model; None: this process.

        Raises:
            ModelError: if the model lacks the layer.
        """
        if config.layer is not None and config.layer > (layers := model.config.get_text_config().num_hidden_layers):
            raise ModelError(
                f"`embedding.layer` must be one of the {layers} layers of {name}, but got {config.layer}: lower it."
            )
        self.config, self._policy = config, policy
        self._model, self._tokenizer, self._name = model, tokenizer, name
        self._compute = compute or in_process(model if policy is None else policy)

    def embed(self, prompts: Sequence[Prompt], responses: Sequence[Response], progress: Progress) -> Vectors:
        if self._policy is None:
            return self._pooled(self._encoded(prompts, responses), progress)
        own_reference = self._policy.reference_folder
        self._policy.set_reference(None)  # the base model: training must not change the embeddings
        try:
            return self._pooled([(r.prompt_token_ids, r.token_ids) for r in responses], progress)
        finally:
            self._policy.set_reference(own_reference)

    def _encoded(self, prompts: Sequence[Prompt], responses: Sequence[Response]) -> list[Tokens]:
        require_chat_template(self._tokenizer, prompts, self._name)
        limit = context_length(self._model.config)
        sequences: list[Tokens] = []
        for prompt, response in zip(prompts, responses, strict=True):
            prompt_ids, (ids,) = encode_responses(self._tokenizer, prompt, [response.text])
            check_length(prompt, len(prompt_ids) + len(ids), limit, "a response that is embedded")
            sequences.append((prompt_ids, ids))
        return sequences

    def _pooled(self, sequences: Sequence[Tokens], progress: Progress) -> Vectors:
        length_R = [len(p) + len(r) for p, r in sequences]
        vectors_RH: Vectors | None = None
        check_vocabulary(self._model.get_input_embeddings(), (ids for both in sequences for ids in both))
        planned = batches_by_tokens(length_R, self.config.max_tokens, length_thresholds(self._model.config))
        batches = [[sequences[i] for i in index_B] for index_B in planned]
        pooled = PooledStates(-1 if self.config.layer is None else self.config.layer, self.config.pool)
        task = pooled if self._policy is None else OfBase(pooled)
        computed = self._compute(task, batches, progress)
        with progress.stage("Embedding", len(sequences)) as advance, ended(computed):
            for index_B, vectors_BH in zip(planned, computed, strict=True):
                if vectors_RH is None:
                    vectors_RH = np.empty((len(sequences), vectors_BH.shape[1]), np.float32)
                vectors_RH[index_B] = vectors_BH
                advance(len(index_B))
        return np.empty((0, 0), np.float32) if vectors_RH is None else vectors_RH


def _taken(pool: str, prompt: int, response: int) -> list[int]:
    """Return 1 for each pooled token, 0 for the others, given the lengths of prompt and response in tokens."""
    return [0] * (prompt + response - 1) + [1] if pool == "last" else [0] * prompt + [1] * response
