"""Tiny random models of several families, with LoRA adapters whose B is not zero, and sequences to run them on."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    BartConfig,
    BartForCausalLM,
    BertConfig,
    BertLMHeadModel,
    BloomConfig,
    BloomForCausalLM,
    CTRLConfig,
    CTRLLMHeadModel,
    DeepseekV2Config,
    DeepseekV2ForCausalLM,
    DeepseekV3Config,
    DeepseekV3ForCausalLM,
    DeepseekV32Config,
    DeepseekV32ForCausalLM,
    FalconConfig,
    FalconForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    Glm4MoeLiteConfig,
    Glm4MoeLiteForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    Lfm2Config,
    Lfm2ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    MptConfig,
    MptForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    PhimoeConfig,
    PhimoeForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    RobertaConfig,
    RobertaForCausalLM,
    XLMConfig,
    XLMWithLMHeadModel,
    XLNetConfig,
    XLNetLMHeadModel,
)

from duelist.models.policy.response_batches import TokenizedResponse
from duelist.seeding import derived_seed

VOCABULARY = 61
FAMILIES = ("llama", "gpt2", "qwen2", "qwen3", "gemma2")

# Relative rounding of a float64 model. Gemma 2's attention (eager, for its soft capping) takes the softmax in float32
# whatever the model's type is, so its sums depend a little on how many keys there are, padding included.
ROUNDING = {"llama": 1e-9, "gpt2": 1e-9, "qwen2": 1e-9, "qwen3": 1e-9, "gemma2": 1e-6}

_SHAPE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,  # grouped-query attention
    "max_position_embeddings": 128,
    "initializer_range": 0.3,  # far from uniform, so that nothing agrees by accident
}


def tiny_model(family: str, dtype: torch.dtype = torch.float64, **changes: Any) -> Any:
    """A random causal language model with two layers; the same weights at every call. `changes` are configuration."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        match family:
            case "llama":
                model = LlamaForCausalLM(LlamaConfig(**{**_SHAPE, **changes}))
            case "gpt2":
                shape = {"vocab_size": VOCABULARY, "n_embd": 24, "n_layer": 2, "n_head": 4, "n_positions": 128}
                shape |= {"initializer_range": 0.3, "bos_token_id": 0, "eos_token_id": 0}  # dropout 0.1 is the default
                model = GPT2LMHeadModel(GPT2Config(**{**shape, **changes}))
            case "qwen2":
                model = Qwen2ForCausalLM(Qwen2Config(**{**_SHAPE, "tie_word_embeddings": True, **changes}))
            case "qwen3":
                model = Qwen3ForCausalLM(Qwen3Config(**{**_SHAPE, "head_dim": 8, **changes}))
            case "gemma2":
                capped = {"final_logit_softcapping": 3.0, "attn_logit_softcapping": 5.0, "sliding_window": 8}
                # The eager kernel is the only one with soft capping of attention.
                capped |= {"head_dim": 8, "query_pre_attn_scalar": 8, "attn_implementation": "eager"}
                model = Gemma2ForCausalLM(Gemma2Config(**{**_SHAPE, **capped, **changes}))
            case "mistral":
                model = MistralForCausalLM(MistralConfig(**{**_SHAPE, "sliding_window": 8, **changes}))
            case "mixtral":
                experts = {"num_local_experts": 3, "experts_implementation": "eager"}  # the other kernel lacks float64
                model = MixtralForCausalLM(MixtralConfig(**{**_SHAPE, **experts, **changes}))
            case "phimoe":  # its router is a linear layer that gives two things
                experts = {"num_local_experts": 4, "experts_implementation": "eager"}
                model = PhimoeForCausalLM(PhimoeConfig(**{**_SHAPE, **experts, **changes}))
            case "lfm2":
                layers = {"layer_types": ["conv", "full_attention"], "tie_word_embeddings": False}
                model = Lfm2ForCausalLM(Lfm2Config(**{**_SHAPE, **layers, **changes}))
            case "falcon":
                shape = {"vocab_size": VOCABULARY, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4}
                model = FalconForCausalLM(FalconConfig(**{**shape, "initializer_range": 0.3, **changes}))
            case "bloom":
                shape = {"vocab_size": VOCABULARY, "hidden_size": 24, "n_layer": 2, "n_head": 4}
                model = BloomForCausalLM(BloomConfig(**{**shape, "initializer_range": 0.3, **changes}))
            case "mpt":
                shape = {"vocab_size": VOCABULARY, "d_model": 24, "n_layers": 2, "n_heads": 4, "expansion_ratio": 2}
                model = MptForCausalLM(MptConfig(**{**shape, "max_seq_len": 64, "initializer_range": 0.3, **changes}))
            case (
                "deepseek_v2" | "deepseek_v3" | "deepseek_v32" | "glm4_moe_lite"
            ):  # latent attention, and a mixture of experts
                latent = {"q_lora_rank": 12, "kv_lora_rank": 10, "qk_rope_head_dim": 8, "qk_nope_head_dim": 6}
                latent |= {"v_head_dim": 6, "num_key_value_heads": 4, "first_k_dense_replace": 1}
                latent |= {"n_routed_experts": 4, "n_group": 1, "topk_group": 1, "num_experts_per_tok": 2}
                latent |= {"moe_intermediate_size": 16, "n_shared_experts": 1, "experts_implementation": "eager"}
                kinds: dict[str, Any] = {
                    "deepseek_v2": (DeepseekV2Config, DeepseekV2ForCausalLM),
                    "deepseek_v3": (DeepseekV3Config, DeepseekV3ForCausalLM),
                    "deepseek_v32": (DeepseekV32Config, DeepseekV32ForCausalLM),
                    "glm4_moe_lite": (Glm4MoeLiteConfig, Glm4MoeLiteForCausalLM),
                }
                config, kind = kinds[family]
                model = kind(config(**{**_SHAPE, **latent, **changes}))
            case "phi3":  # LongRoPE: other factors beyond 8 tokens
                factors = {"short_factor": [1.0, 1.1, 1.2], "long_factor": [2.0, 4.0, 8.0]}
                rope = {"rope_type": "longrope", **factors, "original_max_position_embeddings": 8}
                rope |= {"rope_theta": 10_000.0}
                shape = {**_SHAPE, "original_max_position_embeddings": 8, "pad_token_id": 0}
                model = Phi3ForCausalLM(Phi3Config(**{**shape, "rope_parameters": rope, **changes}))
            case "bert":
                shape = {k: v for k, v in _SHAPE.items() if k != "num_key_value_heads"}
                model = BertLMHeadModel(BertConfig(**{**shape, **changes}))
            case "xlm":
                shape = {"vocab_size": VOCABULARY, "emb_dim": 24, "n_layers": 2, "n_heads": 4}
                model = XLMWithLMHeadModel(XLMConfig(**{**shape, "embed_init_std": 0.3, "init_std": 0.3, **changes}))
            case "roberta":  # positions are numbered from the padding token's id + 1
                shape = {k: v for k, v in _SHAPE.items() if k != "num_key_value_heads"} | {"pad_token_id": 0}
                model = RobertaForCausalLM(RobertaConfig(**{**shape, "is_decoder": True, **changes}))
            case "bart":  # positions are numbered from where a batch begins
                shape = {"vocab_size": VOCABULARY, "d_model": 24, "decoder_layers": 2, "decoder_attention_heads": 4}
                shape |= {"decoder_ffn_dim": 40, "max_position_embeddings": 128, "init_std": 0.3}
                model = BartForCausalLM(BartConfig(**{**shape, **changes}))
            case "ctrl":
                shape = {"vocab_size": VOCABULARY, "n_embd": 24, "n_layer": 2, "n_head": 4, "n_positions": 128}
                model = CTRLLMHeadModel(CTRLConfig(**{**shape, "dff": 40, "initializer_range": 0.3, **changes}))
            case "xlnet":
                shape = {"vocab_size": VOCABULARY, "d_model": 24, "n_layer": 2, "n_head": 4, "d_inner": 40}
                model = XLNetLMHeadModel(XLNetConfig(**{**shape, **changes}))
            case "opt":
                shape = {"vocab_size": VOCABULARY, "hidden_size": 24, "word_embed_proj_dim": 24, "ffn_dim": 40}
                shape |= {"num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 128}
                model = OPTForCausalLM(OPTConfig(**{**shape, "init_std": 0.3, **changes}))
            case _:
                raise ValueError(family)
    return model.to(dtype).train()


def with_lora(model: Any, zero_b: bool = False, **changes: Any) -> Any:
    """`model` with a LoRA adapter on every linear layer but the output; B random unless `zero_b`."""
    settings = {"r": 4, "lora_alpha": 8, "lora_dropout": 0.2, "target_modules": "all-linear", **changes}
    settings.setdefault("fan_in_fan_out", model.config.model_type == "gpt2")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        peft_model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **settings))
        for name, parameter in sorted(peft_model.named_parameters()):
            if parameter.requires_grad and "lora_" in name:
                scale = 0.0 if zero_b and "lora_B" in name else 0.1
                # Drawn in float64, so that a model has the same adapter whatever its type.
                parameter.data = (scale * torch.randn(parameter.shape, dtype=torch.float64)).to(model.dtype)
    return peft_model.train()


