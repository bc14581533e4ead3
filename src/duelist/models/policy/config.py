"""The recipe's `policy` key."""

from __future__ import annotations

from typing import Any, Literal, Self

from peft import LoraConfig
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from duelist.settings.validation import require_arguments


class PolicyConfig(BaseModel):
    """Which model is aligned, and which of its weights are trained."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    model: str = Field(description="A folder with a causal language model, or its name on the hub.")
    revision: str | None = Field(default=None, description="The revision, for a model of the hub.")
    adapter: Literal["lora", "none"] = Field(
        default="lora",
        description="What is trained: a LoRA adapter, or (none) all parameters, the reference being a frozen copy of "
        "the model. Keep dtype float32 for all parameters (and set `train.bf16` for speed): small steps vanish in "
        "bfloat16's rounding, and learning rates at which most do are refused.",
    )
    lora: dict[str, Any] = Field(
        default_factory=lambda: {"r": 16, "lora_alpha": 32, "target_modules": "all-linear"},
        description="Handed to peft.LoraConfig whole.",
    )
    initial_adapter: str | None = Field(
        default=None,
        description="A trained LoRA adapter in PEFT's format to start the study from; the reference stays the bare "
        "model. The adapter's own settings count, not `lora`.",
    )
    initial_model: str | None = Field(
        default=None,
        description="With adapter none: a folder with a trained model of the same shape to start the study from; the "
        "reference stays `model`.",
    )
    dtype: Literal["float32", "bfloat16", "float64"] = Field(default="float32", description="Type of the base weights.")
    device: str = Field(default="auto", description="cpu, cuda, cuda:0 ...; auto takes a GPU where there is one.")
    chat_template: str | None = Field(default=None, description="A Jinja file to use as the chat template.")
    load: dict[str, Any] = Field(default_factory=dict, description="Further arguments of from_pretrained.")
    architecture: dict[str, Any] | None = Field(
        default=None,
        description="The model's configuration (model_type, hidden_size ...): lets --dry-run tell the memory where the "
        "model is out of reach. Not used otherwise.",
    )

    @field_validator("lora")
    @classmethod
    def _known_to_peft(cls, lora: dict[str, Any]) -> dict[str, Any]:
        require_arguments(lora, LoraConfig, {"task_type": "it is CAUSAL_LM always"})
        return lora

    @model_validator(mode="after")
    def _start_fits(self) -> Self:
        both = ("initial_model", "initial_adapter")
        key, other = both if self.adapter == "lora" else reversed(both)
        if getattr(self, key) is not None:
            raise ValueError(
                f"`{key}` must not be set with `adapter: {self.adapter}`, but is {getattr(self, key)!r}: set "
                f"`{other}`, or change `adapter`."
            )
        return self
