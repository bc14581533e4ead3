"""Per-response LoRA gradients against one `torch.autograd.grad` per response, on several model families."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig

from duelist.errors import DataError, ModelError, NumericalError
from duelist.models.gradients import lora_gradients
from duelist.models.gradients.lora_gradients import LoraGradients
from duelist.models.policy.logprobs import sequence_log_probs
from duelist.models.policy.lora_matrices import attention_projections
from duelist.models.policy.response_batches import TokenizedResponse
from tiers import first
from tiny_models import (
    FAMILIES,
    ROUNDING,
    documented_sketch,
    plain_log_prob,
    random_sequences,
    tiny_model,
    with_lora,
)

DIMENSION = 257


def plain_gradients(model: Any, sequences: list[TokenizedResponse]) -> tuple[np.ndarray, np.ndarray]:
    """The oracle: log π and its full gradient in the trained parameters, sorted by name, one response at a time."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    parameters = [p for _, p in sorted(model.named_parameters()) if p.requires_grad]
    log_probs, gradients = [], []
    for sequence in sequences:
        log_prob = plain_log_prob(model, sequence)
        gradient = torch.autograd.grad(log_prob, parameters)
        log_probs.append(log_prob.item())
        gradients.append(torch.cat([g.flatten() for g in gradient]).to(torch.float64).numpy())
    for module, training in modes:
        module.training = training
    return np.array(log_probs), np.array(gradients)


def sizes_of(model: Any) -> list[int]:
    return [p.numel() for _, p in sorted(model.named_parameters()) if p.requires_grad]


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest error of a row, relative to the row's norm."""
    return float(np.max(np.linalg.norm(found - expected, axis=1) / np.linalg.norm(expected, axis=1)))


def full(model: Any, max_tokens: int = 60) -> LoraGradients:
    return LoraGradients(model, dimension=None, seed=0, max_tokens=max_tokens)


def _time_major(layer: type[torch.nn.Module]) -> Any:
    """The layer's forward pass on inputs with tokens before sequences."""
    original = layer.forward
    return lambda self, x: original(self, x.transpose(0, 1).contiguous()).transpose(0, 1)


def check_against_plain(model: Any, tolerance: float, sequences: list[TokenizedResponse] | None = None) -> None:
    sequences = sequences or random_sequences(9)
    expected_log_probs, expected = plain_gradients(model, sequences)
    log_probs, gradients = full(model)(sequences)
    np.testing.assert_allclose(log_probs, expected_log_probs, rtol=tolerance)
    assert relative_error(gradients, expected) <= tolerance


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("family", FAMILIES)
def test_equals_one_autograd_call_per_response(family: str, dtype: torch.dtype) -> None:
    model = with_lora(tiny_model(family, dtype))
    sequences = random_sequences(9)
    tolerance = ROUNDING[family] if dtype == torch.float64 else 1e-5
    expected_log_probs, expected = plain_gradients(model, sequences)

    engine = LoraGradients(model, dimension=DIMENSION, seed=7, max_tokens=60)
    log_probs_R, gradient_RD = engine(sequences)
    assert gradient_RD.dtype == (np.float64 if dtype == torch.float64 else np.float32)
    assert engine.parameter_count == expected.shape[1] > 10 * DIMENSION
    np.testing.assert_allclose(log_probs_R, expected_log_probs, rtol=tolerance)
    projected = expected @ documented_sketch(sizes_of(model), DIMENSION, seed=7)
    assert relative_error(gradient_RD, projected) <= tolerance

    _, gradient_RP = full(model)(sequences)
    assert relative_error(gradient_RP, expected) <= tolerance


def test_log_probs_are_those_of_sequence_log_probs() -> None:
    model = with_lora(tiny_model("qwen3"))
    sequences = random_sequences(9)
    np.testing.assert_allclose(full(model)(sequences)[0], sequence_log_probs(model, sequences), rtol=1e-12)


def test_the_batch_and_the_order_do_not_matter() -> None:
    model = with_lora(tiny_model("llama"))
    sequences = random_sequences(9)
    together = full(model, max_tokens=10_000)(sequences)
    alone = full(model, max_tokens=1)(sequences[::-1])
    np.testing.assert_allclose(alone[0][::-1], together[0], rtol=1e-12)
    assert relative_error(alone[1][::-1], together[1]) <= 1e-12


def test_products_in_several_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    model = with_lora(tiny_model("llama"))
    whole = full(model)(random_sequences())[1]
    monkeypatch.setattr(lora_gradients, "_PRODUCT_NUMBERS", 2 * 4 * 24)
    assert relative_error(full(model)(random_sequences())[1], whole) <= 1e-12