def random_sequences(count: int = 7, seed: int = 0, longest: int = 14) -> list[TokenizedResponse]:
    """`count` sequences of very different lengths; the first response has one token."""
    rng = np.random.default_rng(seed)
    shapes = [(int(p), int(t)) for p, t in rng.integers(1, longest + 1, size=(count, 2))]
    shapes[0] = (shapes[0][0], 1)
    return [
        TokenizedResponse(
            tuple(rng.integers(0, VOCABULARY, p).tolist()), tuple(rng.integers(0, VOCABULARY, t).tolist())
        )
        for p, t in shapes
    ]


def plain_log_prob(model: Any, sequence: TokenizedResponse) -> torch.Tensor:
    """The oracle: one sequence, no padding, all tokens, all logits. The caller sets the mode."""
    ids = torch.tensor([[*sequence.prompt_ids, *sequence.response_ids]])
    log_probs = torch.log_softmax(model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0], dim=-1)
    start = len(sequence.prompt_ids)
    return sum(log_probs[t - 1, ids[0, t]] for t in range(start, ids.shape[1]))


def documented_sketch(sizes: list[int], dimension: int, seed: int) -> np.ndarray:
    """The projection as a dense P × D matrix, from the documentation of `sketch.py` alone."""
    count, modulus = sum(sizes), 1 << 64
    prime = next((q for q in range(dimension, 1, -1) if all(q % f for f in range(2, q) if f * f <= q)), 1)
    sign_seed = derived_seed(seed, "sketch", "signs")
    matrix_PD = np.zeros((count, dimension))
    g = 0
    for k, size in enumerate(sizes):
        rotation = derived_seed(seed, "sketch", "rotation", k) % dimension
        for j in range(size):
            z = (sign_seed + (g // 64 + 1) * 0x9E3779B97F4A7C15) % modulus
            z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % modulus
            z = (z ^ (z >> 27)) * 0x94D049BB133111EB % modulus
            z ^= z >> 31
            bucket = g if count <= dimension else (j % prime + rotation) % dimension
            matrix_PD[g, bucket] = 1 if z >> (g % 64) & 1 else -1
            g += 1
    return matrix_PD
