"""What we rely on inside TRL, for the versions that pyproject.toml admits; and what training leaves behind: nothing."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from trained_policies import adapter_weights, fresh, responses_to, state
from trl import DPOConfig, DPOTrainer

from duelist.models.policy.logprobs import sequence_log_probs
from duelist.models.policy.lora_adapter import REFERENCE
from duelist.models.policy.policy import Policy
from duelist.models.policy.response_batches import tokenized
from duelist.progress import Silent
from duelist.trainers.dpo import DPO
from duelist.trainers.dpo_settings import DPOTrainerConfig
from duelist.trainers.trl_dpo import dpo_trainer, tokenized_dataset
from duelist.types import Preference, Prompt
from tiers import first

TRAIN = {"num_train_epochs": 3, "learning_rate": 5e-3, "per_device_train_batch_size": 4}


@pytest.fixture
def policy(tiny_model: Path) -> Policy:
    return fresh(tiny_model)


@pytest.fixture
def preferences(policy: Policy) -> list[Preference]:
    found = []
    for i in range(8):
        prompt = Prompt.of([{"role": "user", "content": f"w{i} w{i + 1}"}])
        texts = [f"w{i} w3 w4", f"w9 w{i + 2}"]
        chosen, rejected = responses_to(policy, prompt, texts)
        found.append(Preference(prompt, chosen, rejected, f"pair{i}", "someone", drawn_from=("policy", "reference")))
    return found


@pytest.mark.parametrize("checkpointing", [False, True])
def test_rounds_of_training_leave_nothing_behind(
    policy: Policy, preferences: list[Preference], checkpointing: bool, tmp_path: Path
) -> None:
    trainer = DPO(DPOTrainerConfig(train={**TRAIN, "num_train_epochs": 1, "gradient_checkpointing": checkpointing}))
    before = state(policy)
    for _ in range(2):
        trainer.train(policy, preferences, 0.5, 0, Silent())
        assert state(policy) == before
    policy.save_weights(tmp_path / "reference")
    policy.set_reference(tmp_path / "reference")
    with_reference = state(policy)
    for _ in range(2):
        trainer.train(policy, preferences, 0.5, 0, Silent())
        assert state(policy) == with_reference


def test_training_widens_the_margin_and_moves_the_adapter_only(policy: Policy, preferences: list[Preference]) -> None:
    base_before = {n: p.clone() for n, p in policy.model.named_parameters() if "lora_" not in n}
    lora_before = adapter_weights(policy)

    def margin() -> float:
        chosen = sequence_log_probs(policy.model, tokenized([p.chosen for p in preferences]))
        rejected = sequence_log_probs(policy.model, tokenized([p.rejected for p in preferences]))
        return float((chosen - rejected).mean())

    before = margin()
    report = DPO(DPOTrainerConfig(train=TRAIN)).train(policy, preferences, 0.5, 0, Silent())
    assert margin() > before + 0.1
    assert report["optimizer_steps"] == 6
    assert all(torch.equal(p, base_before[n]) for n, p in policy.model.named_parameters() if n in base_before)
    assert any(not torch.equal(p, lora_before[n]) for n, p in adapter_weights(policy).items())


@pytest.mark.parametrize(
    "train",
    first(
        2,
        [
            {},
            {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": True}},
            {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": False}},
        ],
    ),
    ids=["plain", "reentrant checkpoints", "checkpoints"],
)
@pytest.mark.parametrize("loss", first(1, ["dpo", "xpo"]))
def test_frozen_matrices_take_no_part_in_training(
    policy: Policy, preferences: list[Preference], tmp_path: Path, loss: str, train: dict[str, Any]
) -> None:
    """Nor in the norm that gradients are clipped to: steps of SGD on one batch then have a known length."""
    for name, parameter in policy.model.named_parameters():
        parameter.requires_grad_(".lora_B." in name and ".layers.1." in name)
    policy.save_weights(tmp_path)
    policy.set_reference(tmp_path)
    flags = {n: p.requires_grad for n, p in policy.model.named_parameters()}
    with torch.no_grad():  # so that the frozen matrices have gradients, if they are asked for
        for name, parameter in policy.model.named_parameters():
            if ".lora_B.default" in name:
                parameter += 0.05
    before = adapter_weights(policy)
    sgd = {"optim": "sgd", "learning_rate": 0.5, "lr_scheduler_type": "constant", "max_grad_norm": 1e-3, "max_steps": 3}
    settings = {**TRAIN, **sgd, "per_device_train_batch_size": 8, "gradient_checkpointing": False, **train}
    config = DPOTrainerConfig.model_validate({"loss": loss, "train": settings})
    DPO(config).train(policy, preferences, 0.5, 0, Silent())
    moved = {n: float((p - before[n]).norm()) for n, p in adapter_weights(policy).items() if not p.equal(before[n])}
    assert moved and all(flags[name] for name in moved)
    assert float(np.linalg.norm(list(moved.values()))) == pytest.approx(3 * 0.5 * 1e-3, rel=0.01)
    assert flags == {n: p.requires_grad for n, p in policy.model.named_parameters()}


def test_global_generators_are_given_back(policy: Policy, preferences: list[Preference]) -> None:
    torch.manual_seed(5)
    np.random.seed(5)
    expected = (torch.rand(3), np.random.rand(3))
    torch.manual_seed(5)
    np.random.seed(5)
    DPO(DPOTrainerConfig(train=TRAIN)).train(policy, preferences, 0.5, 0, Silent())
    assert torch.equal(torch.rand(3), expected[0])
    assert np.array_equal(np.random.rand(3), expected[1])


def first_loss_and_reference(policy: Policy, reference: Path | None, preferences: list[Preference], tmp: Path) -> Any:
    """TRL's own reference log-probs and loss on the whole data set, before any step."""
    config = DPOConfig(
        output_dir=str(tmp / "out"),
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        report_to=[],
        per_device_train_batch_size=8,
        beta=0.5,
        max_length=None,
        disable_tqdm=True,
    )
    with dpo_trainer(policy, reference, tokenized_dataset(preferences), config) as trainer:
        batch = trainer._prepare_inputs(next(iter(trainer.get_train_dataloader())))
        with torch.no_grad():
            chosen, rejected = trainer.compute_ref_log_probs(trainer.model, batch)
            loss = trainer.compute_loss(trainer.model, batch)
    return float((chosen - rejected).sum()), float(loss)


