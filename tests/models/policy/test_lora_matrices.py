"""Which adapters are refused, and what is found in the others."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from peft import LoraConfig, PrefixTuningConfig, get_peft_model

from duelist.errors import ModelError
from duelist.models.gradients.lora_gradients import LoraGradients
from duelist.models.policy.lora_matrices import lora_matrices
from tiny_models import random_sequences, tiny_model, with_lora

EXPERTS = {"target_modules": ["q_proj"], "target_parameters": ["mlp.experts.gate_up_proj"], "lora_dropout": 0.0}


def test_matrices_are_sorted_by_name_a_before_b() -> None:
    model = with_lora(tiny_model("llama"), target_modules=["v_proj", "q_proj"], layers_to_transform=[0])
    layer = "base_model.model.model.layers.0.self_attn"
    names = [f"{layer}.{m}_proj.lora_{part}.default.weight" for m in "qv" for part in "AB"]
    matrices = lora_matrices(model)
    assert list(matrices) == names
    assert all(matrix.weight is model.get_parameter(name) for name, matrix in matrices.items())


def _trained_bias(model: Any) -> Any:
    return with_lora(model, target_modules=["c_attn"], bias="all")


REFUSED: dict[str, tuple[str, Any, str]] = {
    "plain model": ("llama", lambda m: m, "get_peft_model"),
    "no LoRA": (
        "llama",
        lambda m: get_peft_model(m, PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)),
        "LoRA adapter is required",
    ),
    "DoRA": ("llama", lambda m: with_lora(m, use_dora=True), "q_proj has another form"),
    "embeddings": ("llama", lambda m: with_lora(m, target_modules=["q_proj", "embed_tokens"]), "lora_embedding_A"),
    "modules_to_save": ("llama", lambda m: with_lora(m, modules_to_save=["lm_head"]), "lm_head.modules_to_save"),
    "trainable tokens": ("llama", lambda m: with_lora(m, trainable_token_indices=[3]), "trainable_tokens_delta"),
    "bias": ("gpt2", _trained_bias, r"such as .*\.bias\."),
    "LoRA bias": ("gpt2", lambda m: with_lora(m, target_modules=["c_attn"], lora_bias=True), "lora_B.default.bias"),
    "experts": ("mixtral", lambda m: with_lora(m, **EXPERTS), "experts has another form"),
    "float16": ("llama", lambda m: with_lora(m.half()), "bfloat16"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_the_taps_would_miss_is_refused(case: str) -> None:
    family, adapt, message = REFUSED[case]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = adapt(tiny_model(family))
    with pytest.raises(ModelError, match=message):
        lora_matrices(model)


def test_a_trained_base_parameter_is_refused() -> None:
    model = with_lora(tiny_model("llama"))
    model.get_submodule("base_model.model.model.norm").weight.requires_grad_(True)
    with pytest.raises(ModelError, match=r"1 are not, such as base_model\.model\.model\.norm\.weight"):
        lora_matrices(model)


def test_merged_disabled_and_combined_adapters_are_refused() -> None:
    model = with_lora(tiny_model("llama"))
    model.merge_adapter()
    with pytest.raises(ModelError, match="unmerge_adapter"):
        lora_matrices(model)
    model.unmerge_adapter()
    with model.disable_adapter(), pytest.raises(ModelError, match="enabled"):
        lora_matrices(model)
    model.add_adapter("other", LoraConfig(r=2, target_modules=["q_proj"]))
    model.base_model.set_adapter(["default", "other"])
    with pytest.raises(ModelError, match="Exactly one"):
        lora_matrices(model)


def test_experts_that_are_modules_are_refused() -> None:
    model = tiny_model("llama")
    mlp = model.model.layers[0].mlp
    mlp.experts = torch.nn.ModuleList([torch.nn.Linear(24, 24)])
    with pytest.raises(ModelError, match="expert of a mixture"):
        lora_matrices(with_lora(model, target_modules=r".*experts\.0"))


@pytest.mark.parametrize("family", ["mixtral", "phimoe", "deepseek_v2", "deepseek_v3", "deepseek_v32", "glm4_moe_lite"])
def test_for_a_mixture_of_experts_the_error_names_modules_that_work(family: str) -> None:
    """Also where a layer of attention is of a kind of its own, which PEFT cannot adapt, or gives no gradient."""
    with warnings.catch_warnings(), pytest.raises(ModelError, match="works for this model") as refused:
        warnings.simplefilter("ignore")
        model = with_lora(tiny_model(family), lora_dropout=0.0)
        LoraGradients(model, dimension=8, seed=0, max_tokens=100)(random_sequences())
    assert "token ids alone" not in str(refused.value)
    names = str(refused.value).rpartition("[")[2].partition("]")[0].split(", ")
    model = with_lora(tiny_model(family), target_modules=names)
    LoraGradients(model, dimension=8, seed=0, max_tokens=100)(random_sequences())
