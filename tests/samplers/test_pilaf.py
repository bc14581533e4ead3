"""PILAF: the distributions are those of the paper at every prefix, and what is drawn has their frequencies."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from toy import (
    EOS,
    PROMPTS,
    all_responses,
    chi_square_p_value,
    job_for,
    next_token_probabilities,
    response_probabilities,
    tilted_token_probabilities,
    toy_policy,
)

from duelist.models.decoding.local import Decoding, LocalDecoder, ResponseRequest
from duelist.models.decoding.next_token import mix, next_logits
from duelist.models.policy.policy import Policy
from duelist.progress import Silent
from duelist.samplers.pilaf import NOTE, Pilaf, PilafConfig
from duelist.samplers.vanilla import Vanilla, VanillaConfig

BETA = 0.7
BOTH = (BETA, -BETA)


@pytest.fixture(scope="module")
def policy() -> Policy:
    return toy_policy()


@pytest.mark.parametrize("method", ["one_call", "two_calls"])
def test_the_mixture_is_the_formula_at_every_prefix(policy: Policy, method: str) -> None:
    start = policy.tokenizer(PROMPTS[0].as_trl())["input_ids"]
    # Every prefix that goes on is the beginning of a response that does not end; all of these run as one batch.
    rows = torch.tensor([(*start, *r) for r in all_responses() if r[-1] != EOS])
    mixtures = []
    with torch.no_grad(), next_logits(policy, "both", method) as run:  # type: ignore[arg-type]
        for i in range(rows.shape[1]):
            own, reference = run(rows[:, i : i + 1], torch.ones((len(rows), i + 1), dtype=torch.long))
            mixtures.append(
                {b: mix(own, reference, torch.tensor([[1 + b, -b]] * len(rows), dtype=torch.float64)) for b in BOTH}
            )
    furthest = 0.0
    for i, mixed in enumerate(mixtures):
        for beta, logits_BV in mixed.items():
            for row, found in zip(rows.tolist(), np.asarray(torch.softmax(logits_BV, dim=-1)), strict=True):
                prefix = tuple(row[: i + 1])
                expected = tilted_token_probabilities(policy, prefix, beta)
                np.testing.assert_allclose(found, expected, rtol=1e-9)
                furthest = max(furthest, float(abs(expected - next_token_probabilities(policy, prefix)).max()))
    assert furthest > 0.2  # the toy's π± are far from π_θ, so that agreement says something


@pytest.mark.parametrize(("drawn_from", "beta"), [("policy", 0.0), ("plus", BETA), ("minus", -BETA)])
def test_the_frequencies_of_what_is_drawn(policy: Policy, drawn_from: str, beta: float) -> None:
    responses = all_responses()
    how = Decoding(max_new_tokens=3, batch_size=4000, beta=BETA)
    orders = [ResponseRequest(PROMPTS[0], drawn_from)] * 4000  # type: ignore[arg-type]
    drawn = LocalDecoder(policy).draw(orders, how, round=1, seed=5, progress=Silent(), what="")
    index = {r: i for i, r in enumerate(responses)}
    counts = np.bincount([index[r.token_ids] for r in drawn], minlength=len(responses))
    ids = drawn[0].prompt_token_ids
    assert chi_square_p_value(counts, response_probabilities(policy, ids, responses, beta)) > 0.01
    for other in {0.0, BETA, -BETA} - {beta}:  # and the test can tell them apart
        assert chi_square_p_value(counts, response_probabilities(policy, ids, responses, other)) < 1e-6


def test_half_of_the_sets_are_mixed_and_stay_together(policy: Policy) -> None:
    draws = Pilaf(PilafConfig(pairs_per_prompt=200, max_new_tokens=8, batch_size=2000)).sample(job_for(policy))
    by_id = {r.id: r for r in draws.responses}
    assert len(draws.sets) == 200 * len(PROMPTS) and draws.notes == ()
    assert len(by_id) == len(draws.responses)
    assert [r.prompt_id for r in draws.responses] == sorted(
        (r.prompt_id for r in draws.responses), key=[p.id for p in PROMPTS].index
    )
    kinds = {s.drawn_from for s in draws.sets}
    assert kinds == {("policy", "policy"), ("plus", "minus")}
    assert all(by_id[s.a].prompt_id == by_id[s.b].prompt_id and s.weight == 1 for s in draws.sets)


def test_both_halves_have_their_distributions(policy: Policy) -> None:
    """y_a is drawn half from π⁺ and half from π_θ, y_b half from π⁻ and half from π_θ."""
    config = PilafConfig(pairs_per_prompt=4000, max_new_tokens=2, batch_size=4000)
    draws = Pilaf(config).sample(job_for(policy, beta=BETA, prompts=PROMPTS[:1]))
    tokens = {r.id: r.token_ids for r in draws.responses}
    responses, ids = all_responses(2), draws.responses[0].prompt_token_ids
    index = {r: i for i, r in enumerate(responses)}
    own = response_probabilities(policy, ids, responses, 0.0)
    for side, beta in (("a", BETA), ("b", -BETA)):
        counts = np.bincount([index[tokens[getattr(s, side)]] for s in draws.sets], minlength=len(responses))
        assert chi_square_p_value(counts, own + response_probabilities(policy, ids, responses, beta)) > 0.01
        assert chi_square_p_value(counts, own + response_probabilities(policy, ids, responses, -beta)) < 1e-6


def test_while_the_policy_is_its_reference_pilaf_is_vanilla_and_says_so() -> None:
    job = job_for(toy_policy(trained=False))
    pilaf = Pilaf(PilafConfig(pairs_per_prompt=3, max_new_tokens=6)).sample(job)
    vanilla = Vanilla(VanillaConfig(responses_per_prompt=6, max_new_tokens=6)).sample(job)
    assert pilaf.notes == (NOTE,)
    assert replace(pilaf, notes=()) == vanilla


def test_the_same_seed_gives_the_same_sets(policy: Policy) -> None:
    sampler = Pilaf(PilafConfig(pairs_per_prompt=4, max_new_tokens=5))
    first, again, other = (sampler.sample(job_for(policy, seed=s)) for s in (1, 1, 2))
    assert first == again != other
