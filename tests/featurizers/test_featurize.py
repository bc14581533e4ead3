"""What featurizers fill in, against plain computations of the test's own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from duelist.errors import DuelistError
from duelist.featurizers.base import FeatureJob, Featurizer, distinct_responses, featurize
from duelist.featurizers.gradient import Gradient, GradientConfig, pair_gradients
from duelist.featurizers.margin import Margin, MarginFeaturizerConfig
from duelist.models.gradients.lora_gradients import LoraGradients
from duelist.models.policy import logprobs
from duelist.models.policy.config import PolicyConfig
from duelist.models.policy.policy import Policy
from duelist.models.policy.response_batches import tokenized
from duelist.models.policy.tokenization import encode_responses
from duelist.models.trained import Models
from duelist.progress import Silent
from duelist.types import Prompt, Question, Response

FEATURIZERS = [Margin(MarginFeaturizerConfig()), Gradient(GradientConfig(dimension=None))]


@pytest.fixture
def policy(tiny_model: Path) -> Policy:
    lora = {"r": 2, "lora_alpha": 4, "target_modules": ["q_proj", "v_proj"]}
    policy = Policy.load(PolicyConfig(model=str(tiny_model), dtype="float64", lora=lora, device="cpu"), seed=1)
    for name, parameter in policy.model.named_parameters():
        if "lora_B" in name:
            parameter.data = (parameter.data.flatten() + 0.3).cumsum(0).sin().view_as(parameter)
    return policy


@pytest.fixture
def pairs(policy: Policy) -> list[Question]:
    found = []
    for i in range(5):
        prompt = Prompt.of([{"role": "user", "content": f"w{i} w{i + 1}"}])
        texts = [f"w{i} w3 w4", f"w9 w{i + 2}", "w5"]
        prompt_ids, ids = encode_responses(policy.tokenizer, prompt, texts)
        a, b, c = (Response.of(prompt, t, prompt_ids, token_ids, 1) for t, token_ids in zip(texts, ids, strict=True))
        found += [Question.pair(a, b, 1), Question.pair(a, c, 1), Question.pair(b, c, 1)]
    return found


def plain_log_prob(policy: Policy, response: Response) -> float:
    ids = torch.tensor([[*response.prompt_token_ids, *response.token_ids]])
    with torch.no_grad():
        log_p = policy.model(input_ids=ids).logits[0, :-1].log_softmax(-1)
    start = len(response.prompt_token_ids)
    return float(sum(log_p[t - 1, ids[0, t]] for t in range(start, ids.shape[1])))


def run(policy: Policy, pairs: list[Question], past: list[Question], needs: set[str], featurizers: Any = None) -> Any:
    job = FeatureJob(Models(policy), pairs, past, prompts={}, beta=0.5, seed=0, progress=Silent())
    return featurize(featurizers or FEATURIZERS, frozenset(needs), job)


def test_margins_equal_a_plain_computation(policy: Policy, pairs: list[Question]) -> None:
    margin_N = run(policy, pairs, [], {"margin_N"}).margin_N
    expected = []
    for pair in pairs:
        now = plain_log_prob(policy, pair.a) - plain_log_prob(policy, pair.b)
        with policy.model.disable_adapter():
            reference = plain_log_prob(policy, pair.a) - plain_log_prob(policy, pair.b)
        expected.append(0.5 * (now - reference))
    np.testing.assert_allclose(margin_N, expected, atol=1e-10)
    assert np.abs(expected).max() > 1e-3


def test_margins_are_zero_while_the_policy_is_the_reference(tiny_model: Path, pairs: list[Question]) -> None:
    fresh = Policy.load(PolicyConfig(model=str(tiny_model), lora={"r": 2, "target_modules": "all-linear"}), seed=1)
    assert (run(fresh, pairs, [], {"margin_N"}).margin_N == 0).all()


def test_margins_come_with_the_gradients_in_the_same_pass(
    policy: Policy, pairs: list[Question], monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = run(policy, pairs, [], {"margin_N"}).margin_N
    calls: list[int] = []
    plain = logprobs.sequence_log_probs

    def counting(model: Any, sequences: Any, **more: Any) -> Any:
        calls.append(len(sequences))
        return plain(model, sequences, **more)

    monkeypatch.setattr(logprobs, "sequence_log_probs", counting)
    both = run(policy, pairs, [], {"margin_N", "gradient_ND"})
    np.testing.assert_allclose(both.margin_N, alone, atol=1e-10)
    assert calls == [15]  # the reference's pass over the 15 distinct responses, and no other


def test_past_pairs_are_featurised_with_the_same_model(policy: Policy, pairs: list[Question]) -> None:
    features = run(policy, pairs[:9], pairs[9:], {"gradient_ND", "past"})
    everything = run(policy, pairs, [], {"gradient_ND"}).gradient_ND
    np.testing.assert_allclose(features.gradient_ND, everything[:9], atol=1e-10)
    np.testing.assert_allclose(features.past.gradient_ND, everything[9:], atol=1e-10)
    assert features.past.pair_id_N.tolist() == [p.id for p in pairs[9:]]
    assert run(policy, pairs[:9], pairs[9:], {"gradient_ND"}).past is None


class Nothing(Featurizer):
    """Provides no field, and must not be asked for one."""

    @property
    def provides(self) -> tuple[str, ...]:
        return ()

    def compute(self, *_: Any) -> Mapping[str, Any]:
        raise AssertionError("asked without need")


def test_nothing_is_computed_that_is_not_needed(policy: Policy, pairs: list[Question]) -> None:
    features = run(policy, pairs, [], set(), [Nothing()])
    assert features.margin_N is None and features.gradient_ND is None
    with pytest.raises(DuelistError, match="margin_N"):
        run(policy, pairs, [], {"margin_N"}, [Nothing()])


def test_normalisation() -> None:
    rng = np.random.default_rng(0)
    gradient_RD = rng.normal(size=(6, 4)) * rng.uniform(0.1, 9, size=(6, 1))
    gradient_RD[5] = 0  # a response without any gradient stays without
    index_N2 = np.array([(0, 1), (2, 3), (4, 5)])
    unit = gradient_RD[:5] / np.linalg.norm(gradient_RD[:5], axis=1, keepdims=True)
    by_response = pair_gradients(gradient_RD, index_N2, 0.3, "response")
    np.testing.assert_allclose(by_response, [unit[0] - unit[1], unit[2] - unit[3], unit[4]])
    difference = gradient_RD[index_N2[:, 0]] - gradient_RD[index_N2[:, 1]]
    by_pair = pair_gradients(gradient_RD, index_N2, 0.3, "pair")
    np.testing.assert_allclose(by_pair, difference / np.linalg.norm(difference, axis=1, keepdims=True))
    np.testing.assert_allclose(pair_gradients(gradient_RD, index_N2, 0.3, "none"), 0.3 * difference)


def test_gradients_per_token_are_the_mean_over_a_responses_tokens(policy: Policy, pairs: list[Question]) -> None:
    per_token = run(policy, pairs, [], {"gradient_ND"}, [Gradient(GradientConfig(dimension=None, normalize="token"))])
    responses, index_N2 = distinct_responses(pairs)
    _, gradient_RD = LoraGradients(policy.model, dimension=None, seed=0, max_tokens=8192)(tokenized(responses))
    mean_RD = gradient_RD / np.array([[len(r.token_ids)] for r in responses])
    expected = 0.5 * (mean_RD[index_N2[:, 0]] - mean_RD[index_N2[:, 1]])
    np.testing.assert_allclose(per_token.gradient_ND, expected, atol=1e-12)
    assert len({len(r.token_ids) for r in responses}) > 1
    with pytest.raises(DuelistError, match="lengths"):
        pair_gradients(gradient_RD, index_N2, 0.5, "token")
