"""Steps taken one at a time equal TRL's own run of as many steps, also across a save and a load."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from duelist.models.policy.config import PolicyConfig
from duelist.models.policy.policy import Policy
from duelist.models.policy.process_state import global_generators_kept
from duelist.progress import Silent
from duelist.trainers.dpo import DPO
from duelist.trainers.dpo_settings import DPOTrainerConfig
from duelist.trainers.persistent_optimizer import PersistentOptimizer, one_step
from duelist.types import Preference, Prompt, Response
from tiers import first_rows

STEPS, BATCH = 5, 4
TRAIN = {"learning_rate": 1e-2, "lr_scheduler_type": "cosine", "warmup_steps": 2, "weight_decay": 0.1}


@pytest.fixture
def preferences() -> list[Preference]:
    found = []
    for i in range(STEPS * BATCH):
        prompt = Prompt.of(f"w{i % 7}", {})
        chosen, rejected = (
            Response.of(
                prompt,
                f"{side} {i}",
                [4, 6 + i % 7, 5],
                [6 + (k * i + j) % 40 for j in range(3 + i % 3)] + [2],
                1,
            )
            for k, side in ((3, "chosen"), (5, "rejected"))
        )
        found.append(Preference(prompt, chosen, rejected, f"pair {i}", "ann"))
    return found


def fresh(model: Path) -> Policy:
    lora = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear"}
    return Policy.load(PolicyConfig(model=str(model), lora=lora), 0)


def weights(policy: Policy) -> dict[str, torch.Tensor]:
    return {n: p.detach().clone() for n, p in policy.model.named_parameters() if "lora_" in n}


def trl_run(policy: Policy, preferences: list[Preference], scratch: Path) -> None:
    """One call of TRL's trainer with `STEPS` steps, on the batches in the order given."""
    from trl import DPOConfig

    from duelist.trainers import trl_dpo

    config = DPOConfig(
        output_dir=str(scratch), per_device_train_batch_size=BATCH, num_train_epochs=1, beta=0.5, save_strategy="no",
        report_to=[], use_cpu=True, bf16=False, gradient_checkpointing=False, disable_tqdm=True, max_length=None,
        train_sampling_strategy="sequential", **TRAIN,
    )  # fmt: skip
    dataset = trl_dpo.tokenized_dataset(preferences)
    with global_generators_kept(), trl_dpo.dpo_trainer(policy, None, dataset, config) as trainer:
        assert trainer.train().global_step == STEPS


def take_steps(
    policy: Policy, preferences: list[Preference], carried: PersistentOptimizer, steps: range, batch: int = BATCH
) -> None:
    trainer = DPO(DPOTrainerConfig(train={**TRAIN, "per_device_train_batch_size": batch}))
    for t in steps:
        of_round = preferences[t * BATCH : (t + 1) * BATCH]
        done = trainer.step(policy, of_round, 0.5, t, carried, Silent())
        assert done["optimizer_steps"] == 1


@pytest.mark.parametrize(
    ("batch", "rounding"), first_rows(1, [(BATCH, 2e-5), (2, 1e-4)]), ids=["one batch", "micro-batches"]
)
def test_rounds_of_one_step_equal_a_run_of_trl(
    tiny_model: Path, preferences: list[Preference], tmp_path: Path, batch: int, rounding: float
) -> None:
    one, other = fresh(tiny_model), fresh(tiny_model)
    before = weights(one)
    trl_run(one, preferences, tmp_path)
    take_steps(other, preferences, PersistentOptimizer(STEPS), range(STEPS), batch)
    expected, found = weights(one), weights(other)
    assert max((expected[n] - before[n]).abs().max() for n in before) > 5e-3
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=rounding)


@pytest.mark.full
def test_a_saved_optimizer_goes_on_to_the_bit(tiny_model: Path, preferences: list[Preference], tmp_path: Path) -> None:
    undisturbed = fresh(tiny_model)
    carried = PersistentOptimizer(STEPS)
    take_steps(undisturbed, preferences, carried, range(2))
    undisturbed.save_weights(tmp_path / "adapter")
    torch.save(carried.state(), tmp_path / "optimizer.pt")
    take_steps(undisturbed, preferences, carried, range(2, STEPS))

    resumed = fresh(tiny_model)
    resumed.load_weights(tmp_path / "adapter")
    state: dict[str, Any] = torch.load(tmp_path / "optimizer.pt", weights_only=True)
    again = PersistentOptimizer(STEPS, state)
    take_steps(resumed, preferences, again, range(2, STEPS))
    expected, found = weights(undisturbed), weights(resumed)
    assert all(torch.equal(found[n], expected[n]) for n in expected)
    assert again.state()["scheduler"] == carried.state()["scheduler"]

    forgetful = fresh(tiny_model)
    forgetful.load_weights(tmp_path / "adapter")
    take_steps(forgetful, preferences, PersistentOptimizer(STEPS), range(2, STEPS))
    assert not all(torch.equal(weights(forgetful)[n], expected[n]) for n in expected)


@pytest.mark.parametrize(
    ("preferences", "largest", "size"), [(4, 8, 4), (8, 4, 4), (6, 4, 3), (7, 4, 1), (1, 8, 1), (12, 5, 4)]
)
def test_micro_batches_are_equal_and_fit(preferences: int, largest: int, size: int) -> None:
    found = one_step(preferences, largest)
    assert found["per_device_train_batch_size"] == size <= largest
    assert found["per_device_train_batch_size"] * found["gradient_accumulation_steps"] == preferences
