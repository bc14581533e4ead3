"""Loading of a base model and its tokenizer from a folder or the Hugging Face Hub."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from duelist.errors import ModelError
from duelist.models.policy.config import PolicyConfig
from duelist.settings.credentials import with_credentials
from duelist.settings.validation import expanded

if TYPE_CHECKING:
    import torch

# Arguments of `from_pretrained` that place the weights themselves: on several devices, or sharded over processes.
PLACED = {"device_map", "distributed_config"}


_ONE_PROCESS = ("device_map", "max_memory")  # those that place the whole model for one process


def load_in_processes(config: PolicyConfig, shards: int | None) -> dict[str, Any]:
    """Return the settings `policy.load` for one of several processes: with a part of the base model, or all of it.

    Args:
        config: the settings for one process.
        shards: number of processes over which the base model is sharded (FSDP2); None: each holds all of it.
    """
    load = {key: value for key, value in config.load.items() if key not in _ONE_PROCESS}
    return load if shards is None else {**load, "distributed_config": {"fsdp_size": shards}}


def load_base(config: PolicyConfig) -> tuple[Any, Any]:
    """Load the base model, in evaluation mode on its device or devices, and its tokenizer.

    Raises:
        ModelError: if one of them cannot be loaded, or not all weights fit the devices.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

    from duelist.models.policy.sharding import require_weights_in_place

    base = load_pretrained(AutoModelForCausalLM, config.model, "policy.model", **base_arguments(config))
    if not PLACED & config.load.keys():
        base = base.to(device_of(config.device))
    require_weights_in_place(base)
    tokenizer = load_pretrained(AutoTokenizer, config.model, "policy.model", config.revision)
    if config.chat_template is not None:
        tokenizer.chat_template = read_chat_template(config.chat_template)
    if tokenizer.eos_token_id is None:
        raise ModelError(f"The tokenizer of {config.model} must have an end-of-sequence token, but has none: set one.")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    # Only the recipe controls sampling: the model's own generation defaults (top-k, penalties) are dropped. Its stop
    # tokens are kept.
    stop = base.generation_config.eos_token_id
    base.generation_config = GenerationConfig(
        eos_token_id=tokenizer.eos_token_id if stop is None else stop, pad_token_id=tokenizer.pad_token_id
    )
    return base.eval(), tokenizer


def base_arguments(config: PolicyConfig) -> dict[str, Any]:
    """Return the arguments of `from_pretrained` for the base model, except its name."""
    return {"revision": config.revision, "dtype": config.dtype, **with_credentials(config.load)}


def device_of(name: str) -> torch.device:
    """Return the device that a recipe names; `auto` uses a GPU if there is one.

    Raises:
        ModelError: if the machine has no such device.
    """
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ModelError(f"The device {name!r} must exist on this machine, but does not: {error}") from error
    return device


def read_chat_template(path: str) -> str:
    """Return the chat template in a Jinja file.

    Raises:
        ModelError: if the file cannot be read.
    """
    try:
        template = expanded(path).read_text(encoding="utf-8")
        if not template.strip():
            raise OSError("it is empty")
        return template
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(
            f"policy.chat_template must be a readable Jinja file, but {path} is not ({error}): correct the path."
        ) from error


def require_local_folder(name: str, key: str) -> None:
    """Check that a name that can only be a folder is one that exists.

    Raises:
        ModelError: if it does not exist; the recipe's key is named.
    """
    if not expanded(name).is_dir() and (Path(name).is_absolute() or name.startswith((".", "~"))):
        raise ModelError(
            f"{key} must be a folder that exists or a name on the hub, but there is no folder {name}: correct the path."
        )


def load_pretrained(loader: Any, name: str, key: str, revision: str | None = None, **arguments: Any) -> Any:
    """Call `loader.from_pretrained(name)`; errors name the recipe's key and the remedy.

    Raises:
        ModelError: if neither such a folder nor such a model on the Hub exists, or it cannot be loaded.
    """
    require_local_folder(name, key)
    name = str(expanded(name)) if expanded(name).is_dir() else name
    try:
        return loader.from_pretrained(name, revision=revision, **arguments)
    except Exception as error:  # transformers, the Hub and safetensors each raise their own errors
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(
            f"{key} must be a folder with a model or a model's name on the hub, but {name!r} could not be loaded: "
            f"{reason} Correct the path or name; for a gated model, log in to the hub first."
        ) from error
