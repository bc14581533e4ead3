"""A policy's two forms, adapter and all parameters: what is saved comes back, and the reference is what was set."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, RobertaConfig

from duelist.errors import ModelError
from duelist.featurizers.base import FeatureJob, featurize
from duelist.featurizers.margin import Margin, MarginFeaturizerConfig
from duelist.models.gradients.lora_gradients import LoraGradients
from duelist.models.policy.config import PolicyConfig
from duelist.models.policy.model_configuration import computed_with
from duelist.models.policy.policy import Policy
from duelist.models.policy.tokenization import encode_responses
from duelist.models.trained import Models
from duelist.progress import Silent
from duelist.types import Prompt, Question, Response

LORA = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear"}
IDS = torch.tensor([[4, 7, 9, 12, 30, 8]])
FORMS = ["lora", "none"]


def load(model: Path, adapter: str, **settings: Any) -> Policy:
    return Policy.load(PolicyConfig(model=str(model), adapter=adapter, lora=LORA, device="cpu", **settings), seed=1)  # type: ignore[arg-type]


def move(policy: Policy, seed: int = 2) -> None:
    """Change every trained weight."""
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        for _, parameter, trained in policy.weights.parameters():
            if trained:
                parameter.add_(0.05 * torch.randn_like(parameter))


def logits(policy: Policy) -> torch.Tensor:
    with torch.no_grad():
        return policy.model(input_ids=IDS).logits.clone()  # type: ignore[no-any-return]


def reference_logits(policy: Policy) -> torch.Tensor:
    with policy.as_reference():
        return logits(policy)


@pytest.fixture
def base_logits(tiny_model: Path) -> torch.Tensor:
    with torch.no_grad():
        return AutoModelForCausalLM.from_pretrained(tiny_model)(input_ids=IDS).logits  # type: ignore[no-any-return]


@pytest.mark.parametrize("adapter", FORMS)
def test_a_policy_begins_as_its_reference_and_moves_alone(
    tiny_model: Path, base_logits: torch.Tensor, adapter: str
) -> None:
    policy = load(tiny_model, adapter)
    assert torch.equal(logits(policy), base_logits)
    before, base = policy.fingerprint(), policy.fingerprint(trained=False)
    move(policy)
    assert not torch.allclose(logits(policy), base_logits, atol=0.01)
    with policy.as_reference():
        assert torch.equal(reference_logits(policy), base_logits)
        assert torch.equal(logits(policy), base_logits)  # a block within the block changes nothing
    assert not torch.allclose(logits(policy), base_logits, atol=0.01)  # and the block gives the policy back
    assert policy.fingerprint() != before
    assert policy.fingerprint(trained=False) == base


def test_the_fingerprint_tells_of_every_weight_and_of_the_adapters_scale(tiny_model: Path) -> None:
    """Whatever changes what the model computes: a base weight anywhere, two of them exchanged, LoRA's α."""
    policy = load(tiny_model, "lora")
    seen = {policy.fingerprint()}
    embeddings = policy.model.get_input_embeddings().weight.data  # 46 × 32: its last numbers fill no row of words
    projection = policy.model.get_submodule("base_model.model.model.layers.1.mlp.down_proj.base_layer").weight.data
    layer = policy.model.get_submodule("base_model.model.model.layers.1.mlp.down_proj")
    with torch.no_grad():
        embeddings[-1, -1] += 1e-6
        seen.add(policy.fingerprint())
        projection[20, 5] += 1e-6
        seen.add(policy.fingerprint())
        projection[[3, 30]] = projection[[30, 3]]
        seen.add(policy.fingerprint())
        projection[:, [3, 30]] = projection[:, [30, 3]]
        seen.add(policy.fingerprint())
    base = policy.fingerprint(trained=False)
    layer.scaling["default"] *= 2
    seen.add(policy.fingerprint())
    assert len(seen) == 6
    assert policy.fingerprint(trained=False) == base
    layer.scaling["default"] /= 2
    again = policy.fingerprint()
    assert again in seen and again == policy.fingerprint()


@pytest.mark.parametrize("adapter", FORMS)
def test_what_is_saved_comes_back(tiny_model: Path, adapter: str, tmp_path: Path) -> None:
    policy = load(tiny_model, adapter)
    move(policy)
    moved = logits(policy)
    policy.save_weights(tmp_path)
    move(policy, seed=3)
    assert not torch.allclose(logits(policy), moved)
    policy.load_weights(tmp_path)
    assert torch.equal(logits(policy), moved)
    other = load(tiny_model, adapter)
    other.load_weights(tmp_path)
    assert other.fingerprint() == policy.fingerprint()


