"""T-PILAF against the theory: equation 15 by enumeration, the loss weights, the gradient theorem, the cost of N."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import final

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from toy import (
    EOS,
    LENGTH,
    PROMPTS,
    VOCABULARY,
    all_responses,
    chi_square_p_value,
    job_for,
    response_probabilities,
    toy_policy,
)
from transformers import LlamaConfig, LlamaForSequenceClassification

from duelist.engines.base import Batch, Engine, Held, Result, Source
from duelist.engines.local import Local
from duelist.models.policy.policy import Policy
from duelist.models.trained import Models
from duelist.progress import Progress
from duelist.samplers.t_pilaf import (
    NO_REWARD,
    NOTE,
    Tilted,
    TPilaf,
    TPilafConfig,
    every_response,
    loss_weights,
    number_of_responses,
    tilt,
)

BETA = 0.8


@pytest.fixture(scope="module")
def policy() -> Policy:
    return toy_policy()


def sigma_prime(z: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(1 / ((1 + np.exp(-z)) * (1 + np.exp(z))))  # eq. 16


def pair_distribution(t: Tilted) -> NDArray[np.float64]:
    """μ(a, b) as the scheme draws it, eq. 22."""
    plain, mixed = np.outer(t.policy_R, t.policy_R), np.outer(t.plus_R, t.minus_R)
    return np.asarray((1 - t.p_mixed) * plain + t.p_mixed * mixed)


def probabilities_and_rewards(policy: Policy, length: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    ids = policy.tokenizer(PROMPTS[0].as_trl())["input_ids"]
    own = response_probabilities(policy, ids, all_responses(length), 0.0)
    reference = response_probabilities(policy, ids, all_responses(length), 0.0, reference=True)
    return own, BETA * np.log(own / reference)


def test_all_responses_are_listed_once() -> None:
    listed = list(every_response(VOCABULARY, frozenset({EOS}), LENGTH))
    assert sorted(listed) == all_responses() and len(listed) == 85
    assert number_of_responses(VOCABULARY, frozenset({EOS}), LENGTH) == 85
    two = list(every_response(VOCABULARY, frozenset({0, 3}), 2))
    assert len(two) == len(set(two)) == number_of_responses(VOCABULARY, frozenset({0, 3}), 2) == 2 + 3 * 5


def test_the_pair_distribution_is_equation_15(policy: Policy) -> None:
    own, reward = probabilities_and_rewards(policy, LENGTH)
    assert own.sum() == pytest.approx(1, abs=1e-12) and np.ptp(reward) > 2
    mu = pair_distribution(tilt(np.log(own), reward))
    ratio = (mu + mu.T) / 2 / np.outer(own, own)
    zz = (own * np.exp(reward)).sum() * (own * np.exp(-reward)).sum()
    expected = 1 / (2 * (1 + zz) * sigma_prime(reward[:, None] - reward[None, :]))
    np.testing.assert_allclose(ratio, expected, rtol=1e-6)


def test_the_sets_that_are_drawn_have_that_distribution(policy: Policy) -> None:
    config = TPilafConfig(pairs_per_prompt=6000, max_new_tokens=1)
    draws = TPilaf(config).sample(job_for(policy, beta=BETA, prompts=PROMPTS[:1]))
    tokens = {r.id: r.token_ids[0] for r in draws.responses}
    counts = np.zeros((VOCABULARY, VOCABULARY), dtype=np.int64)
    for s in draws.sets:
        counts[tokens[s.a], tokens[s.b]] += 1
    own, reward = probabilities_and_rewards(policy, 1)
    zz = (own * np.exp(reward)).sum() * (own * np.exp(-reward)).sum()
    expected = np.outer(own, own) * (1 + np.exp(reward[:, None] - reward[None, :])) / (1 + zz)  # before symmetrising
    assert chi_square_p_value(counts.ravel(), expected.ravel()) > 0.01
    assert chi_square_p_value(counts.ravel(), np.outer(own, own).ravel()) < 1e-6
    assert [s.weight for s in draws.sets] == pytest.approx([1.0] * 6000)  # one prompt: its weight is the mean


def test_the_weights_are_equation_7(policy: Policy) -> None:
    draws = TPilaf(TPilafConfig(max_new_tokens=2)).sample(job_for(policy, beta=BETA))
    zz = []
    for prompt in PROMPTS:
        ids = policy.tokenizer(prompt.as_trl())["input_ids"]
        own, reference = (response_probabilities(policy, ids, all_responses(2), 0.0, r) for r in (False, True))
        reward = BETA * np.log(own / reference)
        zz.append((own * np.exp(reward)).sum() * (own * np.exp(-reward)).sum())
    expected = (1 + np.array(zz)) / (1 + np.mean(zz))
    assert np.ptp(expected) > 0.01
    np.testing.assert_allclose([s.weight for s in draws.sets], expected, rtol=1e-6)
    np.testing.assert_allclose(loss_weights(np.array([0.0, 900.0])), [0, 2], atol=1e-12)  # without overflow


def test_resampling_comes_nearer_to_the_exact_scheme_with_every_draw() -> None:
    """The total variation between π⁺ and what resampling N draws gives on average, over 4,000 repetitions."""
    rng = np.random.default_rng(0)
    log_prob, reward = np.log(rng.dirichlet(np.full(12, 0.7))), rng.normal(scale=1.5, size=12)
    exact = tilt(log_prob, reward)
    distances = []
    for n in (2, 8, 32, 128):
        mean = np.zeros(12)
        for _ in range(4000):
            drawn = rng.choice(12, size=n, p=exact.policy_R)
            resampled = tilt(np.full(n, -np.log(n)), reward[drawn])
            np.add.at(mean, drawn, resampled.plus_R / 4000)
        distances.append(0.5 * abs(mean - exact.plus_R).sum())
    assert all(later < earlier / 2 for earlier, later in pairwise(distances)), distances
    assert distances[0] > 0.1 and distances[-1] < 0.01


def test_resampling_draws_weighted_sets(policy: Policy) -> None:
    config = TPilafConfig(max_responses=0, n=16, max_new_tokens=3, pairs_per_prompt=40)
    draws = TPilaf(config).sample(job_for(policy, beta=BETA))
    assert len(draws.sets) == 40 * len(PROMPTS) and draws.notes == ()
    assert np.mean([s.weight for s in draws.sets]) == pytest.approx(1)
    assert len({s.weight for s in draws.sets}) == len(PROMPTS)
    assert {s.drawn_from for s in draws.sets} <= {("policy", "policy"), ("plus", "minus")}
    assert TPilaf(config).sample(job_for(policy, beta=BETA)) == draws


@pytest.mark.parametrize("max_responses", [0, 100])
def test_while_the_policy_is_its_reference_it_says_so(max_responses: int) -> None:
    config = TPilafConfig(max_responses=max_responses, n=4, max_new_tokens=3)
    draws = TPilaf(config).sample(job_for(toy_policy(trained=False)))
    assert draws.notes == (NOTE,) and [s.weight for s in draws.sets] == pytest.approx([1.0] * len(PROMPTS))


def test_theorem_4_1_the_gradient_of_the_loss_is_that_of_the_objective() -> None:
    """∇L = −(β/Z_θ) ∇J + second order, for T-PILAF with its weights and not for vanilla pairs; 6 prompts, 9 responses,
    θ away from the reference, r* near r_θ."""
    rng = np.random.default_rng(0)
    beta, prompts, responses = 1.0, 6, 9
    reference_XR = torch.tensor(rng.normal(scale=2, size=(prompts, responses))).log_softmax(-1)
    theta_XR = torch.tensor(rng.normal(size=(prompts, responses)), requires_grad=True)
    log_policy_XR = theta_XR.log_softmax(-1)
    reward_XR = beta * (log_policy_XR - reference_XR)
    true_XR = reward_XR.detach() + 0.02 * torch.tensor(rng.normal(size=(prompts, responses)))

    kl = (log_policy_XR.exp() * (log_policy_XR - reference_XR)).sum(-1)
    objective = ((log_policy_XR.exp() * true_XR).sum(-1) - beta * kl).mean()
    (ascent,) = torch.autograd.grad(objective, theta_XR, retain_graph=True)

    def loss_gradient(mu_XRR: NDArray[np.float64], weight_X: NDArray[np.float64]) -> torch.Tensor:
        margin = reward_XR[:, :, None] - reward_XR[:, None, :]
        prefers_a = torch.sigmoid(true_XR[:, :, None] - true_XR[:, None, :])
        log_loss = -(prefers_a * margin.sigmoid().log() + (1 - prefers_a) * (-margin).sigmoid().log())
        weighted = torch.tensor(weight_X)[:, None, None] * torch.tensor(mu_XRR) * log_loss
        (gradient,) = torch.autograd.grad(weighted.sum((1, 2)).mean(), theta_XR, retain_graph=True)
        return gradient

    def cosine(gradient: torch.Tensor) -> float:
        return float(torch.nn.functional.cosine_similarity(gradient.flatten(), -ascent.flatten(), dim=0))

    tilted = [tilt(p, r) for p, r in zip(log_policy_XR.detach().numpy(), reward_XR.detach().numpy(), strict=True)]
    log_zz = np.array([t.log_zz for t in tilted])
    mu = np.array([pair_distribution(t) for t in tilted])
    vanilla = np.array([np.outer(t.policy_R, t.policy_R) for t in tilted])
    with_theory = loss_gradient(mu, loss_weights(log_zz))
    z_theta = 1 + np.exp(log_zz).mean()
    error = (with_theory + beta / z_theta * ascent).norm() / (beta / z_theta * ascent).norm()
    assert cosine(with_theory) > 0.999 and error < 0.03
    assert cosine(loss_gradient(mu, np.ones(prompts))) < cosine(with_theory)  # the weights matter
    assert cosine(loss_gradient(vanilla, np.ones(prompts))) < 0.95


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reward model of the toy's vocabulary, with rewards of about ± 1."""
    folder = tmp_path_factory.mktemp("classifier")
    shape = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    with torch.random.fork_rng():
        torch.manual_seed(3)
        config = LlamaConfig(vocab_size=VOCABULARY, num_labels=1, pad_token_id=EOS, initializer_range=0.5, **shape)
        LlamaForSequenceClassification(config).save_pretrained(folder)
    return folder


