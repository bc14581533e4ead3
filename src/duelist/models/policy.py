"""The model being aligned: a causal language model with a LoRA adapter, its tokenizer, and its reference."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from peft import LoraConfig, PeftConfig, PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from peft.utils.save_and_load import load_peft_weights
from pydantic import BaseModel, ConfigDict, Field, field_validator
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig
from trl.trainer.utils import use_adapter

from duelist.errors import ModelError
from duelist.models.process_state import global_generators_kept
from duelist.settings import require_arguments

# TRL's name for the adapter that holds the reference (`DPOTrainer` looks for it by this name).
REFERENCE = "ref"


class PolicyConfig(BaseModel):
    """Which model is aligned, and how its adapter is made."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    model: str = Field(description="A folder with a causal language model, or its name on the hub.")
    revision: str | None = Field(default=None, description="The revision, for a model of the hub.")
    adapter: Literal["lora"] = Field(default="lora", description="What is trained: a LoRA adapter.")
    lora: dict[str, Any] = Field(
        default_factory=lambda: {"r": 16, "lora_alpha": 32, "target_modules": "all-linear"},
        description="Handed to peft.LoraConfig whole.",
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


class Policy:
    """A causal language model whose LoRA adapter is trained, and the reference it is compared with.

    The reference is the base model with the adapter switched off, or a second, frozen adapter (`set_reference`).
    """

    def __init__(self, model: Any, tokenizer: Any, name: str, stop_token_ids: frozenset[int]) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.name = name
        self.stop_token_ids = stop_token_ids  # the tokens that end a response
        self.reference_folder: Path | None = None

    @staticmethod
    def load(config: PolicyConfig, seed: int) -> Policy:
        """Load the base model and tokenizer and add a fresh adapter, drawn from `seed`.

        Raises:
            ModelError: if the model cannot be loaded, or the LoRA settings do not fit it.
        """
        base, tokenizer = load_base(config)
        with global_generators_kept(), warnings.catch_warnings():
            # PEFT sets fan_in_fan_out right for GPT-2's layers, and says so.
            warnings.filterwarnings("ignore", message="fan_in_fan_out is set to False")
            torch.manual_seed(seed)  # LoRA's A is drawn at random, on the CPU for the same draw on every device
            try:
                model = get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", **config.lora))
            except (TypeError, ValueError) as error:
                raise ModelError(
                    f"policy.lora must be arguments of peft.LoraConfig that fit {config.model}, but PEFT refused them: "
                    f"{error}. Correct them."
                ) from error
        return Policy.of(model.eval(), tokenizer, config.model)

    @staticmethod
    def with_adapter(config: PolicyConfig, adapter: Path) -> Policy:
        """Load the base model and tokenizer, and a trained adapter in PEFT's format.

        Raises:
            ModelError: if one of them cannot be loaded, or the adapter was trained on another model.
        """
        base, tokenizer = load_base(config)
        try:
            made_on = PeftConfig.from_pretrained(str(adapter)).base_model_name_or_path
        except Exception as error:  # PEFT, the hub and JSON each have errors of their own
            raise ModelError(
                f"The adapter must be a folder in PEFT's format or a name on the hub, but {adapter} cannot be read: "
                f"{error}"
            ) from error
        if made_on and Path(made_on).name != Path(config.model).name:
            raise ModelError(
                f"The adapter must belong to the model {config.model}, but {adapter} says that it was trained on "
                f"{made_on}: "
                f"give that model, or correct base_model_name_or_path in its adapter_config.json."
            )
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("error", message="Found missing adapter keys")
                model = PeftModel.from_pretrained(base, str(adapter), is_trainable=True)
        except Exception as error:  # a shape that does not fit is a RuntimeError, a missing weight a warning
            raise ModelError(
                f"The adapter {adapter} must fit the model {config.model}, but it does not: {str(error)[:300]} Give "
                f"the "
                "model that it was trained on."
            ) from error
        return Policy.of(model.eval(), tokenizer, config.model)

    @staticmethod
    def of(model: Any, tokenizer: Any, name: str = "the model in memory") -> Policy:
        """A policy from a PEFT model and a tokenizer that are in memory already.

        Raises:
            ModelError: if the model is not wrapped by PEFT, or the tokenizer has no end-of-sequence token.
        """
        if not isinstance(model, PeftModel):
            raise ModelError(
                f"A policy must be a PEFT model with a LoRA adapter, but got {type(model).__name__}: wrap it with "
                "peft.get_peft_model."
            )
        if getattr(tokenizer, "eos_token_id", None) is None:
            raise ModelError(f"The tokenizer of {name} must have an end-of-sequence token, but has none: set one.")
        stop = model.generation_config.eos_token_id
        stop = tokenizer.eos_token_id if stop is None else stop
        return Policy(model, tokenizer, name, frozenset(stop if isinstance(stop, list) else [stop]))

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.model.parameters()).device

    @property
    def context_length(self) -> int | None:
        """The longest sequence the model takes, in tokens; None if its configuration does not say."""
        length = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        return None if length is None else int(length)

    @property
    def has_reference_adapter(self) -> bool:
        """Whether the reference is an adapter of its own rather than the bare base model."""
        return REFERENCE in self.model.peft_config

    def fingerprint(self, adapters: bool = True) -> str:
        """A hash of the model's state: of all adapter weights, and of every base parameter its first numbers.

        Args:
            adapters: false leaves the adapters out: the hash of the base model alone.
        """
        total = hashlib.blake2b(digest_size=16)
        for name, parameter in self.model.named_parameters():
            in_adapter = "lora_" in name
            if in_adapter and not adapters:
                continue
            flat = parameter.detach().reshape(-1)
            flat = flat if in_adapter else flat[:64]
            total.update(f"{name}{tuple(parameter.shape)}{parameter.dtype}".encode())
            total.update(flat.double().cpu().numpy().tobytes())
        return total.hexdigest()

    @contextmanager
    def as_reference(self) -> Iterator[None]:
        """Within the block, `model` computes what the reference computes."""
        with use_adapter(self.model, REFERENCE if self.has_reference_adapter else None):
            yield

    def set_reference(self, adapter: Path | None) -> None:
        """Let the reference be the adapter saved at `adapter`, or the bare base model (None)."""
        self.drop_reference()
        if adapter is not None:
            self.model.load_adapter(str(adapter), REFERENCE, is_trainable=False)
            self.model.set_adapter("default")
        self.reference_folder = adapter

    def drop_reference(self) -> None:
        """Remove the reference adapter, if there is one; the reference is then the bare base model."""
        if self.has_reference_adapter:
            self.model.delete_adapter(REFERENCE)
        self.reference_folder = None

    def save_adapter(self, folder: Path) -> None:
        """Write the trained adapter in PEFT's format, loadable with `PeftModel.from_pretrained`."""
        self.model.save_pretrained(str(folder), selected_adapters=["default"])
        # PEFT keeps target_modules as a set and writes it in an order that differs from process to process.
        file = folder / "adapter_config.json"
        config = json.loads(file.read_text(encoding="utf-8"))
        if isinstance(config.get("target_modules"), list):
            config["target_modules"] = sorted(config["target_modules"])
        file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")

    def load_adapter(self, folder: Path) -> None:
        """Replace the trained adapter's weights by those saved at `folder`.

        Raises:
            ModelError: if the saved adapter does not have exactly this adapter's weights.
        """
        try:
            weights = load_peft_weights(str(folder), device=str(self.device))
        except (OSError, ValueError) as error:
            raise ModelError(f"A saved adapter must lie at {folder}, but it cannot be read: {error}") from error
        own = get_peft_model_state_dict(self.model, adapter_name="default")
        if {k: v.shape for k, v in own.items()} != {k: v.shape for k, v in weights.items()}:
            odd = sorted(set(own) ^ set(weights)) or [k for k in own if own[k].shape != weights[k].shape]
            raise ModelError(
                f"The adapter at {folder} must fit {self.name} with this recipe's policy.lora, but they differ at "
                f"{odd[0]} (and {len(odd) - 1} more): use the settings the adapter was made with."
            )
        set_peft_model_state_dict(self.model, weights, adapter_name="default")


