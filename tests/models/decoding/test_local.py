"""Decoding: every way of computing the logits draws the same tokens, and they are those of the model."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from peft import PeftModel
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, TopKLogitsWarper, TopPLogitsWarper

from duelist.errors import DataError, NumericalError
from duelist.models.decoding import local
from duelist.models.decoding.adapter_rows import rows_stay_apart
from duelist.models.decoding.local import Decoding, LocalDecoder, ResponseRequest, policy_is_reference
from duelist.models.decoding.next_token import (
    Kind,
    Method,
    NextLogits,
    draw_tokens,
    mix,
    next_logits,
    token_probabilities,
)
from duelist.models.policy.policy import Policy
from duelist.progress import Silent
from duelist.types import Distribution, Prompt, Response
from tiers import first
from tiny_models import FAMILIES, VOCABULARY, tiny_model, with_lora

EOS = 1
PROMPTS = [Prompt.of(" ".join(f"w{(3 * i + j) % 50}" for j in range(1 + i % 5))) for i in range(6)]
KINDS: tuple[Distribution, ...] = ("policy", "plus", "minus", "reference")
ORDERS = [ResponseRequest(p, kind) for p in PROMPTS for kind in KINDS]
BETA = 0.7


def tokenizer() -> Any:
    words = ["<pad>", "<eos>", *(f"w{i}" for i in range(VOCABULARY - 2))]
    fast = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="w0"))
    fast.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=fast, pad_token="<pad>", eos_token="<eos>")


def policy_of(family: str, **lora: Any) -> Policy:
    # Gemma 2's mask of padded rows overflows its float32 softmax in float64.
    model = with_lora(tiny_model(family, torch.float32 if family == "gemma2" else torch.float64), **lora)
    model.generation_config.eos_token_id = EOS
    return Policy.of(model.eval(), tokenizer())


@pytest.fixture(scope="module")
def llama() -> Policy:
    return policy_of("llama")


class WithoutCache(NextLogits):
    """Read all tokens anew at every step: what every method must agree with."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.read_BL = torch.empty(0)

    def __call__(self, ids_BL: torch.Tensor, mask_BA: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        self.read_BL = torch.cat([self.read_BL, ids_BL], dim=1) if len(self.read_BL) else ids_BL
        base = self.policy.model
        base = base.get_base_model() if isinstance(base, PeftModel) else base
        options: dict[str, Any] = {"attention_mask": mask_BA, "use_cache": False}
        if "position_ids" in inspect.signature(base.forward).parameters:
            options["position_ids"] = (mask_BA.cumsum(1) - 1).clamp(min=0)
        own = self.policy.model(input_ids=self.read_BL, **options).logits[:, -1]
        with self.policy.as_reference():
            return own, self.policy.model(input_ids=self.read_BL, **options).logits[:, -1]

    def keep_rows(self, index: torch.Tensor) -> None:
        self.read_BL = self.read_BL[index]


def draw_without_cache(policy: Policy, orders: Sequence[ResponseRequest] = ORDERS, **how: Any) -> list[Response]:
    @contextmanager
    def without_cache(policy: Policy, kind: Kind, method: Method) -> Iterator[NextLogits]:
        if kind == "both":
            yield WithoutCache(policy)
        else:
            with next_logits(policy, kind) as run:
                yield run

    with mock.patch.object(local, "next_logits", without_cache):
        return draw(policy, orders, "two_calls", **how)


def draw(
    policy: Policy, orders: Sequence[ResponseRequest] = ORDERS, method: Method = "auto", seed: int = 3, **how: Any
) -> list[Response]:
    decoding = Decoding(**{"max_new_tokens": 10, "top_p": 0.9, "beta": BETA, **how})
    return LocalDecoder(policy, method).draw(orders, decoding, round=1, seed=seed, progress=Silent(), what="")


# LFM2 has convolutions beside attention, whose state is no keys and values.
@pytest.mark.parametrize("family", first(2, ["opt", "lfm2", *FAMILIES]))
def test_every_method_and_batch_size_draws_the_same_tokens(family: str) -> None:
    lora = {"target_modules": ["q_proj", "fc1"]} if family == "opt" else {}
    policy = policy_of(family, **lora)
    assert rows_stay_apart(policy) == (family != "opt")  # OPT flattens rows and positions before fc1
    expected = draw_without_cache(policy, batch_size=1)
    assert len({r.token_ids for r in expected}) > 15
    assert family in ("opt", "lfm2") or {len(r.token_ids) for r in expected} != {10}  # some end before the limit
    for method, size in (("auto", 64), ("auto", 5), ("two_calls", 7)):
        assert draw(policy, method=method, batch_size=size) == expected  # type: ignore[arg-type]
    assert policy.model.active_adapter == "default" and not policy_is_reference(policy, PROMPTS[0])
    assert draw(policy, method="two_calls") == expected  # nothing of the other methods is left behind


@pytest.mark.parametrize(
    ("family", "targets"), [("bart", ["fc1"]), ("roberta", ["query"]), ("gemma2", ["q_proj"]), ("gpt2", ["c_attn"])]
)
def test_prompts_of_many_lengths_are_answered_as_if_each_were_alone(family: str, targets: list[str]) -> None:
    """Also where positions do not begin after the padding, or padded rows have no logits (Gemma 2 in float64)."""
    model = with_lora(tiny_model(family, torch.float64), target_modules=targets).eval()
    model.generation_config.eos_token_id = EOS
    for response in draw(Policy.of(model, tokenizer()), [ResponseRequest(p) for p in PROMPTS], temperature=0.0):
        ids = list(response.prompt_token_ids)
        for token in response.token_ids:
            with torch.no_grad():
                logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1]
            assert logits[token] == pytest.approx(float(logits.max()), abs=1e-5)
            ids.append(token)