def explicit_rewards(folder: Path, prompt_ids: list[int], responses: list[tuple[int, ...]]) -> NDArray[np.float64]:
    """The classifier's output after each response's last token, one plain forward pass each.

    Where the end is the padding token, as here, a classifier is trained and read before it.
    """
    model = LlamaForSequenceClassification.from_pretrained(folder).eval()
    model.config.pad_token_id = None  # it then reads the last position, whatever stands there
    found = []
    for tokens in responses:
        ids = [*prompt_ids, *(t for t in tokens if t != EOS)]
        with torch.no_grad():
            found.append(float(model(input_ids=torch.tensor([ids])).logits[0, 0]))
    return np.array(found)


def test_with_an_explicit_reward_the_sets_are_those_of_equation_62(policy: Policy, classifier: Path) -> None:
    config = TPilafConfig(pairs_per_prompt=6000, max_new_tokens=1, reward="explicit")
    job = job_for(policy, beta=BETA, prompts=PROMPTS[:1])
    draws = TPilaf(config).sample(replace(job, models=Models(policy, classifier=classifier)))
    tokens = {r.id: r.token_ids[0] for r in draws.responses}
    counts = np.zeros((VOCABULARY, VOCABULARY), dtype=np.int64)
    for s in draws.sets:
        counts[tokens[s.a], tokens[s.b]] += 1
    ids = policy.tokenizer(PROMPTS[0].as_trl())["input_ids"]
    own, implicit = probabilities_and_rewards(policy, 1)
    reward = explicit_rewards(classifier, ids, all_responses(1))
    assert np.ptp(reward) > 0.5 and abs(np.corrcoef(reward, implicit)[0, 1]) < 0.9
    zz = (own * np.exp(reward)).sum() * (own * np.exp(-reward)).sum()
    expected = np.outer(own, own) * (1 + np.exp(reward[:, None] - reward[None, :])) / (1 + zz)
    assert chi_square_p_value(counts.ravel(), expected.ravel()) > 0.01
    other = (own * np.exp(implicit)).sum() * (own * np.exp(-implicit)).sum()
    wrong = np.outer(own, own) * (1 + np.exp(implicit[:, None] - implicit[None, :])) / (1 + other)
    assert chi_square_p_value(counts.ravel(), wrong.ravel()) < 1e-6