@pytest.mark.parametrize("adapter", FORMS)
def test_the_reference_can_be_another_and_the_base_model_again(
    tiny_model: Path, base_logits: torch.Tensor, adapter: str, tmp_path: Path
) -> None:
    policy = load(tiny_model, adapter)
    for k in (1, 2):
        (tmp_path / str(k)).mkdir()
        move(policy, seed=k)
        policy.save_weights(tmp_path / str(k))
    second = logits(policy)
    policy.load_weights(tmp_path / "1")
    first = logits(policy)
    move(policy, seed=3)
    for folder, expected in ((tmp_path / "1", first), (tmp_path / "2", second), (None, base_logits)):
        policy.set_reference(folder)
        assert policy.reference_folder == folder
        assert torch.equal(reference_logits(policy), expected)
        assert not torch.allclose(logits(policy), expected, atol=1e-3)


def test_a_saved_model_is_a_whole_model_for_transformers(tiny_model: Path, tmp_path: Path) -> None:
    policy = load(tiny_model, "none")
    move(policy)
    policy.save_weights(tmp_path)
    plain = AutoModelForCausalLM.from_pretrained(tmp_path)
    with torch.no_grad():
        assert torch.equal(plain(input_ids=IDS).logits, logits(policy))
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    messages = [{"role": "user", "content": "w1 w2"}]
    assert tokenizer.apply_chat_template(messages) == policy.tokenizer.apply_chat_template(messages)


@pytest.mark.parametrize("adapter", FORMS)
def test_a_study_can_start_from_given_weights(
    tiny_model: Path, base_logits: torch.Tensor, adapter: str, tmp_path: Path
) -> None:
    policy = load(tiny_model, adapter)
    move(policy)
    policy.save_weights(tmp_path)
    key = "initial_adapter" if adapter == "lora" else "initial_model"
    started = load(tiny_model, adapter, **{key: str(tmp_path)})
    assert torch.equal(logits(started), logits(policy))
    assert torch.equal(reference_logits(started), base_logits)
    assert any(trained and p.requires_grad for _, p, trained in started.weights.parameters())
    assert started.fingerprint(trained=False) == policy.fingerprint(trained=False)


def test_a_start_of_the_other_form_is_refused() -> None:
    with pytest.raises(ValueError, match="`initial_adapter` must not be set with `adapter: none`"):
        PolicyConfig(model="m", adapter="none", initial_adapter="a")
    with pytest.raises(ValueError, match="set `initial_adapter`, or change"):
        PolicyConfig(model="m", initial_model="a")


def test_weights_that_do_not_fit_are_refused(tiny_model: Path, tmp_path: Path) -> None:
    policy = load(tiny_model, "none")
    with pytest.raises(ModelError, match="cannot be read"):
        policy.load_weights(tmp_path)
    config = copy.deepcopy(policy.model.config)
    config.num_hidden_layers = 3
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "deeper")
    config.num_hidden_layers, config.intermediate_size = 2, 48
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "narrower")
    before = policy.fingerprint()
    for name in ("deeper", "narrower"):
        with pytest.raises(ModelError, match="same architecture"):
            policy.load_weights(tmp_path / name)
    with pytest.raises(ModelError, match="same architecture"):
        load(tiny_model, "none", initial_model=str(tmp_path / "deeper"))
    assert policy.fingerprint() == before


def test_a_plain_model_in_memory_needs_a_reference(tiny_model: Path) -> None:
    model, tokenizer = AutoModelForCausalLM.from_pretrained(tiny_model), AutoTokenizer.from_pretrained(tiny_model)
    with pytest.raises(ModelError, match="pass a copy of it as `reference`"):
        Policy.of(model, tokenizer)
    policy = Policy.of(model, tokenizer, reference=copy.deepcopy(model))
    move(policy)
    assert not torch.allclose(logits(policy), reference_logits(policy), atol=0.01)