def test_a_reference_with_another_configuration_is_another_model() -> None:
    model = tiny_model("llama")
    policy = Policy.of(copy.deepcopy(model), tokenizer(), reference=copy.deepcopy(model))
    assert policy_is_reference(policy, PROMPTS[0])
    other = tiny_model("llama", rope_parameters={"rope_type": "default", "rope_theta": 5.0})
    assert not policy_is_reference(Policy.of(model, tokenizer(), reference=other), PROMPTS[0])
    half = copy.deepcopy(model).bfloat16()
    assert not policy_is_reference(Policy.of(half, tokenizer(), reference=model), PROMPTS[0])


@pytest.mark.parametrize("family", first(2, ["lfm2", *FAMILIES]))
def test_prompts_that_are_read_once_and_rows_that_are_left_behind_change_nothing(family: str) -> None:
    """Twenty responses to each of two prompts, most of which end at their first tokens: alone, and in one batch."""
    policy = policy_of(family)
    policy.stop_token_ids = frozenset(range(1, 40))
    orders = [ResponseRequest(p, kind) for p in (PROMPTS[1], PROMPTS[4]) for kind in KINDS for _ in range(20)]
    alone = draw(policy, orders, "two_calls", batch_size=1, temperature=2.0)
    lengths = [len(r.token_ids) for r in alone]
    assert max(lengths) > 4 and 0.4 < np.mean(np.array(lengths) == 1) < 0.9
    for method in ("one_call", "two_calls"):
        assert draw(policy, orders, method, batch_size=80, temperature=2.0) == alone  # type: ignore[arg-type]
    assert draw_without_cache(policy, orders, batch_size=80, temperature=2.0) == alone