def test_zero_b_gives_exact_zeros_for_a() -> None:
    model = with_lora(tiny_model("llama"), zero_b=True)
    engine = full(model)
    _, gradients = engine(random_sequences())
    is_a = np.repeat(["lora_A" in name for name in engine.parameter_names], sizes_of(model))
    assert np.all(gradients[:, is_a] == 0.0)
    assert np.all(np.linalg.norm(gradients[:, ~is_a], axis=1) > 0)
    check_against_plain(model, 1e-9)


@pytest.mark.parametrize(
    "changes",
    [
        {"use_rslora": True, "r": 8},
        {"target_modules": ["q_proj", "v_proj"]},
        {"target_modules": ["q_proj", "lm_head"]},
        {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"v_proj": 3}},
        {"layers_to_transform": [1], "target_modules": ["q_proj", "down_proj"]},
    ],
    ids=["rslora", "attention only", "output layer", "rank pattern", "one layer"],
)
def test_kinds_of_lora(changes: dict[str, Any]) -> None:
    check_against_plain(with_lora(tiny_model("llama"), **changes), 1e-9)


def test_tied_embeddings() -> None:
    model = with_lora(tiny_model("qwen2"))
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight
    check_against_plain(model, 1e-9)


def test_only_the_active_adapter_counts() -> None:
    model = with_lora(tiny_model("llama"))
    expected = full(model)(random_sequences())[1]
    model.add_adapter("other", LoraConfig(r=2, target_modules=["q_proj"]))
    np.testing.assert_array_equal(full(model)(random_sequences())[1], expected)
    engine = full(model)
    model.set_adapter("other")
    with pytest.raises(ModelError, match="another one is active"):
        engine(random_sequences())
    assert full(model).parameter_count == 2 * (24 * 2 + 2 * 24)


