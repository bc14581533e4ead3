"""TRL's RewardTrainer, RLOOTrainer and GRPOTrainer on our token ids. `trl_traces` removes their changes to a model.

TRL internals we rely on, checked by tests/trainers/test_rlhf.py:

1. `RewardTrainer` uses the columns `chosen_ids` and `rejected_ids` unchanged; `_set_signature_columns_if_needed` names
   the columns that reach the collator; a batch's first half is chosen and its second half rejected.
2. `_prepare_inputs` computes the reference's log-probabilities, and PEFT then makes the whole adapter trainable.
3. With β = 0 a constructor loads no reference. With another β, training asks `ref_model` where the policy is no
   PeftModel; it must take `fused_lm_head`, as `add_fused_lm_head` makes it.
4. A reward function of `RLOOTrainer` and `GRPOTrainer` receives `completion_ids` and the data set's other columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForSequenceClassification
from trl import GRPOConfig, GRPOTrainer, RewardConfig, RewardTrainer, RLOOConfig, RLOOTrainer
from trl.trainer.rloo_trainer import add_fused_lm_head

from duelist.models.policy.loading import load_pretrained
from duelist.models.policy.policy import Policy
from duelist.models.policy.trained_flags import trained_kept
from duelist.models.rewards.classifier import reward_scorer
from duelist.progress import Progress
from duelist.trainers.rlhf_settings import RewardClassifierConfig, RLHFConfig
from duelist.trainers.trl_dpo import WithColumns
from duelist.trainers.trl_progress import train_with_progress
from duelist.trainers.trl_settings import trl_config
from duelist.trainers.trl_traces import leaving_no_trace
from duelist.types import Preference


class _KeepsFrozen:
    """Mixin that computes the reference's log-probabilities without making the whole adapter trainable."""

    def _prepare_inputs(self, generation_batch: Any) -> Any:
        with trained_kept(self.model):  # type: ignore[attr-defined]
            return super()._prepare_inputs(generation_batch)  # type: ignore[misc]


class _RLOO(_KeepsFrozen, RLOOTrainer):  # type: ignore[misc]
    pass


class _GRPO(_KeepsFrozen, GRPOTrainer):  # type: ignore[misc]
    pass


class _WeightedRewardTrainer(RewardTrainer):  # type: ignore[misc]
    """Training by −w log σ(r_chosen − r_rejected), the loss of PILAF's equation 7 with an explicit reward."""

    _signature_columns: list[str]

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        if "weight" not in self._signature_columns:
            self._signature_columns = [*self._signature_columns, "weight"]

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        weight_B = inputs.pop("weight")
        outputs = model(**inputs, use_cache=False)
        chosen_B, rejected_B = outputs.logits.squeeze(-1).chunk(2)
        loss = -(weight_B * torch.nn.functional.logsigmoid(chosen_B - rejected_B)).mean()
        if self.args.center_rewards_coefficient is not None:
            loss = loss + self.args.center_rewards_coefficient * ((chosen_B + rejected_B) ** 2).mean()
        return (loss, outputs) if return_outputs else loss


TRAINERS: dict[str, tuple[type, type]] = {"rloo": (RLOOConfig, _RLOO), "grpo": (GRPOConfig, _GRPO)}