def test_a_prompt_is_read_once_and_rows_that_ended_are_left_behind(llama: Policy) -> None:
    shapes: list[tuple[int, int]] = []

    def note(_: torch.nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        shapes.append(tuple(keywords["input_ids"].shape))

    orders = [ResponseRequest(p) for p in PROMPTS[:2] for _ in range(30)]
    draw(llama, max_new_tokens=1)  # a model is tried once, before its first batch of several lengths
    hook = llama.model.get_base_model().register_forward_pre_hook(note, with_kwargs=True)
    stop, llama.stop_token_ids = llama.stop_token_ids, frozenset(range(1, 40))
    try:
        drawn = draw(llama, orders, batch_size=60)
    finally:
        llama.stop_token_ids = stop
        hook.remove()
    assert shapes[0] == (2, 2)  # two prompts of one and two tokens
    for t, (rows, columns) in enumerate(shapes[1:], start=1):
        going_on = sum(len(r.token_ids) > t for r in drawn)
        assert columns == 1 and going_on <= rows <= 2 * going_on
    assert len(shapes) == max(len(r.token_ids) for r in drawn) > 3


def test_the_reference_may_be_an_adapter_too(llama: Policy, tmp_path: Any) -> None:
    policy = policy_of("llama")
    policy.save_weights(tmp_path)
    policy.set_reference(tmp_path)
    assert policy_is_reference(policy, PROMPTS[0])
    as_policy = [ResponseRequest(o.prompt, "policy") for o in ORDERS]
    assert [r.token_ids for r in draw(policy)] == [r.token_ids for r in draw(policy, as_policy)]
    with torch.no_grad():
        for name, parameter in policy.model.named_parameters():
            if ".default." in name:
                parameter *= 1.5
    assert not policy_is_reference(policy, PROMPTS[0]) and rows_stay_apart(policy)
    one, two = draw(policy, method="one_call"), draw(policy, method="two_calls")
    assert one == two
    assert [r.token_ids for r in one] != [r.token_ids for r in draw(llama)]


def test_the_reference_may_be_a_model_of_its_own() -> None:
    model = tiny_model("llama")
    model.generation_config.eos_token_id = EOS
    policy = Policy.of(model, tokenizer(), reference=copy.deepcopy(model))
    assert policy_is_reference(policy, PROMPTS[0]) and not rows_stay_apart(policy)
    with torch.no_grad():
        for parameter in policy.model.parameters():
            parameter *= 0.9
    assert not policy_is_reference(policy, PROMPTS[0])
    assert draw(policy) == draw_without_cache(policy, batch_size=1)


def test_adapters_that_are_not_plain_lora_take_two_calls() -> None:
    policy = policy_of("llama", target_modules=["q_proj"], use_dora=True)
    assert not rows_stay_apart(policy)
    assert draw(policy) == draw_without_cache(policy, batch_size=1)


def test_greedy_tokens_are_those_of_a_plain_loop_without_caches(llama: Policy) -> None:
    found = draw(llama, temperature=0.0)
    assert draw(llama, method="two_calls", temperature=0.0) == found
    weights = {"policy": (1, 0), "plus": (1 + BETA, -BETA), "minus": (1 - BETA, BETA), "reference": (0, 1)}
    for order, response in zip(ORDERS, found, strict=True):
        ids = list(response.prompt_token_ids)
        own_weight, reference_weight = weights[order.drawn_from]
        for t in range(10):
            with torch.no_grad():
                own = llama.model(input_ids=torch.tensor([ids])).logits[0, -1]
                with llama.model.disable_adapter():
                    reference = llama.model(input_ids=torch.tensor([ids])).logits[0, -1]
            token = int((own_weight * own + reference_weight * reference).argmax())
            assert response.token_ids[t] == token
            ids.append(token)
            if token == EOS:
                break
        assert len(response.token_ids) == t + 1


def test_greedy_tokens_are_those_of_transformers(llama: Policy) -> None:
    found = draw(llama, [ResponseRequest(p) for p in PROMPTS], temperature=0.0)
    for prompt, response in zip(PROMPTS, found, strict=True):
        ids = torch.tensor([llama.tokenizer(prompt.as_trl())["input_ids"]])
        output = llama.model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=10, eos_token_id=EOS,
            pad_token_id=0,
        )  # fmt: skip
        assert response.token_ids == tuple(output[0, ids.shape[1] :].tolist())


