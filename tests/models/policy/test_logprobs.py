"""Sequence log-probabilities against one sequence at a time with full logits, on several model families."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from duelist.errors import DataError, ModelError, NumericalError
from duelist.models.policy import target_log_probs
from duelist.models.policy.logprobs import sequence_log_probs
from duelist.models.policy.response_batches import ResponseBatch, TokenizedResponse, batches_by_tokens
from tiny_models import FAMILIES, ROUNDING, VOCABULARY, plain_log_prob, random_sequences, tiny_model, with_lora


def plain_log_probs(model: Any, sequences: list[TokenizedResponse]) -> np.ndarray:
    model.eval()
    with torch.no_grad():
        return np.array([plain_log_prob(model, s).item() for s in sequences])


@pytest.mark.parametrize("adapter", [False, True], ids=["plain", "lora"])
@pytest.mark.parametrize("family", FAMILIES)
def test_equals_one_sequence_at_a_time_with_full_logits(family: str, adapter: bool) -> None:
    model = with_lora(tiny_model(family)) if adapter else tiny_model(family)
    sequences = random_sequences(12)
    found = sequence_log_probs(model, sequences, max_tokens=60)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, plain_log_probs(model, sequences), rtol=ROUNDING[family])


def test_float32_and_bfloat16_models() -> None:
    sequences = random_sequences()
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.bfloat16, 0.05)):
        model = tiny_model("llama", dtype)
        exact = plain_log_probs(tiny_model("llama", torch.float64), sequences)
        np.testing.assert_allclose(sequence_log_probs(model, sequences), exact, rtol=tolerance)


def test_final_soft_capping_is_applied() -> None:
    sequences = random_sequences()
    capped = sequence_log_probs(tiny_model("gemma2"), sequences)
    uncapped = sequence_log_probs(tiny_model("gemma2", final_logit_softcapping=None), sequences)
    assert np.abs(capped - uncapped).min() > 0.01


def test_an_adapter_on_the_output_layer_is_applied() -> None:
    model = with_lora(tiny_model("llama"), target_modules=["q_proj", "lm_head"])
    sequences = random_sequences()
    found = sequence_log_probs(model, sequences)
    np.testing.assert_allclose(found, plain_log_probs(model, sequences), rtol=1e-12)
    with model.disable_adapter():
        assert np.abs(found - sequence_log_probs(model, sequences)).min() > 1e-3


def test_the_order_of_the_input_and_the_batch_size_do_not_matter() -> None:
    model = with_lora(tiny_model("qwen2"))
    sequences = random_sequences(9)
    together = sequence_log_probs(model, sequences, max_tokens=10_000)
    alone = sequence_log_probs(model, sequences[::-1], max_tokens=1)[::-1]
    np.testing.assert_allclose(together, alone, rtol=1e-12)


def test_dropout_is_off_and_every_mode_is_restored() -> None:
    model = with_lora(tiny_model("gpt2"))
    model.get_submodule("base_model.model.transformer.h.0").eval()
    modes = [m.training for m in model.modules()]
    assert True in modes and False in modes
    sequences = random_sequences()
    first = sequence_log_probs(model, sequences)
    assert [m.training for m in model.modules()] == modes
    np.testing.assert_array_equal(first, sequence_log_probs(model, sequences))


def test_modes_and_hooks_are_restored_after_an_error() -> None:
    model = tiny_model("llama")

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    model.lm_head.register_forward_hook(interrupt)
    with pytest.raises(KeyboardInterrupt):
        sequence_log_probs(model, random_sequences())
    assert all(m.training for m in model.modules())
    assert not any(m._forward_pre_hooks for m in model.modules())


def test_progress_counts_every_sequence() -> None:
    counts: list[int] = []
    sequence_log_probs(tiny_model("llama"), random_sequences(8), max_tokens=40, progress=counts.append)
    assert sum(counts) == 8
    assert len(counts) > 1


def test_no_sequences_give_no_log_probs() -> None:
    assert sequence_log_probs(tiny_model("llama"), []).shape == (0,)


def test_the_gradient_in_chunks_equals_autograd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(target_log_probs, "CHUNK_NUMBERS", 3 * 11)
    logits = torch.randn(8, 11, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    target = torch.arange(8)
    assert torch.autograd.gradcheck(lambda x: target_log_probs.TargetLogProbs.apply(x, target), logits)
    plain = torch.log_softmax(logits, -1)[torch.arange(8), target]
    torch.testing.assert_close(target_log_probs.TargetLogProbs.apply(logits, target), plain)


def test_what_is_refused() -> None:
    model = tiny_model("gpt2")
    with pytest.raises(DataError, match="at least one token"):
        TokenizedResponse((), (1,))
    with pytest.raises(DataError, match="at least one token"):
        TokenizedResponse((1,), ())
    with pytest.raises(DataError, match=r"at most 128 tokens .* has 129"):
        sequence_log_probs(model, [TokenizedResponse((1,) * 100, (1,) * 30)])
    assert sequence_log_probs(model, [TokenizedResponse((1,) * 100, (1,) * 29)]).shape == (1,)
    with pytest.raises(ModelError, match="AutoModelForCausalLM"):
        sequence_log_probs(model.transformer, random_sequences())
    with pytest.raises(DataError, match="max_tokens"):
        sequence_log_probs(model, random_sequences(), max_tokens=0)
    with torch.no_grad():
        model.lm_head.weight[:] = torch.nan
    with pytest.raises(NumericalError, match="finite"):
        sequence_log_probs(model, random_sequences())


def test_a_head_that_bypasses_the_output_layer_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("llama")
    head = torch.nn.Linear(24, 61, bias=False, dtype=torch.float64)
    monkeypatch.setattr(model, "get_output_embeddings", lambda: head)
    with pytest.raises(ModelError, match="fused"):
        sequence_log_probs(model, random_sequences())


@given(st.lists(st.integers(1, 300), max_size=60), st.integers(1, 1000))
def test_batches_cover_everything_once_within_the_limit(lengths: list[int], max_tokens: int) -> None:
    batches = batches_by_tokens(lengths, max_tokens)
    flat = [int(i) for batch in batches for i in batch]
    assert sorted(flat) == list(range(len(lengths)))
    assert flat == sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= max_tokens
    # No batch could have taken the first sequence of the next.
    for batch in batches[:-1]:
        assert (len(batch) + 1) * lengths[batch[0]] > max_tokens


def test_padding_is_small_for_a_long_tailed_pool() -> None:
    rng = np.random.default_rng(0)
    lengths = np.clip(rng.lognormal(5.0, 0.7, 2000), 10, 2000).astype(np.int64)
    padded = sum(len(batch) * lengths[batch].max() for batch in batches_by_tokens(lengths, 8192))
    assert padded / lengths.sum() <= 1.05


def test_a_batch_is_padded_on_the_right() -> None:
    batch = ResponseBatch.of([TokenizedResponse((5, 6), (7, 8)), TokenizedResponse((9,), (3,))], torch.device("cpu"))
    assert batch.input_ids_RL.tolist() == [[5, 6, 7], [9, 0, 0]]
    assert batch.row_T.tolist() == [0, 0, 1]
    assert batch.column_T.tolist() == [1, 2, 0]
    assert batch.target_T.tolist() == [7, 8, 3]
    assert batch.start_R.tolist() == [0, 2]


def test_no_batch_has_lengths_on_both_sides_of_a_threshold() -> None:
    lengths = [9, 3, 5, 7, 4, 6, 8, 5]
    batches = batches_by_tokens(lengths, 1000, thresholds=(4, 7))
    assert [sorted(lengths[i] for i in batch) for batch in batches] == [[8, 9], [5, 5, 6, 7], [3, 4]]


def test_long_rope_gives_a_response_the_same_log_probability_alone_and_in_company() -> None:
    """Phi-3's factors change beyond 8 tokens, counted with the last one, which is not read."""
    model = tiny_model("phi3").eval()
    sequences = [TokenizedResponse((5,) * p, (7, 9, 11)[:r]) for p in (1, 4, 5, 6, 7, 8, 20) for r in (1, 2, 3)]
    found = sequence_log_probs(model, sequences, max_tokens=10_000)
    with torch.no_grad():
        np.testing.assert_allclose(found, [plain_log_prob(model, s).item() for s in sequences], rtol=1e-6)


@pytest.mark.parametrize("odd", [VOCABULARY, 10**6, -1])
@pytest.mark.parametrize("where", ["prompt", "response", "last"])
def test_token_ids_outside_the_vocabulary_are_refused(odd: int, where: str) -> None:
    ids = {"prompt": ((odd,), (2, 3)), "response": ((1,), (odd, 3)), "last": ((1,), (3, odd))}[where]
    with pytest.raises(DataError, match=f"from 0 to {VOCABULARY - 1}.*but one is {odd}: .*resize_token_embeddings"):
        sequence_log_probs(tiny_model("llama"), [TokenizedResponse((1,), (2,)), TokenizedResponse(*ids)])


def test_a_sequence_beyond_mpts_context_is_refused() -> None:
    with pytest.raises(DataError, match="at most 64 tokens"):
        sequence_log_probs(tiny_model("mpt"), [TokenizedResponse((1,) * 60, (1,) * 6)])
