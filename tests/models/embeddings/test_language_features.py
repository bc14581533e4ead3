"""Features of a language model for a linear reward, against plain forward passes and NumPy's own decomposition."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from duelist.models.embeddings.config import EmbeddingConfig
from duelist.models.embeddings.language_features import language_features, principal_components
from duelist.models.policy.packaged import load_plain
from duelist.models.policy.tokenization import encode_responses
from duelist.progress import Silent
from duelist.types import Prompt


def test_components_are_those_of_the_standardised_vectors() -> None:
    rng = np.random.default_rng(0)
    mixed = rng.normal(size=(40, 3)) @ rng.normal(size=(3, 5)) * [1, 100, 1e-3, 5, 1] + [7, 0, 0, -3, 0]
    vectors = np.column_stack([mixed, np.full(40, 2.0)]).astype(np.float32)  # rank 3, and a constant column
    found = principal_components(vectors, 2)
    standard = vectors[:, :5].astype(float)
    standard = (standard - standard.mean(axis=0)) / standard.std(axis=0)
    left, _, _ = np.linalg.svd(standard, full_matrices=False)
    expected = left[:, :2] * np.sqrt(40)
    np.testing.assert_allclose(np.abs(found), np.abs(expected), atol=1e-4)  # signs are free
    assert principal_components(vectors, 10).shape == (40, 3)


def test_features_are_hidden_states_and_length(tiny_model: Path) -> None:
    language_model = load_plain(str(tiny_model), "model")
    texts = ["w1", "w2 w3", "w4 w5 w6 w7", "w8 w9 w1 w1 w1", "w2"]
    prompts = [Prompt.of([{"role": "user", "content": f"w{i}"}]) for i in range(5)]
    found = language_features(
        prompts,
        texts,
        language_model=language_model,
        config=EmbeddingConfig(layer=1, pool="both"),
        components=2,
        length_scale=3.0,
        progress=Silent(),
    )
    rows = []
    for prompt, text in zip(prompts, texts, strict=True):
        prompt_ids, (ids,) = encode_responses(language_model.tokenizer, prompt, [text])
        with torch.no_grad():
            states = language_model.model(torch.tensor([[*prompt_ids, *ids]]), output_hidden_states=True)
        state = states.hidden_states[1][0, len(prompt_ids) :]
        rows.append(torch.cat([state.mean(dim=0), state[-1]]).numpy())
    np.testing.assert_allclose(found[:, :2], principal_components(np.stack(rows), 2), atol=1e-3)
    length = np.log([2, 3, 5, 6, 2])  # words and <eos>
    np.testing.assert_allclose(found[:, 2], 3 * (length - length.mean()) / length.std(), atol=1e-5)
