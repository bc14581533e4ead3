"""Settings of the recipe's `policy` key."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from duelist.settings.library_arguments import require_arguments


class PolicyConfig(BaseModel):
    """Settings of the aligned model and its trained weights."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    model: str = Field(description="Folder of a causal language model, or its name on the Hugging Face Hub.")
    revision: str | None = Field(default=None, description="Revision of a model on the Hub.")
    adapter: Literal["lora", "none"] = Field(
        default="lora",
        description="Trained weights: a LoRA adapter, or (none) all parameters, with a frozen copy of the model as the "
        "reference. For all parameters keep dtype float32 (and set `train.bf16` for speed): small steps vanish in "
        "bfloat16's rounding, and learning rates at which most do are rejected.",
    )
    lora: dict[str, Any] = Field(
        default_factory=lambda: {"r": 16, "lora_alpha": 32, "target_modules": "all-linear"},
        description="Arguments of peft.LoraConfig.",
    )
    initial_adapter: str | None = Field(
        default=None,
        description="A trained LoRA adapter in PEFT's format to start the study from; the reference stays the base "
        "model. The adapter's own settings apply, not `lora`.",
    )
    initial_model: str | None = Field(
        default=None,
        description="With adapter none: folder of a trained model of the same shape to start the study from; the "
        "reference stays `model`.",
    )
    dtype: Literal["float32", "bfloat16", "float64"] = Field(default="float32", description="Type of the base weights.")
    device: str = Field(default="auto", description="cpu, cuda, cuda:0 ...; auto uses a GPU if there is one.")
    chat_template: str | None = Field(default=None, description="Jinja file to use as the chat template.")
    load: dict[str, Any] = Field(default_factory=dict, description="Additional arguments of from_pretrained.")
    architecture: dict[str, Any] | None = Field(
        default=None,
        description="The model's configuration (model_type, hidden_size ...): lets --dry-run estimate memory when "
        "the model is unavailable. Not used otherwise.",
    )

    @field_validator("lora")
    @classmethod
    def _known_to_peft(cls, lora: dict[str, Any]) -> dict[str, Any]:
        require_arguments(lora, "LoraConfig", {"task_type": "it is CAUSAL_LM always"})
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
