"""Our losses through a real TRL trainer: equal to TRL's own, or to a hand computation where TRL has none."""

from __future__ import annotations

import inspect
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from trained_policies import BETA, adapter_weights, loss_and_logs, moved, one_batch, responses_to
from trl import DPOConfig, DPOTrainer

from duelist.errors import DataError, RecipeError
from duelist.models.policy.logprobs import sequence_log_probs
from duelist.models.policy.policy import Policy
from duelist.models.policy.response_batches import tokenized
from duelist.progress import Silent
from duelist.trainers.dpo import DPO
from duelist.trainers.dpo_settings import SMOOTHED_LOSSES, DPOTrainerConfig
from duelist.trainers.losses import Objective
from duelist.trainers.trl_dpo import COLUMNS, dpo_trainer, tokenized_dataset
from duelist.types import Preference, Prompt
from tiny_models import tiny_model, with_lora

ONE_BATCH = {"per_device_train_batch_size": 8, "learning_rate": 1e-3, "num_train_epochs": 1}


@pytest.fixture
def policy(tiny_model: Path) -> Policy:
    return moved(tiny_model)


@pytest.fixture
def preferences(policy: Policy) -> list[Preference]:
    """Six pairs; every other one has a response that the reference drew, now chosen, now rejected."""
    found = []
    for i in range(6):
        prompt = Prompt.of([{"role": "user", "content": f"w{i} w{i + 1}"}])
        texts = [f"w{i} w3 w4", f"w9 w{i + 2}"]
        chosen, rejected = responses_to(policy, prompt, texts)
        drawn = ("reference" if i == 4 else "policy", "reference" if i % 2 else "policy")
        found.append(Preference(prompt, chosen, rejected, f"pair{i}", "someone", drawn_from=drawn))
    return found


def loss_in_trl(
    policy: Policy, preferences: list[Preference], objective: Objective | None, folder: Path, **settings: Any
) -> float:
    """The loss that the trainer would descend, on all pairs as one batch."""
    config = one_batch(folder, **settings)
    return loss_and_logs(dpo_trainer(policy, None, tokenized_dataset(preferences), config, objective))[0]


def by_hand(policy: Policy, preferences: list[Preference]) -> tuple[np.ndarray, np.ndarray]:
    """h of each pair, and log π_θ of its two responses, from the package's own log-probabilities."""
    sides = []
    for side in ("chosen", "rejected"):
        sequences = tokenized([getattr(p, side) for p in preferences])
        now = sequence_log_probs(policy.model, sequences)
        with policy.as_reference():
            sides.append((now, now - sequence_log_probs(policy.model, sequences)))
    (log_chosen, ratio_chosen), (log_rejected, ratio_rejected) = sides
    return BETA * (ratio_chosen - ratio_rejected), np.stack([log_chosen, log_rejected], axis=1)


def test_at_weight_one_it_is_trls_own_loss(policy: Policy, preferences: list[Preference], tmp_path: Path) -> None:
    stock = loss_in_trl(policy, preferences, None, tmp_path)
    assert abs(stock - np.log(2)) > 0.01
    assert loss_in_trl(policy, preferences, Objective(), tmp_path) == pytest.approx(stock, rel=1e-6)


def test_a_step_at_weight_one_is_trls_own_step(policy: Policy, preferences: list[Preference], tmp_path: Path) -> None:
    """The gradients too: the adapters that one epoch of SGD leaves behind are equal."""
    policy.save_weights(tmp_path)
    left = []
    for own in (False, True):
        policy.load_weights(tmp_path)
        # A tie threshold next to one is the stock loss, but goes through our own.
        settings: dict[str, Any] = {"ties": "rao_kupper", "tie_threshold": 1 + 1e-9} if own else {}
        trainer = DPO(DPOTrainerConfig(train={**ONE_BATCH, "optim": "sgd", "max_grad_norm": 0.0}, **settings))
        assert (trainer.objective(preferences) is not None) == own
        trainer.train(policy, preferences, BETA, 0, Silent())
        left.append(adapter_weights(policy))
    policy.load_weights(tmp_path)
    moved = 0.0
    for name, before in policy.model.named_parameters():
        if "lora_" in name:
            stock, ours = (x[name] - before.detach() for x in left)
            assert torch.allclose(ours, stock, rtol=1e-4, atol=1e-9)
            moved += float(stock.abs().sum())
    assert moved > 1e-4


