"""Models that are not causal are refused, whoever meets them first; causal ones are not."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from duelist.errors import ModelError
from duelist.models.gradients.lora_gradients import LoraGradients
from duelist.models.policy.logprobs import sequence_log_probs
from duelist.models.policy.policy import Policy
from duelist.models.policy.probes import require_causal
from tiny_models import FAMILIES, random_sequences, tiny_model, with_lora

BIDIRECTIONAL = {"bert": {"is_decoder": False}, "xlm": {"causal": False}}
SMALL_STEPS = {"bert": {"initializer_range": 0.002}, "xlm": {"embed_init_std": 0.02, "init_std": 0.002}, "xlnet": {}}


class _Tokenizer:
    eos_token_id = 1


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", BIDIRECTIONAL)
def test_bidirectional_models_are_refused(family: str, dtype: torch.dtype) -> None:
    model = tiny_model(family, dtype, **BIDIRECTIONAL[family])
    with pytest.raises(ModelError, match="do not depend on later tokens"):
        sequence_log_probs(model, random_sequences())
    model = with_lora(model, target_modules=["query", "q_lin"])
    with pytest.raises(ModelError, match="do not depend on later tokens"):
        LoraGradients(model, dimension=8, seed=0, max_tokens=100)(random_sequences())
    with pytest.raises(ModelError, match="do not depend on later tokens"):  # before anything is drawn or asked
        Policy.of(model, _Tokenizer())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("family", SMALL_STEPS)
def test_what_a_later_token_changes_may_be_less_than_rounding(family: str, dtype: torch.dtype) -> None:
    """Weights as small as those of a model that is not trained yet: logits hardly depend on context."""
    model = tiny_model(family, dtype, **{**BIDIRECTIONAL.get(family, {}), **SMALL_STEPS[family]})
    with pytest.raises(ModelError, match="do not depend on later tokens"):
        require_causal(model)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", [*FAMILIES, "mixtral", "deepseek_v3", "lfm2", "phi3", "ctrl"])
def test_causal_models_pass_in_every_precision(family: str, dtype: torch.dtype) -> None:
    require_causal(tiny_model(family, dtype))


@pytest.mark.parametrize(("family", "how"), [("bert", {"is_decoder": True}), ("xlm", {"causal": True})])
def test_decoders_of_families_that_are_bidirectional_by_default_pass(family: str, how: dict[str, Any]) -> None:
    require_causal(tiny_model(family, **how))


def test_a_model_is_tried_once_and_left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("gpt2")
    modes, state = [m.training for m in model.modules()], torch.get_rng_state()
    require_causal(model)
    assert modes == [m.training for m in model.modules()] and torch.equal(state, torch.get_rng_state())
    monkeypatch.setattr(type(model), "forward", None)
    require_causal(model)


def test_a_model_that_does_not_run_on_token_ids_alone_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("llama")

    def forward(self: Any, input_ids: torch.Tensor, use_cache: bool) -> None:
        raise ValueError("pixel_values are required")

    monkeypatch.setattr(type(model), "forward", forward)
    with pytest.raises(ModelError, match=r"runs on token ids alone .* pixel_values are required"):
        require_causal(model)