def test_margins_work_and_lora_gradients_say_what_they_need(tiny_model: Path) -> None:
    policy = load(tiny_model, "none")
    move(policy)
    prompt = Prompt.of([{"role": "user", "content": "w1 w2"}])
    texts = ["w3 w4 w5", "w6"]
    prompt_ids, ids = encode_responses(policy.tokenizer, prompt, texts)
    a, b = (Response.of(prompt, t, prompt_ids, i, 1) for t, i in zip(texts, ids, strict=True))
    job = FeatureJob(Models(policy=policy), [Question.pair(a, b, 1)], [], {prompt.id: prompt}, 0.5, 0, Silent())
    features = featurize([Margin(MarginFeaturizerConfig())], frozenset({"margin_N"}), job)

    def log_prob(response: Response) -> float:
        whole = torch.tensor([[*response.prompt_token_ids, *response.token_ids]])
        with torch.no_grad():
            log_p = policy.model(input_ids=whole).logits[0, :-1].log_softmax(-1)
        start = len(response.prompt_token_ids)
        return sum(float(log_p[t - 1, whole[0, t]]) for t in range(start, whole.shape[1]))

    now = log_prob(a) - log_prob(b)
    with policy.as_reference():
        expected = 0.5 * (now - (log_prob(a) - log_prob(b)))
    assert features.margin_N is not None
    assert float(features.margin_N[0]) == pytest.approx(expected, abs=1e-5)
    assert abs(expected) > 0.01
    with pytest.raises(ModelError, match=r"`policy\.adapter: lora`"):
        LoraGradients(policy.model, dimension=None, seed=0, max_tokens=100)


def test_the_fingerprint_tells_of_the_configuration_and_of_what_is_trained(tiny_model: Path) -> None:
    policy = load(tiny_model, "lora")
    first, config = policy.fingerprint(), policy.model.config
    config.use_cache, config._name_or_path, config.transformers_version = False, "elsewhere", "9.9.9"
    assert policy.fingerprint() == first
    seen = {first}
    config.rope_parameters["rope_theta"] = 5.0
    seen.add(policy.fingerprint())
    config.rms_norm_eps = 0.1
    seen.add(policy.fingerprint())
    for name, parameter in policy.model.named_parameters():
        if "lora_A" in name:
            parameter.requires_grad_(False)
    seen.add(policy.fingerprint())
    assert len(seen) == 4


def test_the_fingerprint_tells_of_saved_buffers(tiny_model: Path) -> None:
    policy = load(tiny_model, "lora")
    policy.model.get_base_model().model.register_buffer("correction", torch.zeros(3))
    first = policy.fingerprint()
    policy.model.get_base_model().model.correction += 1
    assert policy.fingerprint() != first


@pytest.mark.parametrize("reference", [False, True])
def test_what_is_frozen_stays_frozen_when_the_reference_was_asked(
    tiny_model: Path, tmp_path: Path, reference: bool
) -> None:
    """PEFT makes the whole of an adapter trainable when it is activated again: other gradients would count."""
    policy = load(tiny_model, "lora")
    for name, parameter in policy.model.named_parameters():
        if "lora_A" in name:
            parameter.requires_grad_(False)
    trained = [name for name, p in policy.model.named_parameters() if p.requires_grad]
    if reference:
        policy.save_weights(tmp_path)
        policy.set_reference(tmp_path)
    with policy.as_reference():
        pass
    assert trained == [name for name, p in policy.model.named_parameters() if p.requires_grad]


def test_the_fingerprint_tells_of_the_reference(tiny_model: Path, tmp_path: Path) -> None:
    """Margins depend on it: on its weights, and on a configuration of its own."""
    policy = load(tiny_model, "none")
    first = policy.fingerprint()
    move(policy, seed=1)
    policy.save_weights(tmp_path)
    moved = policy.fingerprint()
    policy.set_reference(tmp_path)
    assert len({first, moved, policy.fingerprint()}) == 3
    policy.set_reference(None)
    assert policy.fingerprint() == moved
    policy.weights.reference_model.config.rope_parameters["rope_theta"] = 5.0  # type: ignore[union-attr]
    assert policy.fingerprint() != moved


def test_the_fingerprint_tells_of_the_padding_token_where_positions_are_numbered_from_it() -> None:
    shape = {"vocab_size": 61, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "pad_token_id": 1}
    config = RobertaConfig(**shape, num_attention_heads=4, max_position_embeddings=32, is_decoder=True)
    first = computed_with(config)
    config.eos_token_id = 5
    assert computed_with(config) == first
    config.pad_token_id = 4
    assert computed_with(config) != first