def reference_gap(policy: Policy, preferences: list[Preference]) -> float:
    with policy.as_reference():
        chosen = sequence_log_probs(policy.model, tokenized([p.chosen for p in preferences]))
        rejected = sequence_log_probs(policy.model, tokenized([p.rejected for p in preferences]))
    return float((chosen - rejected).sum())


def test_the_reference_is_the_one_that_was_set(policy: Policy, preferences: list[Preference], tmp_path: Path) -> None:
    """Trap: a new DPOTrainer takes last round's adapter as the reference, whatever one wanted."""
    base_gap = reference_gap(policy, preferences)
    trainer = DPO(DPOTrainerConfig(train=TRAIN))
    trainer.train(policy, preferences, 0.5, 0, Silent())
    policy.save_weights(tmp_path / "round1")
    policy.set_reference(tmp_path / "round1")
    round1_gap = reference_gap(policy, preferences)
    policy.set_reference(None)
    trainer.train(policy, preferences, 0.5, 1, Silent())
    assert abs(round1_gap - base_gap) > 1.0  # so that the two can be told apart

    initial, _ = first_loss_and_reference(policy, None, preferences, tmp_path)
    previous, _ = first_loss_and_reference(policy, tmp_path / "round1", preferences, tmp_path)
    assert initial == pytest.approx(base_gap, abs=1e-3)
    assert previous == pytest.approx(round1_gap, abs=1e-3)


def test_trl_computes_the_loss_of_equation_2(policy: Policy, preferences: list[Preference], tmp_path: Path) -> None:
    DPO(DPOTrainerConfig(train=TRAIN)).train(policy, preferences, 0.5, 0, Silent())
    _, loss = first_loss_and_reference(policy, None, preferences, tmp_path)
    log_ratio = {}
    for side in ("chosen", "rejected"):
        sequences = tokenized([getattr(p, side) for p in preferences])
        now = sequence_log_probs(policy.model, sequences)
        with policy.as_reference():
            log_ratio[side] = now - sequence_log_probs(policy.model, sequences)
    margins = 0.5 * (log_ratio["chosen"] - log_ratio["rejected"])
    assert loss == pytest.approx(float(np.log1p(np.exp(-margins)).mean()), rel=1e-5)


def test_the_trap_is_real(policy: Policy, preferences: list[Preference], tmp_path: Path) -> None:
    """The stock constructor makes the adapter `ref` a copy of the adapter that was trained last."""
    DPO(DPOTrainerConfig(train=TRAIN)).train(policy, preferences, 0.5, 0, Silent())
    rows = [
        {"prompt": p.prompt.as_trl(), "chosen": p.chosen.as_trl(p.prompt), "rejected": p.rejected.as_trl(p.prompt)}
        for p in preferences
    ]
    from datasets import Dataset

    config = DPOConfig(
        output_dir=str(tmp_path), use_cpu=True, bf16=False, gradient_checkpointing=False, report_to=[], max_length=None
    )
    stock = DPOTrainer(
        model=policy.model, args=config, train_dataset=Dataset.from_list(rows), processing_class=policy.tokenizer
    )
    assert REFERENCE in stock.model.peft_config
    copies = adapter_weights(policy, REFERENCE)
    for name, weight in adapter_weights(policy).items():
        assert torch.equal(weight, copies[name.replace(".default.", f".{REFERENCE}.")])


def test_what_is_overridden_exists_with_this_shape() -> None:
    parameters = list(inspect.signature(DPOTrainer._prepare_dataset).parameters)
    assert parameters == ["self", "dataset", "processing_class", "args", "dataset_name"]
    trl_module = sys.modules[DPOTrainer.__module__]  # inspect.getmodule asks every lazy module, which loads it
    assert "forward" in inspect.getsource(trl_module.add_fused_lm_head)


def test_a_setting_that_trl_does_not_have_or_that_is_ours_is_refused() -> None:
    with pytest.raises(ValueError, match="learning_rate"):
        DPOTrainerConfig(train={"learning_rat": 1.0})
    with pytest.raises(ValueError, match="recipe's `beta`"):
        DPOTrainerConfig(train={"beta": 1.0})