def test_weights_and_shares_reach_the_loss(policy: Policy, preferences: list[Preference], tmp_path: Path) -> None:
    weights, shares = [0.0, 0.5, 1.0, 2.0, 3.0, 1.0], [1.0, 0.5, 0.9, 0.6, 1.0, 0.2]
    given = [replace(p, weight=w, share=s) for p, w, s in zip(preferences, weights, shares, strict=True)]
    h, _ = by_hand(policy, given)
    s = np.array(shares)
    expected = np.mean(np.array(weights) * (s * np.log1p(np.exp(-h)) + (1 - s) * np.log1p(np.exp(h))))
    objective = DPO(DPOTrainerConfig()).objective(given)
    assert objective is not None
    assert loss_in_trl(policy, given, objective, tmp_path) == pytest.approx(expected, rel=1e-5)


def test_xpo_is_dpo_plus_alpha_times_what_the_reference_said(
    policy: Policy, preferences: list[Preference], tmp_path: Path
) -> None:
    objective = DPO(DPOTrainerConfig(loss="xpo", xpo_alpha=0.25)).objective(preferences)
    h, log_probs = by_hand(policy, preferences)
    drawn = np.array([p.drawn_from for p in preferences]) == "reference"
    assert drawn.sum() == 4
    expected = (np.log1p(np.exp(-h)).sum() + 0.25 * log_probs[drawn].sum()) / len(preferences)
    assert loss_in_trl(policy, preferences, objective, tmp_path) == pytest.approx(expected, rel=1e-5)
    default = DPO(DPOTrainerConfig(loss="xpo")).objective(preferences)
    assert default == Objective(xpo_alpha=5e-6)


def test_xpo_refuses_a_pair_that_does_not_say_where_it_was_drawn(policy: Policy, preferences: list[Preference]) -> None:
    unknown = [*preferences[1:], replace(preferences[0], drawn_from=None)]
    with pytest.raises(DataError, match=r"which responses the reference drew, but pair pair0 does not say.*loss: dpo"):
        DPO(DPOTrainerConfig(loss="xpo", train=ONE_BATCH)).train(policy, unknown, BETA, 0, Silent())


def test_training_by_xpo_makes_what_the_reference_said_less_likely(
    policy: Policy, preferences: list[Preference], tmp_path: Path
) -> None:
    drawn = np.array([p.drawn_from for p in preferences]) == "reference"
    policy.save_weights(tmp_path)
    after = {}
    for loss in ("dpo", "xpo"):
        policy.load_weights(tmp_path)
        settings = {"loss": "xpo", "xpo_alpha": 1.0} if loss == "xpo" else {}
        report = DPO(DPOTrainerConfig(train={**ONE_BATCH, "num_train_epochs": 5}, **settings)).train(
            policy, preferences, BETA, 0, Silent()
        )
        assert report.get("reference_responses") == (4.0 if loss == "xpo" else None)
        after[loss] = by_hand(policy, preferences)[1][drawn].sum()
    assert after["xpo"] < after["dpo"] - 0.1


def test_ties_of_rao_kupper_reach_the_loss(policy: Policy, preferences: list[Preference], tmp_path: Path) -> None:
    given = [replace(p, share=0.5 if i < 2 else 1.0) for i, p in enumerate(preferences)]
    objective = DPO(DPOTrainerConfig(ties="rao_kupper", tie_threshold=2.0)).objective(given)
    h, _ = by_hand(policy, given)
    a = np.exp(h)
    probability = np.where(np.arange(6) < 2, 3 * a / ((a + 2) * (1 + 2 * a)), a / (a + 2))
    assert loss_in_trl(policy, given, objective, tmp_path) == pytest.approx(-np.log(probability).mean(), rel=1e-5)


