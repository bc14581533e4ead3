"""Vanilla, best-of-N and hybrid sampling, and what every sampler promises."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from scipy import stats
from toy import EOS, PROMPTS, all_responses, chi_square_p_value, job_for, response_probabilities, toy_policy

from duelist.models.policy.implicit_reward import log_ratios
from duelist.models.policy.policy import Policy
from duelist.pairing.as_drawn import AsDrawn
from duelist.progress import Silent
from duelist.recipe.component import Component
from duelist.samplers import best_of_n, hybrid
from duelist.samplers.base import Sampler
from duelist.samplers.best_of_n import BestOfN, BestOfNConfig
from duelist.samplers.hybrid import Hybrid, HybridConfig
from duelist.samplers.vanilla import Vanilla, VanillaConfig
from duelist.types import GivenResponses, Prompt

SAMPLERS: list[dict[str, Any]] = [
    {"name": "vanilla", "responses_per_prompt": 5, "max_new_tokens": 4},
    {"name": "pilaf", "pairs_per_prompt": 3, "max_new_tokens": 4},
    {"name": "t_pilaf", "pairs_per_prompt": 3, "max_new_tokens": 3},
    {"name": "t_pilaf", "pairs_per_prompt": 3, "max_new_tokens": 3, "max_responses": 0, "n": 5},
    {"name": "best_of_n", "pairs_per_prompt": 3, "n": 4, "max_new_tokens": 4},
    {"name": "hybrid", "pairs_per_prompt": 3, "max_new_tokens": 4},
]


@pytest.fixture(scope="module")
def policy() -> Policy:
    return toy_policy()


@pytest.mark.parametrize("component", SAMPLERS, ids=lambda c: f"{c['name']}-{len(c)}")
@pytest.mark.parametrize("trained", [False, True])
def test_every_sampler_keeps_the_contract(component: dict[str, Any], trained: bool) -> None:
    policy = toy_policy(trained)
    sampler = Component.of(Sampler, component).build()
    draws = sampler.sample(job_for(policy))
    ids = [r.id for r in draws.responses]
    assert len(set(ids)) == len(ids) and all(r.round == 1 for r in draws.responses)
    assert {r.prompt_id for r in draws.responses} == {p.id for p in PROMPTS}
    assert draws.drawn_from.keys() == set(ids)
    firsts: dict[str, str] = {}
    for s in draws.sets:
        assert s.drawn_from is not None
        for i, origin in zip((s.a, s.b), s.drawn_from, strict=True):
            firsts.setdefault(i, origin)
    assert {i: draws.drawn_from[i] for i in firsts} == firsts
    prompt_of = {r.id: r.prompt_id for r in draws.responses}
    for s in draws.sets:
        assert prompt_of[s.a] == prompt_of[s.b] and s.weight > 0
    for prompt in PROMPTS:
        own = [s for s in draws.sets if prompt_of[s.a] == prompt.id]
        assert len(own) == sampler.counts.sets  # equal draws included
        assert list(prompt_of.values()).count(prompt.id) <= sampler.counts.responses <= sampler.counts.decoded
    assert bool(draws.notes) == (not trained and component["name"] != "vanilla")
    assert sampler.sample(job_for(policy)) == draws
    assert sampler.sample(job_for(policy, seed=1)) != draws
    assert sampler.sample(job_for(policy, prompts=[])).responses == ()


def test_vanilla_sets_are_neighbours(policy: Policy) -> None:
    draws = Vanilla(VanillaConfig(responses_per_prompt=3, max_new_tokens=12, temperature=9)).sample(
        job_for(policy, prompts=PROMPTS[:1])
    )
    ids = [r.id for r in draws.responses]
    assert len(ids) == 3  # the third has no partner
    assert [(s.a, s.b) for s in draws.sets] == [(ids[0], ids[1])]


@pytest.mark.parametrize("name", ["best_of_n", "pilaf", "t_pilaf", "hybrid"])
def test_the_sides_of_a_pair_do_not_say_how_it_was_drawn(policy: Policy, name: str) -> None:
    """Best and worst, plus and minus, policy and reference: each is `a` in about half of the pairs."""
    prompts = [Prompt.of(" ".join(words)) for k in (1, 2, 3) for words in product("abcd", repeat=k)]
    component = {"name": name, "pairs_per_prompt": 4, "max_new_tokens": 6}
    draws = Component.of(Sampler, component).build().sample(job_for(policy, prompts=prompts))
    pairs = AsDrawn().pairs(draws, GivenResponses({}, {}), 1)
    origins = {frozenset((s.a, s.b)): dict(zip((s.a, s.b), s.drawn_from or (), strict=True)) for s in draws.sets[::-1]}
    drawn = [p.drawn_from or () for p in pairs]
    assert all(
        dict(zip((p.a.id, p.b.id), both, strict=True)) == origins[frozenset((p.a.id, p.b.id))]
        for p, both in zip(pairs, drawn, strict=True)
    )
    ratio_N2 = log_ratios(policy, [r for p in pairs for r in (p.a, p.b)], 16384, Silent()).reshape(-1, 2)
    first = {
        "best_of_n": ratio_N2[:, 0] > ratio_N2[:, 1],
        "hybrid": [both[0] == "policy" for both in drawn],
    }.get(name, [both[0] == "plus" for both in drawn if "plus" in both])
    low, high = stats.binom.interval(1 - 1e-6, len(first), 0.5)
    assert len(first) >= 60 and low <= sum(first) <= high


def test_best_of_n_keeps_the_extremes_of_the_implicit_reward(policy: Policy) -> None:
    n, beta = 6, 0.5
    config = {"max_new_tokens": 3, "temperature": 1.3}
    draws = BestOfN(BestOfNConfig(n=n, pairs_per_prompt=2, **config)).sample(job_for(policy, beta))
    # Vanilla sampling with the same seed draws the same responses, in the same order: it keeps the N that were dropped.
    every = Vanilla(VanillaConfig(responses_per_prompt=2 * n, **config)).sample(job_for(policy, beta))
    tokens = {r.id: r.token_ids for r in (*draws.responses, *every.responses)}
    pairs = [i for s in every.sets for i in (s.a, s.b)]
    for k, (prompt, s) in enumerate(zip(np.repeat(np.arange(3), 2), draws.sets, strict=True)):
        ids = tuple(policy.tokenizer(PROMPTS[prompt].as_trl())["input_ids"])
        group = [tokens[i] for i in pairs[k * n : (k + 1) * n]]
        own, reference = (response_probabilities(policy, ids, group, 0.0, reference=r) for r in (False, True))
        reward = beta * np.log(own / reference)
        assert tokens[s.a] == group[int(reward.argmax())] and tokens[s.b] == group[int(reward.argmin())]


def test_best_of_n_gives_two_draws_while_all_rewards_are_zero() -> None:
    sampler = BestOfN(BestOfNConfig(n=4, max_new_tokens=10))
    draws = sampler.sample(job_for(toy_policy(trained=False)))
    assert draws.notes == (best_of_n.NOTE,)
    assert all(s.a != s.b for s in draws.sets)


def test_hybrid_draws_one_from_each(policy: Policy) -> None:
    config = HybridConfig(pairs_per_prompt=3000, max_new_tokens=2, batch_size=3000)
    draws = Hybrid(config).sample(job_for(policy, prompts=PROMPTS[:1]))
    responses = all_responses(2)
    index = {r: i for i, r in enumerate(responses)}
    tokens = {r.id: r.token_ids for r in draws.responses}
    ids = draws.responses[0].prompt_token_ids
    # Each response was drawn from both; a set says from which it was for this set.
    assert {s.drawn_from for s in draws.sets} == {("policy", "reference")}
    for side, reference in (("a", False), ("b", True)):
        counts = np.bincount([index[tokens[getattr(s, side)]] for s in draws.sets], minlength=len(responses))
        same, other = (
            response_probabilities(policy, ids, responses, 0.0, reference=r) for r in (reference, not reference)
        )
        assert chi_square_p_value(counts, same) > 0.01
        assert chi_square_p_value(counts, other) < 1e-6
    fresh = Hybrid(HybridConfig(max_new_tokens=3)).sample(job_for(toy_policy(trained=False)))
    assert fresh.notes == (hybrid.NOTE,)


def test_every_sampler_that_decodes_hands_its_settings_on(policy: Policy) -> None:
    """Top-k of 2 at a high temperature, where everything else would be drawn as well; and greedily, one response."""
    for name in ("vanilla", "pilaf", "best_of_n", "hybrid"):
        many = {"responses_per_prompt": 40} if name == "vanilla" else {"pairs_per_prompt": 20}
        component = {"name": name, "max_new_tokens": 1, "temperature": 50.0, **many}
        first = {}
        for setting in ({}, {"top_k": 2}, {"top_k": 1}, {"temperature": 0}):
            sampler = Component.of(Sampler, {**component, **setting}).build()
            drawn = sampler.sample(job_for(policy, prompts=PROMPTS[:1])).responses
            first[str(setting)] = {r.token_ids[0] for r in drawn}
        everything, two, one, greedy = first.values()
        assert len(everything) >= 3 and one == greedy
        # The policy, the reference and the mixtures each have two tokens, or one.
        assert len(two) == 2 if name in ("vanilla", "best_of_n") else len(two) < len(everything)
        assert len(greedy) == 1 if name in ("vanilla", "best_of_n") else len(greedy) <= 3


def test_temperature_and_nucleus_apply_after_mixing(policy: Policy) -> None:
    """At a tiny temperature, and in a tiny nucleus, PILAF's draws are the greedy ones of the mixture."""
    from duelist.models.decoding.local import Decoding, LocalDecoder, ResponseRequest
    from duelist.progress import Silent

    orders = [ResponseRequest(p, kind) for p in PROMPTS for kind in ("plus", "minus") for _ in range(5)]  # type: ignore[arg-type]
    drawn = [
        [r.token_ids for r in LocalDecoder(policy).draw(orders, how, round=1, seed=0, progress=Silent(), what="")]
        for how in (
            Decoding(6, temperature=0.0, beta=0.9),
            Decoding(6, temperature=1e-4, beta=0.9),
            Decoding(6, top_p=1e-6, beta=0.9),
        )
    ]
    assert drawn[0] == drawn[1] == drawn[2]
    assert len(set(drawn[0])) > 2 and any(EOS in t for t in drawn[0])