def train_reward_classifier(
    policy: Policy,
    preferences: Sequence[Preference],
    config: RewardClassifierConfig,
    seed: int,
    scratch: str,
    progress: Progress,
) -> tuple[Any, Mapping[str, float]]:
    """Return a Bradley–Terry reward model of the preferences, a sequence classifier, and its training report.

    Raises:
        ModelError: if the initial model cannot be loaded.
        RecipeError: if TRL rejects a setting.
    """
    torch.manual_seed(seed)  # the new output layer is drawn at random
    # The base model is loaded exactly as the policy's: revision, type of the weights, and other arguments.
    name, arguments = (policy.name, policy.base_arguments) if config.model is None else (config.model, {})
    model = load_pretrained(
        AutoModelForSequenceClassification, name, "reward_model.model", **{**arguments, "num_labels": 1}
    )
    model.config.pad_token_id = policy.tokenizer.pad_token_id
    if config.lora is not None:
        model = get_peft_model(model, LoraConfig(task_type="SEQ_CLS", **config.lora))
    model = model.to(policy.device)
    weighted = any(p.weight != 1 for p in preferences)
    rows: list[dict[str, Any]] = [
        {
            "chosen_ids": [*p.chosen.prompt_token_ids, *p.chosen.token_ids],
            "rejected_ids": [*p.rejected.prompt_token_ids, *p.rejected.token_ids],
            **({"weight": p.weight} if weighted else {}),
        }
        for p in preferences
    ]
    settings = trl_config(
        RewardConfig,
        config.train,
        "trainer.reward_model.train",
        on_cpu=policy.device.type == "cpu",
        seed=seed,
        output_dir=scratch,
        max_length=None,
    )
    trainer = (_WeightedRewardTrainer if weighted else RewardTrainer)(
        model=model, args=settings, train_dataset=Dataset.from_list(rows), processing_class=policy.tokenizer
    )
    if weighted:
        trainer.data_collator = WithColumns(trainer.data_collator, ["weight"])
    outcome = train_with_progress(trainer, "Reward model", progress)
    model.eval()
    scores = reward_scorer(model, policy.tokenizer.pad_token_id)
    chosen = scores([row["chosen_ids"] for row in rows])
    rejected = scores([row["rejected_ids"] for row in rows])
    agreed = sum(c > r for c, r in zip(chosen, rejected, strict=True)) / len(rows)
    return model, {"reward_model_loss": float(outcome.training_loss), "reward_model_agreement": agreed}


def optimize_policy(
    policy: Policy,
    preferences: Sequence[Preference],
    reward_model: Any,
    config: RLHFConfig,
    beta: float,
    seed: int,
    scratch: str,
    progress: Progress,
) -> Mapping[str, float]:
    """Train the policy in place to maximise E[r] − β KL over the prompts of `preferences`.

    Raises:
            RecipeError: if TRL rejects a setting.
    """
    prompts = {p.prompt.id: (p.prompt, p.chosen.prompt_token_ids) for p in preferences}
    dataset = Dataset.from_list([{"prompt": p.as_trl(), "prompt_ids_given": list(i)} for p, i in prompts.values()])
    score = reward_scorer(reward_model, policy.tokenizer.pad_token_id)

    def reward(completion_ids: list[list[int]], prompt_ids_given: list[list[int]], **_: Any) -> list[float]:
        return score([[*p, *c] for p, c in zip(prompt_ids_given, completion_ids, strict=True)])

    config_type, trainer_type = TRAINERS[config.algorithm]
    reference, whole = policy.reference_folder, policy.weights.reference_model is not None
    # With a β, TRL would load a reference of its own for a policy without an adapter, by the base model's name.
    on_cpu, own = policy.device.type == "cpu", {"beta": 0.0 if whole else beta, "seed": seed, "output_dir": scratch}
    # Log each step unless the recipe sets otherwise: the last step's mean reward is reported.
    settings = trl_config(config_type, {"logging_steps": 1, **config.train}, "trainer.train", on_cpu=on_cpu, **own)
    with leaving_no_trace(policy, reference, settings.gradient_checkpointing):
        trainer = trainer_type(
            model=policy.model,
            reward_funcs=reward,
            args=settings,
            train_dataset=dataset,
            processing_class=policy.tokenizer,
        )
        policy.set_reference(reference)  # instead of the trainer's copy of `default`
        if whole:
            _give_reference(trainer, policy, beta)
        outcome = train_with_progress(trainer, "Training", progress)
    rewards = [x["reward"] for x in trainer.state.log_history if "reward" in x]
    return {
        "train_loss": float(outcome.training_loss),
        "optimizer_steps": float(outcome.global_step),
        **({"reward_model_reward": float(rewards[-1])} if rewards else {}),
    }


def _give_reference(trainer: Any, policy: Policy, beta: float) -> None:
    """Let a trainer of all parameters measure the KL from the policy's own reference model."""
    model = policy.weights.reference_model
    add_fused_lm_head(model, temperature=trainer.temperature)
    trainer.ref_model = trainer.accelerator.prepare_model(model, evaluation_mode=True)
    trainer.beta = beta