def test_a_draw_depends_on_seed_and_place_only(llama: Policy) -> None:
    everything = draw(llama)
    assert draw(llama, ORDERS[:7]) == everything[:7]
    assert [r.token_ids for r in draw(llama, seed=4)] != [r.token_ids for r in everything]
    state = torch.get_rng_state()
    draw(llama)
    assert torch.equal(state, torch.get_rng_state())


def test_the_nucleus_is_the_smallest_that_reaches_top_p() -> None:
    logits = torch.log(torch.tensor([[0.1, 0.4, 0.2, 0.3], [0.25, 0.25, 0.25, 0.25]], dtype=torch.float64))
    np.testing.assert_allclose(token_probabilities(logits, 1.0, 0.65)[0], [0, 0.4, 0, 0.3])
    np.testing.assert_allclose(token_probabilities(logits, 1.0, 0.75)[0], [0, 0.4, 0.2, 0.3])
    np.testing.assert_allclose(token_probabilities(logits, 1.0, 1e-9)[0], [0, 0.4, 0, 0])  # never none
    assert int((token_probabilities(logits, 1.0, 0.5)[1] > 0).sum()) == 2
    squared = np.array([0.1, 0.4, 0.2, 0.3]) ** 2
    np.testing.assert_allclose(token_probabilities(logits, 0.5, 1.0)[0], squared / squared.sum())


@pytest.mark.parametrize("top_p", [1.0, 0.6])
@pytest.mark.parametrize("temperature", [0.7, 1.0, 2.5])
@pytest.mark.parametrize("top_k", [1, 3, 7, 40, 500])
def test_top_k_and_then_the_nucleus_are_those_of_transformers(top_k: int, temperature: float, top_p: float) -> None:
    logits = torch.tensor(np.random.default_rng(top_k).normal(size=(30, 40)))
    logits[0, :8] = 9.0  # more tokens tie for the first places than some k
    ids = torch.zeros((30, 1), dtype=torch.long)
    warped = TopKLogitsWarper(min(top_k, 40))(ids, logits / temperature)
    if top_p < 1:
        warped = TopPLogitsWarper(top_p)(ids, warped)
    found = token_probabilities(logits, temperature, top_p, top_k)
    found = found / found.sum(dim=-1, keepdim=True)
    rows = slice(1, None) if top_p < 1 else slice(None)  # where tokens tie, transformers' nucleus keeps others of them
    np.testing.assert_allclose(found[rows], warped.softmax(dim=-1)[rows], atol=1e-12)
    assert top_k > 40 or ((found[1:] > 0).sum(dim=-1) <= top_k).all()


def test_draws_stay_within_the_top_k_of_whatever_they_are_drawn_from(llama: Policy) -> None:
    """Twenty first tokens from each distribution, against the k largest logits of the mixture by a plain pass."""
    k, weights = 4, {"policy": (1, 0), "plus": (1 + BETA, -BETA), "minus": (1 - BETA, BETA), "reference": (0, 1)}
    orders = [ResponseRequest(p, kind) for p in PROMPTS for kind in KINDS for _ in range(20)]
    drawn = draw(llama, orders, max_new_tokens=1, top_p=1.0, top_k=k, temperature=3.0)
    for prompt in PROMPTS:
        ids = torch.tensor([llama.tokenizer(prompt.as_trl())["input_ids"]])
        with torch.no_grad():
            own = llama.model(input_ids=ids).logits[0, -1]
            with llama.model.disable_adapter():
                reference = llama.model(input_ids=ids).logits[0, -1]
        for kind, (of_own, of_reference) in weights.items():
            allowed = set((of_own * own + of_reference * reference).topk(k).indices.tolist())
            found = {r.token_ids[0] for r, o in zip(drawn, orders, strict=True) if o == ResponseRequest(prompt, kind)}
            assert found <= allowed and len(found) > 1


