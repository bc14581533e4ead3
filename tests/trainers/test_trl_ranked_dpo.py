"""Questions of k responses through a real TRL trainer: equal to a plain loop in float64, and to TRL's loss at k = 2."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise, permutations
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from trained_policies import BETA, loss_and_logs, moved, one_batch, responses_to, state
from transformers import AutoModelForCausalLM
from trl.trainer.dpo_trainer import DataCollatorForPreference

from duelist.answers import REST
from duelist.errors import DataError, RecipeError
from duelist.models.policy.logprobs import sequence_log_probs
from duelist.models.policy.policy import Policy
from duelist.models.policy.response_batches import tokenized
from duelist.progress import Silent
from duelist.settings.context import Context
from duelist.trainers.decisions import ScaledDecisions, ranked_sets
from duelist.trainers.dpo import DPO
from duelist.trainers.dpo_settings import DPOTrainerConfig
from duelist.trainers.persistent_optimizer import PersistentOptimizer
from duelist.trainers.ranking_losses import RankedObjective
from duelist.trainers.rlhf import RLHF
from duelist.trainers.rlhf_settings import RLHFConfig
from duelist.trainers.trl_dpo import dpo_trainer, tokenized_dataset
from duelist.trainers.trl_ranked_dpo import QuestionCollator, questions_dataset, ranked_dpo_trainer
from duelist.types import Decision, Preference, Prompt, RankedSet, Response
from tiers import first
from tiny_models import plain_log_prob, tiny_model, with_lora

SCALES = (1.0, 0.6, 0.3)
SGD = {
    "optim": "sgd", "learning_rate": 0.1, "max_grad_norm": 0.0, "max_steps": 1, "lr_scheduler_type": "constant",
    "per_device_train_batch_size": 16,
}  # fmt: skip


@pytest.fixture
def policy(tiny_model: Path) -> Policy:
    return moved(tiny_model)


@pytest.fixture
def exact(policy: Policy) -> Policy:
    """The same in float64."""
    policy.model.double()
    return policy


def responses(policy: Policy, i: int, k: int) -> tuple[Prompt, tuple[Response, ...]]:
    prompt = Prompt.of([{"role": "user", "content": " ".join(f"w{i + j}" for j in range(1 + i % 3))}])
    texts = [" ".join(f"w{(5 * i + 7 * j + x * x) % 40}" for x in range(1 + (i + j) % 4)) for j in range(k)]
    return prompt, responses_to(policy, prompt, texts)


def answered(policy: Policy, i: int, asks: Any, ranks: tuple[int, ...], **changes: Any) -> RankedSet:
    prompt, found = responses(policy, i, len(ranks))
    drawn = tuple("reference" if j % 2 else "policy" for j in range(len(ranks)))
    return replace(RankedSet(prompt, found, ranks, asks, f"question{i}", "someone", 1.0, drawn), **changes)


def decided(policy: Policy, i: int, share: float = 1.0) -> Preference:
    prompt, (chosen, rejected) = responses(policy, i, 2)
    return Preference(prompt, chosen, rejected, f"pair{i}", "someone", share, 1.0, ("policy", "reference"))


@pytest.fixture
def mixed(policy: Policy) -> list[Decision]:
    """Every kind of answer, to two to five responses."""
    return [
        answered(policy, 0, "ranking", (2, 0, 1)),
        decided(policy, 1),
        answered(policy, 2, "best_worst", (1, 2, 0, 1)),
        answered(policy, 3, "ranking", (0, 1, 1, 2)),
        decided(policy, 4, share=0.5),
        answered(policy, 5, "best_of_k", (REST, 0, REST)),
        answered(policy, 6, "ranking", (1, REST, 0, REST, 2), weight=2.5),
    ]


def by_hand(policy: Policy, decisions: Sequence[Decision], scales: Any = SCALES, alpha: float = 0.0) -> torch.Tensor:
    """The mean loss, one response at a time without padding, all orders of every ranking enumerated."""
    total: Any = 0.0
    for decision in ranked_sets(decisions):
        sequences = tokenized(list(decision.responses))
        now = torch.stack([plain_log_prob(policy.model, s) for s in sequences])
        with torch.no_grad(), policy.as_reference():
            before = torch.stack([plain_log_prob(policy.model, s) for s in sequences])
        r, ranks = BETA * (now - before), decision.ranks
        places = range(len(ranks))
        if decision.asks == "best_worst":
            options = torch.stack([r[b] - r[w] for b in places for w in places if b != w])
            loss = options.logsumexp(0) - r[ranks.index(0)] + r[ranks.index(2)]
        else:
            orders = [o for o in permutations(places) if all(ranks[a] <= ranks[b] for a, b in pairwise(o))]
            stages = min(sum(rank < REST for rank in ranks), len(ranks) - 1)
            loss = sum(
                -torch.log_softmax((scales[min(j, len(scales) - 1)] * r)[list(order[j:])], 0)[0]
                for order in orders
                for j in range(stages)
            ) / len(orders)
        drawn = torch.tensor([float(x == "reference") for x in decision.drawn_from or ()])
        total = total + decision.weight * loss + (alpha * (drawn * now).sum() if alpha else 0.0)
    return total / len(decisions)


def trained_parameters(policy: Policy) -> dict[str, torch.Tensor]:
    return {n: p for n, p in policy.model.named_parameters() if p.requires_grad}


def copies(policy: Policy) -> dict[str, torch.Tensor]:
    return {n: p.detach().clone() for n, p in trained_parameters(policy).items()}


def loss_in_trl(
    policy: Policy, decisions: Sequence[Decision], objective: Any, folder: Path, ranked: bool = True, **settings: Any
) -> tuple[float, dict[str, Any]]:
    """The loss that the trainer would descend, on all questions as one batch, and what it logs."""
    config = one_batch(folder, **settings)
    if ranked:
        return loss_and_logs(
            ranked_dpo_trainer(policy, None, questions_dataset(ranked_sets(decisions)), config, objective)
        )
    return loss_and_logs(dpo_trainer(policy, None, tokenized_dataset(decisions), config, objective))  # type: ignore[arg-type]


def test_a_step_is_that_of_a_plain_loop(exact: Policy, mixed: list[Decision]) -> None:
    before = copies(exact)
    loss = by_hand(exact, mixed)
    gradients = dict(zip(before, torch.autograd.grad(loss, list(trained_parameters(exact).values())), strict=True))
    report = DPO(DPOTrainerConfig(train=SGD)).train(exact, ScaledDecisions(tuple(mixed), SCALES), BETA, 0, Silent())
    assert report["train_loss"] == pytest.approx(loss.item(), rel=1e-6)
    assert report["optimizer_steps"] == 1
    assert max(g.abs().max().item() for g in gradients.values()) > 1e-3
    for name, parameter in trained_parameters(exact).items():
        moved = (parameter.detach() - before[name]) / -SGD["learning_rate"]  # type: ignore[operator]
        torch.testing.assert_close(moved, gradients[name], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_loss_is_that_of_a_plain_loop_in_float32_too(
    policy: Policy, mixed: list[Decision], checkpointing: bool, tmp_path: Path
) -> None:
    objective = DPO(DPOTrainerConfig()).ranked_objective(ScaledDecisions(tuple(mixed), SCALES))
    assert objective == RankedObjective(SCALES)
    expected = by_hand(policy, mixed).item()
    loss, _ = loss_in_trl(policy, mixed, objective, tmp_path, gradient_checkpointing=checkpointing)
    assert loss == pytest.approx(expected, rel=1e-5)
    assert abs(by_hand(policy, mixed, [1.0]).item() - expected) > 1e-3


def test_scales_are_left_out_where_the_settings_say_so(policy: Policy, mixed: list[Decision], tmp_path: Path) -> None:
    scaled = ScaledDecisions(tuple(mixed), SCALES)
    trainer = DPO(DPOTrainerConfig(stage_scales="equal"))
    assert (trainer.plan.stage_scales, DPO(DPOTrainerConfig()).plan.stage_scales) == ("equal", "fitted")
    loss, _ = loss_in_trl(policy, scaled, trainer.ranked_objective(scaled), tmp_path)
    assert loss == pytest.approx(by_hand(policy, mixed, [1.0]).item(), rel=1e-5)
    assert DPO(DPOTrainerConfig()).ranked_objective(mixed) == RankedObjective()


def test_questions_of_two_are_trls_own_loss_and_step(policy: Policy, tmp_path: Path) -> None:
    pairs = [decided(policy, i) for i in range(6)]
    sets = ranked_sets(pairs)
    stock, logged = loss_in_trl(policy, pairs, None, tmp_path, ranked=False)
    ours, ours_logged = loss_in_trl(policy, sets, RankedObjective(SCALES), tmp_path)
    assert ours == pytest.approx(stock, rel=1e-6) and abs(stock - 0.6931) > 0.01
    for name, value in ours_logged.items():
        assert name.startswith("rewards/") and value == pytest.approx(logged[name], rel=1e-5)
    policy.save_weights(tmp_path)
    before, left = copies(policy), []
    for decisions in (pairs, sets):
        policy.load_weights(tmp_path)
        DPO(DPOTrainerConfig(train=SGD)).train(policy, decisions, BETA, 0, Silent())
        left.append(copies(policy))
    assert sum((left[0][n] - w).abs().sum().item() for n, w in before.items()) > 1e-3
    for name, weight in before.items():
        torch.testing.assert_close(left[1][name] - weight, left[0][name] - weight, rtol=1e-3, atol=1e-8)


def test_xpo_adds_what_the_reference_drew(policy: Policy, mixed: list[Decision], tmp_path: Path) -> None:
    trainer = DPO(DPOTrainerConfig(loss="xpo", xpo_alpha=0.25, train=SGD))
    scaled = ScaledDecisions(tuple(mixed), SCALES)
    expected = by_hand(policy, mixed, alpha=0.25).item()
    loss, _ = loss_in_trl(policy, mixed, trainer.ranked_objective(scaled), tmp_path)
    assert loss == pytest.approx(expected, rel=1e-5)
    report = trainer.train(policy, scaled, BETA, 0, Silent())
    assert report["reference_responses"] == 1 + 1 + 2 + 2 + 1 + 1 + 2
    unknown = [replace(mixed[0], drawn_from=None), *mixed[1:]]
    with pytest.raises(DataError, match=r"question question0 does not say.*loss: dpo"):
        trainer.train(policy, unknown, BETA, 0, Silent())


def test_logged_rewards_are_those_of_the_best_and_of_the_others(policy: Policy, tmp_path: Path) -> None:
    one = answered(policy, 3, "ranking", (1, 2, 0, REST))
    other = answered(policy, 4, "ranking", (0, 0))
    r = []
    for decision in (one, other):
        sequences = tokenized(list(decision.responses))
        now = sequence_log_probs(policy.model, sequences)
        with policy.as_reference():
            r.append(BETA * (now - sequence_log_probs(policy.model, sequences)))
    best, rest = (r[0][2], r[1][0]), (r[0][[0, 1, 3]].mean(), r[1][1])
    _, logged = loss_in_trl(policy, [one, other], RankedObjective(), tmp_path)
    expected = {
        "rewards/chosen": sum(best) / 2,
        "rewards/rejected": sum(rest) / 2,
        "rewards/margins": (sum(best) - sum(rest)) / 2,
        "rewards/accuracies": sum(b > o for b, o in zip(best, rest, strict=True)) / 2,
    }
    assert logged == pytest.approx(expected, rel=1e-4)


def test_a_mixture_of_experts_keeps_its_own_loss(policy: Policy, tmp_path: Path) -> None:
    model = with_lora(tiny_model("mixtral", torch.float32), target_modules=["q_proj", "v_proj"], lora_dropout=0.0)
    mixture = Policy.of(model, policy.tokenizer)
    pairs = [decided(policy, i) for i in range(4)]
    router = {"router_aux_loss_coef": 0.5}
    # TRL puts the sequences in another order, which changes nothing: the load of the experts is a mean over tokens.
    stock, _ = loss_in_trl(mixture, pairs, None, tmp_path, ranked=False, **router)
    ours, _ = loss_in_trl(mixture, ranked_sets(pairs), RankedObjective(), tmp_path, **router)
    without, _ = loss_in_trl(mixture, ranked_sets(pairs), RankedObjective(), tmp_path, router_aux_loss_coef=0.0)
    assert ours == pytest.approx(stock, rel=1e-6) and abs(ours - without) > 0.01


def test_a_step_counts_questions_and_micro_batches_change_nothing(policy: Policy, tmp_path: Path) -> None:
    decisions = [answered(policy, i, "ranking", (2, 0, 1) if i % 2 else (1, 0, 3, 2)) for i in range(6)]
    policy.save_weights(tmp_path)
    before, left = copies(policy), []
    for size in (6, 2, 2):
        policy.load_weights(tmp_path)
        train = {"optim": "sgd", "learning_rate": 0.1, "max_grad_norm": 0.0, "per_device_train_batch_size": size}
        optimizer = PersistentOptimizer(3)
        report = DPO(DPOTrainerConfig(train=train)).step(
            policy, ScaledDecisions(tuple(decisions), SCALES), BETA, 7, optimizer, Silent()
        )
        assert report["optimizer_steps"] == 1
        left.append(copies(policy))
    for name, weight in before.items():
        torch.testing.assert_close(left[1][name] - weight, left[0][name] - weight, rtol=1e-3, atol=1e-7)
        assert torch.equal(left[2][name], left[1][name])  # a replay
    assert any(not torch.equal(left[0][n], w) for n, w in before.items())


@pytest.mark.parametrize("checkpointing", first(1, [True, False]))
def test_training_leaves_nothing_behind_and_its_adapter_loads(
    policy: Policy, mixed: list[Decision], checkpointing: bool, tiny_model: Path, tmp_path: Path
) -> None:
    before = state(policy)
    train = {"num_train_epochs": 4, "learning_rate": 5e-3, "per_device_train_batch_size": 3}
    trainer = DPO(DPOTrainerConfig(train={**train, "gradient_checkpointing": checkpointing}))
    generator = torch.get_rng_state()
    with torch.no_grad():
        first = by_hand(policy, mixed).item()
    trainer.train(policy, ScaledDecisions(tuple(mixed), SCALES), BETA, 0, Silent())
    assert state(policy) == before and torch.equal(torch.get_rng_state(), generator)
    with torch.no_grad():
        assert by_hand(policy, mixed).item() < first - 0.01
    policy.save_weights(tmp_path)
    loaded = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_model), str(tmp_path)).eval()
    sequence = tokenized([mixed[0].responses[0]])[0]  # type: ignore[union-attr]
    with torch.no_grad():
        torch.testing.assert_close(plain_log_prob(loaded, sequence), plain_log_prob(policy.model, sequence))


def test_the_collator_pads_and_masks_as_trls_does(policy: Policy) -> None:
    pairs = [decided(policy, i) for i in range(4)]
    theirs = DataCollatorForPreference(pad_token_id=9, pad_to_multiple_of=4)(list(tokenized_dataset(pairs)))
    ours = QuestionCollator(9, 4)(list(questions_dataset(ranked_sets(pairs))))
    order = [0, 4, 1, 5, 2, 6, 3, 7]  # theirs: first the chosen, then the rejected
    for name, value in theirs.items():
        assert torch.equal(ours[name], value[order]), name
    assert ours["ranks"].tolist() == [[0, 1]] * 4


def test_settings_without_meaning_for_sets_are_refused(policy: Policy, mixed: list[Decision]) -> None:
    context = Context(
        names={"trainer": "some trainer", "sampler": "vanilla"}, trains="policy", needs=frozenset(), beta=BETA,
        online=False, decoder=False, adapter="lora", on_cpu=True, starts_as_reference=True, labelled_start=False,
        posterior=None, origins=None, weighs_pairs=False, within_prompts=True, sets_of=3,
    )  # fmt: skip
    DPO(DPOTrainerConfig(votes="majority", ties="half")).check(context)
    for settings, message in (
        ({"ties": "rao_kupper"}, r"rao_kupper. is a model of pairs"),
        ({"train": {"loss_type": "ipo"}}, r"Questions of more than two responses need TRL's sigmoid loss.*'ipo'"),
        ({"train": {"use_weighting": True}}, "use_weighting"),
    ):
        trainer = DPO(DPOTrainerConfig.model_validate(settings))
        with pytest.raises(RecipeError, match=message):
            trainer.check(context)
        trainer.check(replace(context, sets_of=2))
        with pytest.raises(RecipeError, match=message):
            trainer.train(policy, mixed, BETA, 0, Silent())
    with pytest.raises(
        RecipeError, match=r"Questions of 3 responses need a trainer.*some trainer trains on pairs only"
    ):
        RLHF(RLHFConfig()).check(context)
    with pytest.raises(DataError, match=r"pair pair1 has a share of 0.75.*votes: majority"):
        DPO(DPOTrainerConfig()).train(policy, [mixed[0], decided(policy, 1, share=0.75)], BETA, 0, Silent())