def test_the_weights_of_an_explicit_reward_are_equation_7_and_without_one_all_is_vanilla(
    policy: Policy, classifier: Path
) -> None:
    sampler, job = TPilaf(TPilafConfig(max_new_tokens=2, reward="explicit")), job_for(policy, beta=BETA)
    draws = sampler.sample(replace(job, models=Models(policy, classifier=classifier)))
    zz = []
    for prompt in PROMPTS:
        ids = policy.tokenizer(prompt.as_trl())["input_ids"]
        own = response_probabilities(policy, ids, all_responses(2), 0.0)
        reward = explicit_rewards(classifier, ids, all_responses(2))
        zz.append((own * np.exp(reward)).sum() * (own * np.exp(-reward)).sum())
    expected = (1 + np.array(zz)) / (1 + np.mean(zz))
    assert np.ptp(expected) > 0.01
    np.testing.assert_allclose([s.weight for s in draws.sets], expected, rtol=1e-5)
    first = sampler.sample(job)  # no label has trained a reward model
    assert first.notes == (NO_REWARD,) and [s.weight for s in first.sets] == pytest.approx([1.0] * len(PROMPTS))


@final
@dataclass
class Noting(Engine):
    """Computes as `Local` does, and notes how many batches each kind of task had."""

    given: dict[str, int] = field(default_factory=dict)

    def map(
        self, source: Source[Held], task: Callable[[Held, Batch], Result], batches: Sequence[Batch], progress: Progress
    ) -> Iterator[Result]:
        name = type(task).__name__
        self.given[name] = self.given.get(name, 0) + len(batches)
        return Local().map(source, task, batches, progress)


def test_the_engine_computes_log_probabilities_unless_an_explicit_reward_of_draws_needs_none(
    policy: Policy, classifier: Path
) -> None:
    job = job_for(policy, beta=BETA)
    for reward, exact, batches in (
        ("implicit", True, 2),
        ("implicit", False, 2),
        ("explicit", True, 2),
        ("explicit", False, 0),
    ):
        engine = Noting()
        config = TPilafConfig(max_new_tokens=1, n=8, reward=reward, max_responses=100 if exact else 1)
        draws = TPilaf(config).sample(replace(job, models=Models(policy, classifier=classifier, engine=engine)))
        assert len(draws.sets) == len(PROMPTS) and all(s.weight > 0 for s in draws.sets)
        assert engine.given.get("LogProbs") == batches
        assert ("DrawTokens" in engine.given) != exact