@pytest.mark.parametrize("loss_type", ["ipo", "hinge"])
def test_other_losses_are_trls_own(
    policy: Policy, preferences: list[Preference], loss_type: str, tmp_path: Path
) -> None:
    trainer = DPO(DPOTrainerConfig(train={**ONE_BATCH, "loss_type": loss_type}))
    assert trainer.objective(preferences) is None
    lengths = np.array([[len(p.chosen.token_ids), len(p.rejected.token_ids)] for p in preferences])
    h, _ = by_hand(policy, preferences)
    if loss_type == "hinge":
        expected = np.maximum(0, 1 - h).mean()
    else:  # TRL's: log-ratios per token
        ratio = []
        for side in ("chosen", "rejected"):
            sequences = tokenized([getattr(p, side) for p in preferences])
            now = sequence_log_probs(policy.model, sequences)
            with policy.as_reference():
                ratio.append(now - sequence_log_probs(policy.model, sequences))
        expected = ((ratio[0] / lengths[:, 0] - ratio[1] / lengths[:, 1] - 1 / (2 * BETA)) ** 2).mean()
    assert loss_in_trl(policy, preferences, None, tmp_path, loss_type=loss_type) == pytest.approx(expected, rel=1e-5)
    assert trainer.train(policy, preferences, BETA, 0, Silent())["train_loss"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradient_checkpointing_changes_nothing(
    policy: Policy, preferences: list[Preference], checkpointing: bool, tmp_path: Path
) -> None:
    own = loss_in_trl(policy, preferences, Objective(), tmp_path, gradient_checkpointing=checkpointing)
    h, _ = by_hand(policy, preferences)
    assert own == pytest.approx(np.log1p(np.exp(-h)).mean(), rel=1e-5)


def test_a_mixture_of_experts_keeps_its_own_loss(policy: Policy, preferences: list[Preference], tmp_path: Path) -> None:
    model = with_lora(tiny_model("mixtral", torch.float32), target_modules=["q_proj", "v_proj"], lora_dropout=0.0)
    mixture = Policy.of(model, policy.tokenizer)
    router = {"router_aux_loss_coef": 0.5}
    stock = loss_in_trl(mixture, preferences, None, tmp_path, **router)
    assert loss_in_trl(mixture, preferences, Objective(), tmp_path, **router) == pytest.approx(stock, rel=1e-6)
    without = loss_in_trl(mixture, preferences, None, tmp_path, router_aux_loss_coef=0.0)
    assert abs(stock - without) > 0.01


def test_the_settings_say_what_the_store_must_give() -> None:
    assert (DPO(DPOTrainerConfig()).plan.votes, DPO(DPOTrainerConfig()).plan.ties) == ("every", False)
    soft = DPO(DPOTrainerConfig(votes="soft", ties="half")).plan
    assert (soft.votes, soft.ties) == ("soft", True)


def test_settings_without_effect_are_refused(preferences: list[Preference]) -> None:
    with pytest.raises(ValueError, match="`votes` is soft"):
        DPOTrainerConfig(ties="rao_kupper", votes="soft")
    for key, value in {"loss_type": "ipo", "label_smoothing": 0.1, "use_weighting": True}.items():
        with pytest.raises(ValueError, match=key):
            DPOTrainerConfig(loss="xpo", train={key: value})
    DPOTrainerConfig(loss="xpo", train={"loss_type": "sigmoid"})
    with pytest.raises(ValueError, match=r"has an effect with `loss_type` robust, .* but that is sigmoid"):
        DPOTrainerConfig(train={"label_smoothing": 0.1})
    for loss_type in SMOOTHED_LOSSES:
        DPOTrainerConfig(train={"label_smoothing": 0.1, "loss_type": loss_type})
    weighted = [replace(preferences[0], weight=2.0), *preferences[1:]]
    with pytest.raises(RecipeError, match=r"train.loss_type. is 'ipo'"):
        DPO(DPOTrainerConfig(train={"loss_type": "ipo"})).objective(weighted)


def test_what_is_relied_on_exists_with_this_shape(
    policy: Policy, preferences: list[Preference], tmp_path: Path
) -> None:
    assert list(inspect.signature(DPOTrainer.compute_ref_log_probs).parameters) == ["self", "model", "inputs"]
    expected = ["self", "model", "inputs", "return_outputs", "num_items_in_batch"]
    assert list(inspect.signature(DPOTrainer.compute_loss).parameters) == expected
    config = DPOConfig(output_dir=str(tmp_path), use_cpu=True, bf16=False, report_to=[], gradient_checkpointing=False)
    with dpo_trainer(policy, None, tokenized_dataset(preferences), config, Objective()) as trainer:
        assert (trainer.aux_loss_enabled, trainer.ref_model, trainer.beta) == (False, None, config.beta)
        batch = next(iter(trainer.get_train_dataloader()))
        assert set(COLUMNS) < set(batch)
        labels = batch["input_ids"].masked_fill(batch["completion_mask"] == 0, -100)
        ids = {k: batch[k] for k in ("input_ids", "attention_mask")}
        with torch.no_grad():
            log_probs = trainer.model(**ids, labels=labels, fused_lm_head=True).log_probs
        assert not log_probs[batch["completion_mask"][:, 1:] == 0].any()
        trainer.compute_loss(trainer.model, batch)
        assert set(trainer._metrics["train"]) | set(trainer._metrics["eval"]) == {
            f"rewards/{name}" for name in ("chosen", "rejected", "margins", "accuracies")
        }
