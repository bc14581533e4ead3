"""TRL on a policy of which all parameters are trained; and mixed precision, for both forms: nothing is left behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from trained_policies import responses_to
from trl import DPOConfig

from duelist.models.policy.config import PolicyConfig
from duelist.models.policy.logprobs import sequence_log_probs
from duelist.models.policy.policy import Policy
from duelist.models.policy.response_batches import tokenized
from duelist.progress import Silent
from duelist.trainers.dpo import DPO
from duelist.trainers.dpo_settings import DPOTrainerConfig
from duelist.trainers.losses import Objective
from duelist.trainers.trl_dpo import dpo_trainer, tokenized_dataset
from duelist.types import Preference, Prompt
from tiers import first

BETA = 0.5
TRAIN = {"num_train_epochs": 3, "learning_rate": 2e-3, "per_device_train_batch_size": 4}


def make(tiny_model: Path, adapter: str) -> Policy:
    lora = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear"}
    return Policy.load(PolicyConfig(model=str(tiny_model), adapter=adapter, lora=lora, device="cpu"), seed=1)  # type: ignore[arg-type]


@pytest.fixture
def policy(tiny_model: Path) -> Policy:
    return make(tiny_model, "none")


@pytest.fixture
def preferences(policy: Policy) -> list[Preference]:
    found = []
    for i in range(8):
        prompt = Prompt.of([{"role": "user", "content": f"w{i} w{i + 1}"}])
        texts = [f"w{i} w3 w4", f"w9 w{i + 2}"]
        chosen, rejected = responses_to(policy, prompt, texts)
        found.append(Preference(prompt, chosen, rejected, f"pair{i}", "someone"))
    return found


def margins(policy: Policy, preferences: list[Preference]) -> np.ndarray:
    """h of each pair, from the package's own log-probabilities."""
    ratios = []
    for side in ("chosen", "rejected"):
        sequences = tokenized([getattr(p, side) for p in preferences])
        now = sequence_log_probs(policy.model, sequences)
        with policy.as_reference():
            ratios.append(now - sequence_log_probs(policy.model, sequences))
    return BETA * (ratios[0] - ratios[1])


def state(model: Any) -> dict[str, Any]:
    """Everything that a trainer could leave on a model, apart from the weights."""
    return {
        "patched": [(n, k) for n, m in model.named_modules() for k in vars(m) if "forward" in k and "hook" not in k],
        "hooks": sum(
            len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in model.modules()
        ),
        "requires_grad": {n for n, p in model.named_parameters() if p.requires_grad},
        "training": any(m.training for m in model.modules()),
        "gradients": [n for n, p in model.named_parameters() if p.grad is not None],
    }


@pytest.mark.parametrize("adapter", first(1, ["none", "lora"]))  # test_trl_dpo.py has adapters
@pytest.mark.parametrize(
    "how", first(1, [{}, {"gradient_checkpointing": True}, {"bf16": True}]), ids=["plain", "ckpt", "bf16"]
)
def test_rounds_of_training_leave_nothing_behind(
    tiny_model: Path, preferences: list[Preference], adapter: str, how: dict[str, Any], tmp_path: Path
) -> None:
    policy = make(tiny_model, adapter)
    trainer = DPO(DPOTrainerConfig(train={**TRAIN, "num_train_epochs": 1, **how}))
    models = [m for m in (policy.model, policy.weights.reference_model) if m is not None]
    before = [state(m) for m in models]
    for _ in range(2):
        trainer.train(policy, preferences, BETA, 0, Silent())
        assert [state(m) for m in models] == before
    policy.save_weights(tmp_path)
    policy.set_reference(tmp_path)
    for _ in range(2):
        trainer.train(policy, preferences, BETA, 0, Silent())
        assert policy.reference_folder == tmp_path
        if adapter == "none":
            assert [state(m) for m in (policy.model, policy.weights.reference_model)] == before


def test_training_moves_all_parameters_and_no_reference(policy: Policy, preferences: list[Preference]) -> None:
    before = {n: p.detach().clone() for n, p in policy.model.named_parameters()}
    base = policy.fingerprint(trained=False)
    report = DPO(DPOTrainerConfig(train=TRAIN)).train(policy, preferences, BETA, 0, Silent())
    assert report["optimizer_steps"] == 6
    assert margins(policy, preferences).mean() > 0.1
    assert policy.fingerprint(trained=False) == base
    assert all(not torch.equal(p, before[n]) for n, p in policy.model.named_parameters())


@pytest.mark.parametrize(
    ("dtype", "learning_rate", "least", "most"),
    [("bfloat16", 5e-7, 0.0, 0.03), ("float32", 5e-7, 0.7, 1.0), ("bfloat16", 1e-3, 0.7, 1.0)],
)
def test_small_steps_are_lost_in_half_precision_and_not_in_mixed_precision(
    tiny_model: Path, preferences: list[Preference], dtype: str, learning_rate: float, least: float, most: float
) -> None:
    """The share of weights that six steps change; words that no sequence has get no gradient."""
    config = PolicyConfig(model=str(tiny_model), adapter="none", dtype=dtype, device="cpu")  # type: ignore[arg-type]
    policy = Policy.load(config, seed=1)
    before = {n: p.detach().clone() for n, p in policy.model.named_parameters()}
    DPO(DPOTrainerConfig(train={**TRAIN, "learning_rate": learning_rate, "bf16": True})).train(
        policy, preferences, BETA, 0, Silent()
    )
    after = dict(policy.model.named_parameters())
    assert {p.dtype for p in after.values()} == {getattr(torch, dtype)}
    moved = sum(int((after[n] != before[n]).sum()) for n in before) / sum(p.numel() for p in before.values())
    assert least <= moved <= most


@pytest.mark.parametrize("objective", first(1, [Objective(), None]), ids=["own", "stock"])
def test_trl_uses_the_reference_that_was_set(
    policy: Policy, preferences: list[Preference], objective: Objective | None, tmp_path: Path
) -> None:
    trainer = DPO(DPOTrainerConfig(train=TRAIN))
    trainer.train(policy, preferences, BETA, 0, Silent())
    policy.save_weights(tmp_path)
    trainer.train(policy, preferences, BETA, 1, Silent())
    config = DPOConfig(
        output_dir=str(tmp_path / "out"),
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        report_to=[],
        per_device_train_batch_size=8,
        beta=BETA,
        max_length=None,
        disable_tqdm=True,
    )
    losses = {}
    for reference in (None, tmp_path):
        policy.set_reference(reference)
        expected = np.log1p(np.exp(-margins(policy, preferences))).mean()
        policy.set_reference(None)
        with dpo_trainer(policy, reference, tokenized_dataset(preferences), config, objective) as trl:
            batch = trl._prepare_inputs(next(iter(trl.get_train_dataloader())))
            with torch.no_grad():
                losses[reference] = float(trl.compute_loss(trl.model, batch))
        assert losses[reference] == pytest.approx(expected, rel=1e-5)
    assert abs(losses[None] - losses[tmp_path]) > 0.01