def test_an_adapter_loaded_for_inference_counts_whole() -> None:
    model = with_lora(tiny_model("llama"))
    expected = full(model)(random_sequences())[1]
    model.requires_grad_(False)
    np.testing.assert_array_equal(full(model)(random_sequences())[1], expected)
    assert not any(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("adapter_float32", [True, False])
def test_bfloat16_weights_accumulate_in_float32(adapter_float32: bool) -> None:
    model = tiny_model("llama", torch.bfloat16)
    model = with_lora(model)
    if adapter_float32:  # what PEFT does by default
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.data = parameter.data.float()
    sequences = random_sequences()
    _, gradients = full(model)(sequences)
    assert gradients.dtype == np.float32
    in_bfloat16 = torch.from_numpy(gradients).bfloat16().float().numpy()
    assert np.mean(gradients != in_bfloat16) > 0.9  # sums over tokens were never rounded to bfloat16
    exact = plain_gradients(with_lora(tiny_model("llama")), sequences)[1]
    assert relative_error(gradients, exact) <= 0.15


@pytest.mark.parametrize("reentrant", [False, True])
def test_gradient_checkpointing_is_used_and_exact(reentrant: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    model = with_lora(tiny_model("llama"))
    sequences = random_sequences()
    expected = full(model)(sequences)[1]
    model.gradient_checkpointing_enable({"use_reentrant": reentrant})
    model.disable_input_require_grads()  # whatever PEFT did for training, the engine must not need it
    full(model)(sequences[:1])  # the check of a model comes before its first batch
    runs: list[int] = []
    monkeypatch.setattr(
        type(model.get_submodule("base_model.model.model.layers.0.mlp")), "forward", _counted(model, runs)
    )
    _, gradients = full(model, max_tokens=10_000)(sequences)
    assert len(runs) == 4  # two layers, each run again on the way back
    assert relative_error(gradients, expected) <= 1e-12


def _counted(model: Any, runs: list[int]) -> Any:
    original = type(model.get_submodule("base_model.model.model.layers.0.mlp")).forward

    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        runs.append(1)
        return original(self, *args, **kwargs)

    return forward


HALF = {
    "opt": {"dropout": 0.5, "attention_dropout": 0.5},  # rates that the layer holds
    "falcon": {"hidden_dropout": 0.5, "attention_dropout": 0.5},  # read from the configuration
    "gpt2": {"attn_pdrop": 0.5, "resid_pdrop": 0.5, "embd_pdrop": 0.5},
    "bloom": {"hidden_dropout": 0.5, "attention_dropout": 0.5},
    "mpt": {"emb_pdrop": 0.5, "resid_pdrop": 0.5},
    "llama": {"attention_dropout": 0.5},
}


@pytest.mark.parametrize("reentrant", first(1, [True, False]))
@pytest.mark.parametrize("family", HALF)
def test_no_dropout_matters_with_gradient_checkpointing(family: str, reentrant: bool) -> None:
    model = with_lora(tiny_model(family, **HALF[family]))
    expected_log_probs, expected = plain_gradients(model, random_sequences())
    model.gradient_checkpointing_enable({"use_reentrant": reentrant})
    before = state_of(model)
    log_probs, gradients = full(model)(random_sequences())
    # MPT takes the softmax in float32, and Bloom, too: its rounding differs by processor.
    tolerance = 1e-6 if family in ("bloom", "mpt") else 1e-9
    np.testing.assert_allclose(log_probs, expected_log_probs, rtol=tolerance)
    assert relative_error(gradients, expected) <= tolerance
    assert_same_state(before, state_of(model))


def test_a_layer_that_computes_otherwise_when_it_is_checkpointed_is_refused() -> None:
    model = with_lora(tiny_model("llama"))
    full(model)(random_sequences())
    model.gradient_checkpointing_enable({"use_reentrant": False})
    layer = model.get_submodule("base_model.model.model.layers.0")
    layer._gradient_checkpointing_func = lambda forward, hidden: 1.1 * forward(hidden)
    with pytest.raises(ModelError, match="gradient_checkpointing_disable"):
        full(model)(random_sequences())


@pytest.mark.parametrize("frozen", ["lora_A", ".layers.0.", "q_proj"], ids=["LoRA-FA", "a layer", "a projection"])
def test_frozen_matrices_do_not_count(frozen: str) -> None:
    model = with_lora(tiny_model("llama"))
    for name, parameter in model.named_parameters():
        if frozen in name:
            parameter.requires_grad_(False)
    trained = sorted(name for name, parameter in model.named_parameters() if parameter.requires_grad)
    engine = full(model)
    assert list(engine.parameter_names) == trained and engine.note is None
    check_against_plain(model, 1e-9)
    assert trained == sorted(name for name, parameter in model.named_parameters() if parameter.requires_grad)


def test_if_the_whole_adapter_is_frozen_all_of_it_counts_and_that_is_said() -> None:
    model = with_lora(tiny_model("llama"), target_modules=["q_proj"])
    assert full(model).note is None
    model.requires_grad_(False)
    assert "gradients count all 384 of its parameters" in (full(model).note or "")


@pytest.mark.parametrize("family", ["deepseek_v2", "deepseek_v3", "glm4_moe_lite"])
def test_multi_head_latent_attention(family: str) -> None:
    """Its `kv_b_proj` sees the latents as one head: inputs of four dimensions."""
    model = tiny_model(family)
    names = attention_projections(model)
    assert {"kv_b_proj", "kv_a_proj_with_mqa", "q_b_proj", "o_proj"} <= set(names)
    check_against_plain(with_lora(model, target_modules=names), 1e-6)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_long_rope_counts_each_response_as_if_it_were_alone(checkpointing: bool) -> None:
    model = with_lora(tiny_model("phi3"))
    sequences = [
        TokenizedResponse((5,) * p, (7, 9, 11)[:r]) for p, r in [(1, 3), (6, 1), (6, 2), (5, 3), (6, 3), (9, 3)]
    ]
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    expected_log_probs, expected = plain_gradients(model, sequences)
    log_probs, gradients = full(model, max_tokens=10_000)(sequences)
    np.testing.assert_allclose(log_probs, expected_log_probs, rtol=1e-6)
    assert relative_error(gradients, expected) <= 1e-6


def state_of(model: Any) -> dict[str, Any]:
    """Everything about a model that could be left changed."""
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return {
        "modes": [m.training for m in model.modules()],
        "requires_grad": [p.requires_grad for p in model.parameters()],
        "grads": [None if p.grad is None else p.grad.clone() for p in model.parameters()],
        "weights": [p.detach().clone() for p in model.parameters()],
        "hooks": [list(getattr(m, name).values()) for m in model.modules() for name in hooks],
        "forwards": [vars(m).get("forward") for m in model.modules()],
    }


def assert_same_state(before: dict[str, Any], after: dict[str, Any]) -> None:
    for key in ("modes", "requires_grad", "hooks", "forwards"):
        assert before[key] == after[key], key
    for key in ("grads", "weights"):
        for old, new in zip(before[key], after[key], strict=True):
            assert (old is None and new is None) or torch.equal(old, new), key


@pytest.fixture
def used_model() -> Iterator[Any]:
    """A model in the middle of training: gradients on some parameters, one module in evaluation mode, a hook."""
    model = with_lora(tiny_model("gpt2"))
    plain_log_prob(model, random_sequences()[1]).backward()
    model.get_submodule("base_model.model.transformer.h.0").eval()
    handle = model.get_input_embeddings().register_forward_hook(lambda module, inputs, output: None)
    yield model
    handle.remove()


def test_the_model_is_left_as_it_was(used_model: Any) -> None:
    before, random_state = state_of(used_model), torch.get_rng_state()
    full(used_model)(random_sequences())
    assert_same_state(before, state_of(used_model))
    assert torch.equal(random_state, torch.get_rng_state())


def test_the_model_is_left_as_it_was_after_an_error(used_model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    before = state_of(used_model)
    with pytest.raises(DataError, match="from 0 to 60"):
        full(used_model)([TokenizedResponse((1,), (2, 10_000, 3))])
    assert_same_state(before, state_of(used_model))

    def fail(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(lora_gradients._Recorder, "record", fail)
    with pytest.raises(KeyboardInterrupt):
        full(used_model)(random_sequences())
    assert_same_state(before, state_of(used_model))


def test_works_where_gradients_are_switched_off() -> None:
    model = with_lora(tiny_model("llama"))
    expected = full(model)(random_sequences())[1]
    with torch.no_grad():
        np.testing.assert_array_equal(full(model)(random_sequences())[1], expected)
    with torch.inference_mode():
        np.testing.assert_array_equal(full(model)(random_sequences())[1], expected)


def test_progress_and_no_sequences() -> None:
    model = with_lora(tiny_model("llama"))
    counts: list[int] = []
    engine = LoraGradients(model, dimension=8, seed=0, max_tokens=40)
    engine(random_sequences(8), counts.append)
    assert sum(counts) == 8 and len(counts) > 1
    log_probs_R, gradient_RD = engine([])
    assert log_probs_R.shape == (0,) and gradient_RD.shape == (0, 8)


def test_attention_layers_of_a_mixture_of_experts() -> None:
    check_against_plain(with_lora(tiny_model("mixtral"), target_modules=["q_proj", "v_proj"]), 1e-9)


def test_layers_that_see_flattened_sequences(monkeypatch: pytest.MonkeyPatch) -> None:
    model = with_lora(tiny_model("llama"))
    expected = full(model)(random_sequences())[1]
    mlp = type(model.get_submodule("base_model.model.model.layers.0.mlp"))
    original = mlp.forward
    monkeypatch.setattr(mlp, "forward", lambda self, x: original(self, x.flatten(0, 1)).view_as(x))
    assert relative_error(full(model)(random_sequences())[1], expected) <= 1e-12


def test_a_layer_that_sees_some_of_the_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    model = with_lora(tiny_model("llama"), target_modules=["down_proj"])
    mlp = type(model.get_submodule("base_model.model.model.layers.0.mlp"))
    original = mlp.forward
    monkeypatch.setattr(mlp, "forward", lambda self, x: torch.cat([x[:, :1], original(self, x[:, 1:])], dim=1))
    check_against_plain(model, 1e-9, random_sequences(9)[1:])


@pytest.mark.parametrize("known_before", [False, True])
def test_layers_that_see_tokens_before_sequences_are_refused(
    known_before: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a batch has as many sequences as tokens, so that shapes tell nothing."""
    model = with_lora(tiny_model("llama"), target_modules=["down_proj"])
    square = [TokenizedResponse((3, 5), (i, i + 1, i + 2)) for i in range(4)]
    if known_before:
        full(model)(square)
    mlp = type(model.get_submodule("base_model.model.model.layers.0.mlp"))
    monkeypatch.setattr(mlp, "forward", _time_major(mlp))
    with pytest.raises(ModelError, match="tokens in another order"):
        full(model)(square)


def test_tokens_before_sequences_in_one_dimension_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = with_lora(tiny_model("llama"), target_modules=["down_proj"])
    mlp = type(model.get_submodule("base_model.model.model.layers.0.mlp"))
    original = mlp.forward

    def flattened(self: Any, x: torch.Tensor) -> torch.Tensor:
        flat = x.transpose(0, 1).flatten(0, 1)
        return original(self, flat).unflatten(0, (x.shape[1], x.shape[0])).transpose(0, 1)  # type: ignore[no-any-return]

    monkeypatch.setattr(mlp, "forward", flattened)
    with pytest.raises(ModelError, match="must not depend on what is run with it"):
        full(model)(random_sequences())


def test_an_adapted_layer_that_does_not_run_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = with_lora(tiny_model("llama"), target_modules=["down_proj", "q_proj"])
    mlp = type(model.get_submodule("base_model.model.model.layers.0.mlp"))
    monkeypatch.setattr(mlp, "forward", lambda self, x: x)
    with pytest.raises(ModelError, match=r"4 LoRA matrices did not, such as .*down_proj"):
        full(model)(random_sequences())


def test_numbers_that_are_not_finite_are_refused() -> None:
    model = with_lora(tiny_model("llama"), target_modules=["q_proj"])
    weight = model.get_submodule("base_model.model.model.layers.0.self_attn.q_proj.lora_B.default").weight
    with torch.no_grad():
        weight[:] = torch.nan
    with pytest.raises(NumericalError, match="Log-probabilities"):
        full(model)(random_sequences())
    with pytest.raises(DataError, match="at most 128"):
        full(model)([TokenizedResponse((1,) * 100, (1,) * 30)])