def load_base(config: PolicyConfig) -> tuple[Any, Any]:
    """The base model, in evaluation mode on its device, and its tokenizer.

    Raises:
        ModelError: if one of them cannot be loaded.
    """
    base = load_pretrained(
        AutoModelForCausalLM, config.model, "policy.model", config.revision, dtype=config.dtype, **config.load
    ).to(device_of(config.device))
    tokenizer = load_pretrained(AutoTokenizer, config.model, "policy.model", config.revision)
    if config.chat_template is not None:
        tokenizer.chat_template = read_chat_template(config.chat_template)
    if tokenizer.eos_token_id is None:
        raise ModelError(f"The tokenizer of {config.model} must have an end-of-sequence token, but has none: set one.")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    # Sampling follows the recipe alone: a model's own generation defaults (top-k, penalties) are set aside, its stop
    # tokens kept.
    stop = base.generation_config.eos_token_id
    base.generation_config = GenerationConfig(
        eos_token_id=tokenizer.eos_token_id if stop is None else stop, pad_token_id=tokenizer.pad_token_id
    )
    return base.eval(), tokenizer


def device_of(name: str) -> torch.device:
    """The device a recipe names; `auto` takes a GPU where there is one.

    Raises:
        ModelError: if there is no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ModelError(f"The device {name!r} must exist on this machine, but does not: {error}") from error
    return device


def read_chat_template(path: str) -> str:
    """The chat template in a Jinja file.

    Raises:
        ModelError: if the file cannot be read.
    """
    try:
        return Path(path).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(
            f"policy.chat_template must be a readable Jinja file, but {path} is not ({error}): correct the path."
        ) from error


def load_pretrained(loader: Any, name: str, key: str, revision: str | None = None, **arguments: Any) -> Any:
    """`loader.from_pretrained(name)`, with an error that names the recipe's key and the remedy.

    Raises:
        ModelError: if there is no such folder and no such model on the hub, or what is there cannot be loaded.
    """
    if Path(name).expanduser().is_dir():
        name = str(Path(name).expanduser())
    elif Path(name).is_absolute() or name.startswith((".", "~")):
        raise ModelError(
            f"{key} must be a folder that exists or a name on the hub, but there is no folder {name}: correct the path."
        )
    try:
        return loader.from_pretrained(name, revision=revision, **arguments)
    except Exception as error:  # transformers, the hub and safetensors each have errors of their own
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(
            f"{key} must be a folder with a model or a model's name on the hub, but {name!r} could not be loaded: "
            f"{reason} Correct the path or name; for a gated model, log in to the hub first."
        ) from error