def test_one_of_the_top_is_greedy(llama: Policy) -> None:
    assert draw(llama, top_k=1, temperature=1.7) == draw(llama, temperature=0.0)
    assert Decoding(1, top_k=1).greedy and Decoding(1, temperature=0.0).greedy and not Decoding(1, top_k=2).greedy


def test_tokens_are_drawn_in_proportion_and_never_from_outside_the_nucleus() -> None:
    p = np.array([0.05, 0.5, 0.15, 0.3])
    uniform = (torch.arange(20000, dtype=torch.float64) + 0.5) / 20000
    logits = torch.log(torch.tensor(p)).repeat(20000, 1)
    everything, _ = draw_tokens(logits, uniform, 1.0, 1.0)
    np.testing.assert_allclose(np.bincount(everything, minlength=4) / 20000, p, atol=1e-4)
    nucleus, _ = draw_tokens(logits, uniform, 1.0, 0.75)
    np.testing.assert_allclose(np.bincount(nucleus, minlength=4) / 20000, [0, 0.625, 0, 0.375], atol=1e-4)


def test_logits_are_mixed_in_float32_and_what_the_policy_excludes_stays_out() -> None:
    own = torch.tensor([[1.0, -torch.inf, 3.0]], dtype=torch.bfloat16)
    reference = torch.tensor([[0.5, -torch.inf, 2.0]], dtype=torch.bfloat16)
    mixed = mix(own, reference, torch.tensor([[1.01, -0.01]], dtype=torch.float64))
    assert mixed.dtype == torch.float32
    np.testing.assert_allclose(mixed[0], [1.005, -np.inf, 3.01], rtol=1e-6)


def test_logits_that_are_not_finite_are_refused() -> None:
    policy = policy_of("llama")
    with torch.no_grad():
        policy.model.get_output_embeddings().weight[3] = torch.nan
    for temperature in (0.0, 1.0):
        with pytest.raises(NumericalError, match=r"Logits must be finite.*diverged weights"):
            draw(policy, temperature=temperature)


def test_a_prompt_without_room_is_refused(llama: Policy) -> None:
    with pytest.raises(DataError, match="max_new_tokens=128"):
        draw(llama, max_new_tokens=128)


def test_two_copies_of_the_same_weights_are_the_same_whatever_their_last_bits() -> None:
    model = tiny_model("llama", torch.float32)
    policy = Policy.of(model, tokenizer(), reference=copy.deepcopy(model))
    # What torch does with other kernels for a model that requires gradients.
    policy.model.lm_head.register_forward_hook(lambda _, __, logits: logits * (1 + 1e-6))
    assert policy_is_reference(policy, PROMPTS[0])
    with torch.no_grad():
        policy.model.model.layers[1].mlp.down_proj.weight[3, 5] += 1e-4
    assert not policy_is_reference(policy, PROMPTS[0])


def test_long_rope_draws_the_same_alone_and_in_company() -> None:
    """Rows pass Phi-3's 8 tokens before the prompt's end, on the way, or not at all."""
    policy = policy_of("phi3")
    prompts = [
        Prompt.of(" ".join(f"w{(3 * i + j) % 50}" for j in range(n))) for i, n in enumerate((1, 2, 5, 5, 7, 9, 12))
    ]
    drawn = draw(policy, [ResponseRequest(p) for p in prompts], temperature=0, top_p=1.0, max_new_tokens=6)
    for response in drawn:
        ids = list(response.prompt_token_ids)
        for token in response.token_ids:
            with torch.no_grad():
                assert policy.model(input_ids=torch.tensor([ids])).logits[0, -1].argmax() == token
            ids.append(token)


def test_a_prompt_with_tokens_outside_the_vocabulary_is_refused() -> None:
    policy = policy_of("llama")
    policy.tokenizer.add_tokens(["new"])
    with pytest.raises(DataError, match="resize_token_embeddings"):
        draw(policy, [ResponseRequest(Prompt.of("w1 new"))])
