"""Features for a reward that is linear: principal components of a language model's hidden states, and log length.

Hidden states have a few columns of huge variance and many that are correlated, so a ridge penalty on them weighs
directions by accident. Here every column has variance one, so that the penalty treats all alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from duelist.models.embeddings.config import EmbeddingConfig
from duelist.models.embeddings.embedder import Vectors
from duelist.models.embeddings.hidden_states import HiddenStates
from duelist.models.policy.packaged import LanguageModel
from duelist.models.policy.tokenization import encode_responses
from duelist.progress import Progress
from duelist.types import Prompt, Response


def language_features(
    prompts: Sequence[Prompt],
    texts: Sequence[str],
    *,
    language_model: LanguageModel,
    config: EmbeddingConfig,
    components: int,
    length_scale: float,
    progress: Progress,
) -> Vectors:
    """Return features of R responses, `[R, components + 1]`.

    Args:
        prompts: R prompts.
        texts: R responses to them.
        language_model: the model.
        config: layer and pooling of the hidden states.
        components: number of principal components, at most.
        length_scale: standard deviation of the last column, the log of the response's number of tokens. A penalty
            shrinks its weight by the square of this less than those of the components.
        progress: receives the number of responses embedded.

    Raises:
        ModelError: if the model lacks the layer.
        DataError: if a text does not fit in the model's context.
    """
    model, tokenizer, name = language_model
    responses = []
    for prompt, text in zip(prompts, texts, strict=True):
        prompt_ids, (ids,) = encode_responses(tokenizer, prompt, [text])
        responses.append(Response.of(prompt, text, prompt_ids, ids, 0))
    hidden_RH = HiddenStates(config, model, tokenizer, name).embed(prompts, responses, progress)
    length_R1 = _standardized(np.log([[len(r.token_ids)] for r in responses])) * length_scale
    return np.hstack([principal_components(hidden_RH, components), length_R1]).astype(np.float32)


def principal_components(vectors_RH: NDArray[Any], components: int) -> NDArray[np.float64]:
    """Return the first principal components of the standardised columns, each scaled to variance one, `[R, D]`.

    Fewer than `components` if the vectors have a smaller rank.
    """
    columns_RH = _standardized(vectors_RH)
    variance_H, direction_HH = np.linalg.eigh(columns_RH.T @ columns_RH / len(columns_RH))
    variance_H, direction_HH = variance_H[::-1], direction_HH[:, ::-1]
    kept = min(components, int((variance_H > 1e-9 * variance_H[0]).sum()))
    return np.asarray(columns_RH @ (direction_HH[:, :kept] / np.sqrt(variance_H[:kept])), np.float64)


def _standardized(vectors_RH: NDArray[Any]) -> NDArray[np.float64]:
    """Return the columns with mean 0 and variance 1; constant columns are 0."""
    centred_RH = vectors_RH.astype(np.float64) - vectors_RH.mean(axis=0, dtype=np.float64)
    scale_H = centred_RH.std(axis=0)
    return np.asarray(centred_RH / np.where(scale_H > 0, scale_H, 1), np.float64)
