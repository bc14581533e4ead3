"""Sources of fixed embeddings of prompt and response, used by reward models and linear designs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from duelist.errors import DataError, ModelError
from duelist.models.embeddings.config import EmbeddingConfig
from duelist.models.embeddings.embedder import Embedder, Vectors
from duelist.models.policy.loading import device_of, load_pretrained
from duelist.models.policy.positions import context_length, length_thresholds
from duelist.models.policy.tokenization import check_length, encode_responses, require_chat_template
from duelist.models.policy.vocabulary import check_vocabulary
from duelist.progress import Progress
from duelist.types import Prompt, Response

if TYPE_CHECKING:
    from duelist.models.policy.policy import Policy


class HiddenStates(Embedder):
    """Last-layer hidden states of a causal language model, pooled over the response's tokens."""

    def __init__(self, config: EmbeddingConfig, policy: Policy | None = None) -> None:
        """Use `config.model`, or the policy's base model if it is None.

        Raises:
            ModelError: if there is neither, or the model cannot be loaded.
        """
        self.config = config
        self._policy = policy if config.model is None else None
        if self._policy is not None:
            self._model, self._tokenizer, self._name = self._policy.model, self._policy.tokenizer, self._policy.name
        elif config.model is None:
            raise ModelError(
                "Hidden states need a causal language model, but the recipe has no `policy` and the embedding no "
                "`model`: set `model` to a folder or a hub name, or use another source."
            )
        else:
            from transformers import AutoModelForCausalLM, AutoTokenizer

            model = load_pretrained(
                AutoModelForCausalLM, config.model, "embedding.model", config.revision, dtype=config.dtype
            )
            self._model, self._name = model.to(device_of(config.device)).eval(), config.model
            self._tokenizer = load_pretrained(AutoTokenizer, config.model, "embedding.model", config.revision)

    def embed(self, prompts: Sequence[Prompt], responses: Sequence[Response], progress: Progress) -> Vectors:
        if self._policy is None:
            return self._pooled(self._encoded(prompts, responses), progress)
        own_reference = self._policy.reference_folder
        self._policy.set_reference(None)  # the base model: training must not change the embeddings
        try:
            with self._policy.as_reference():
                return self._pooled([(r.prompt_token_ids, r.token_ids) for r in responses], progress)
        finally:
            self._policy.set_reference(own_reference)

    def _encoded(
        self, prompts: Sequence[Prompt], responses: Sequence[Response]
    ) -> list[tuple[Sequence[int], Sequence[int]]]:
        require_chat_template(self._tokenizer, prompts, self._name)
        limit = context_length(self._model.config)
        sequences: list[tuple[Sequence[int], Sequence[int]]] = []
        for prompt, response in zip(prompts, responses, strict=True):
            prompt_ids, (ids,) = encode_responses(self._tokenizer, prompt, [response.text])
            check_length(prompt, len(prompt_ids) + len(ids), limit, "a response that is embedded")
            sequences.append((prompt_ids, ids))
        return sequences

    def _pooled(self, sequences: Sequence[tuple[Sequence[int], Sequence[int]]], progress: Progress) -> Vectors:
        import torch

        from duelist.models.policy.logprobs import batches_by_tokens
        from duelist.models.policy.padding import padded

        length_R = [len(p) + len(r) for p, r in sequences]
        device = next(self._model.parameters()).device
        vectors_RH: Vectors | None = None
        check_vocabulary(self._model.get_input_embeddings(), (ids for both in sequences for ids in both))
        batches = batches_by_tokens(length_R, self.config.max_tokens, length_thresholds(self._model.config))
        with progress.stage("Embedding", len(sequences)) as advance:
            for index_B in batches:
                batch = [sequences[i] for i in index_B]
                ids = padded([[*p, *r] for p, r in batch], 0, device)
                real = padded([[1] * (len(p) + len(r)) for p, r in batch], 0, device)
                pooled = padded([self._in_pool(len(p), len(r)) for p, r in batch], 0, device).float()
                with torch.no_grad():
                    found = self._model(input_ids=ids, attention_mask=real, output_hidden_states=True)
                weight = pooled / pooled.sum(dim=1, keepdim=True)
                vectors = torch.einsum("rt,rte->re", weight, found.hidden_states[-1].float()).cpu().numpy()
                if vectors_RH is None:
                    vectors_RH = np.empty((len(sequences), vectors.shape[1]), np.float32)
                vectors_RH[index_B] = vectors
                advance(len(batch))
        return np.empty((0, 0), np.float32) if vectors_RH is None else vectors_RH

    def _in_pool(self, prompt: int, response: int) -> list[int]:
        """Return 1 for each pooled token, 0 for the others, given the lengths of prompt and response in tokens."""
        last = self.config.pool == "last"
        return [0] * (prompt + response - 1) + [1] if last else [0] * prompt + [1] * response


def make_embedder(config: EmbeddingConfig, policy: Policy | None = None) -> Embedder:
    """Return the source of embeddings that `config` names.

    Raises:
        ModelError: if its model or library is missing.
        DataError: if its file cannot be read.
    """
    if config.source == "sentence_transformers":
        from duelist.models.embeddings.sentence_encoder import SentenceEncoder

        return SentenceEncoder(config)
    if config.source == "hidden_states":
        return HiddenStates(config, policy)
    from duelist.models.embeddings.files import FileEmbeddings

    if config.path is None:
        raise DataError("Embeddings from a file need its `path`, but there is none: set it.")
    return FileEmbeddings(config.path, config.ids)
