"""Settings of the source of fixed embeddings."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

EmbeddingSource = Literal["file", "hidden_states", "sentence_transformers"]


class EmbeddingConfig(BaseModel):
    """Settings of a source of embeddings."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    source: EmbeddingSource = Field(
        default="hidden_states",
        description="Vectors from a file, a causal language model's hidden states, or a sentence-transformers model.",
    )
    path: str | None = Field(
        default=None,
        description="`file`: an .npz with `embedding` and `id`, an .npy with `ids`, or rows (.jsonl, .parquet) with "
        "the vectors next to the responses.",
    )
    ids: str | None = Field(default=None, description="`file` ending in .npy: a text file with one id per line.")
    model: str | None = Field(
        default=None,
        description="Folder or Hub name; null: the policy's base model (`hidden_states` only).",
    )
    revision: str | None = Field(default=None, description="Revision of a model on the Hub.")
    layer: int | None = Field(
        default=None, ge=1, description="`hidden_states`: number of the layer, from 1; null: the last one, normalised."
    )
    pool: Literal["mean", "last", "both"] = Field(
        default="mean",
        description="`hidden_states`: mean over the response's tokens, its last token, or both side by side.",
    )
    dtype: Literal["float32", "bfloat16", "float64"] = Field(default="float32", description="Type of the weights.")
    device: str = Field(default="auto", description="cpu, cuda ...; auto uses a GPU if there is one.")
    max_tokens: int = Field(default=16384, gt=0, description="`hidden_states`: tokens per pass, padding included.")
    batch_size: int = Field(default=64, gt=0, description="`sentence_transformers`: texts per batch.")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.source == "file" and self.path is None:
            raise ValueError("source `file` needs a `path`")
        if self.source == "file" and str(self.path).endswith(".npy") and self.ids is None:
            raise ValueError("an .npy file needs `ids`, a text file with one id a line")
        if self.source == "sentence_transformers" and self.model is None:
            raise ValueError("source `sentence_transformers` needs a `model`")
        return self
