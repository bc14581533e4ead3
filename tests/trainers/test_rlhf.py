"""RLHF: a reward model from the labels, and a policy trained on that reward model; what is relied on inside TRL."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from trained_policies import responses_to
from transformers import Phi3Config, Phi3ForSequenceClassification
from trl import RewardTrainer

from duelist.errors import RecipeError
from duelist.models.decoding.generation import generate
from duelist.models.decoding.local import Decoding
from duelist.models.policy.config import PolicyConfig
from duelist.models.policy.policy import Policy
from duelist.models.rewards.classifier import saved_rewards
from duelist.progress import Silent
from duelist.recipe.component import Component
from duelist.trainers import trl_rlhf
from duelist.trainers.base import Trainer
from duelist.trainers.rlhf import RLHF
from duelist.trainers.rlhf_settings import RewardClassifierConfig, RLHFConfig
from duelist.types import Preference, Prompt
from tiers import first

REWARD = {"train": {"num_train_epochs": 6, "learning_rate": 5e-3, "per_device_train_batch_size": 8}}
POLICY = {
    "num_train_epochs": 10,
    "learning_rate": 2e-2,
    "per_device_train_batch_size": 32,
    "num_generations": 4,
    "max_completion_length": 4,
}


@pytest.fixture
def policy(tiny_model: Path) -> Policy:
    lora = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear"}
    policy = Policy.load(PolicyConfig(model=str(tiny_model), lora=lora, device="cpu"), seed=1)
    # A random model's logits are nearly flat, and no adapter below the output layer moves them much.
    policy.model.get_base_model().model.norm.weight.data.mul_(20)
    return policy


@pytest.fixture
def preferences(policy: Policy) -> list[Preference]:
    """Whoever decides prefers words with high numbers."""
    found = []
    for i in range(16):
        prompt = Prompt.of([{"role": "user", "content": f"w{i} w{i + 1}"}])
        texts = [f"w{39 - i} w3{i % 10}", f"w{i} w{(i + 2) % 10}"]
        a, b = responses_to(policy, prompt, texts)
        found.append(Preference(prompt, a, b, f"pair{i}", "someone"))
    return found


def fit(policy: Policy, preferences: list[Preference], tmp_path: Path) -> tuple[Any, Any]:
    config = RewardClassifierConfig.model_validate(REWARD)
    return trl_rlhf.train_reward_classifier(policy, preferences, config, 0, str(tmp_path), Silent())


def sequences(preferences: list[Preference]) -> list[list[int]]:
    responses = [r for p in preferences for r in (p.chosen, p.rejected)]
    return [[*r.prompt_token_ids, *r.token_ids] for r in responses]


def test_the_reward_model_learns_what_was_chosen(policy: Policy, preferences: list[Preference], tmp_path: Path) -> None:
    model, fitted = fit(policy, preferences, tmp_path)
    assert fitted["reward_model_agreement"] > 0.9
    score = trl_rlhf.reward_scorer(model, policy.tokenizer.pad_token_id)
    together = score(sequences(preferences))
    alone = []
    for ids in sequences(preferences):  # without padding, one at a time
        with torch.no_grad():
            alone.append(float(model(input_ids=torch.tensor([ids])).logits[0, 0]))
    torch.testing.assert_close(torch.tensor(together), torch.tensor(alone))


def test_a_reward_is_the_same_in_the_company_of_a_longer_sequence() -> None:
    """LongRoPE encodes every position in another way beyond 8 tokens, by the longest sequence that is run."""
    torch.manual_seed(0)
    rope = {"rope_type": "longrope", "rope_theta": 10_000.0, "original_max_position_embeddings": 8}
    rope |= {"short_factor": [1.0, 1.1], "long_factor": [2.0, 4.0]}
    shape = {"vocab_size": 40, "hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 4}
    shape |= {"num_hidden_layers": 1, "num_key_value_heads": 2, "pad_token_id": 0, "max_position_embeddings": 32}
    config = Phi3Config(**shape, original_max_position_embeddings=8, rope_parameters=rope, num_labels=1)
    score = trl_rlhf.reward_scorer(Phi3ForSequenceClassification(config).eval(), 0)
    rows = [list(range(1, n + 1)) for n in (5, 12, 8, 9)]
    assert score(rows) == pytest.approx([score([row])[0] for row in rows], rel=1e-4)


def test_the_policys_base_model_is_loaded_as_the_policy_is(
    tiny_model: Path, preferences: list[Preference], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: dict[str, Any] = {"revision": "v2", "dtype": "float64", "load": {"attn_implementation": "eager"}}
    lora = {"r": 2, "target_modules": ["q_proj"]}
    policy = Policy.load(PolicyConfig(model=str(tiny_model), lora=lora, device="cpu", **settings), seed=1)
    seen: list[Any] = []
    stock = trl_rlhf.load_pretrained

    def spy(loader: Any, name: str, key: str, revision: str | None = None, **arguments: Any) -> Any:
        seen.append(revision)
        return stock(loader, name, key, revision, **arguments)

    monkeypatch.setattr(trl_rlhf, "load_pretrained", spy)
    for model, dtype, expected in ((None, torch.float64, "v2"), (str(tiny_model), torch.float32, None)):
        config = RewardClassifierConfig.model_validate({"model": model, "lora": None, "train": {"max_steps": 1}})
        found, _ = trl_rlhf.train_reward_classifier(policy, preferences, config, 0, str(tmp_path), Silent())
        assert found.dtype == dtype and seen.pop() == expected
        assert (found.config._attn_implementation == "eager") == (model is None)


def test_trl_trains_on_our_token_ids(
    policy: Policy, preferences: list[Preference], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[int]] = []
    stock = RewardTrainer.compute_loss

    def spy(self: Any, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        for ids, mask in zip(inputs["input_ids"], inputs["attention_mask"], strict=True):
            seen.append(ids[mask.bool()].tolist())
        return stock(self, model, inputs, *args, **kwargs)

    monkeypatch.setattr(RewardTrainer, "compute_loss", spy)
    fit(policy, preferences, tmp_path)
    assert {tuple(s) for s in seen} == {tuple(s) for s in sequences(preferences)}


@pytest.mark.parametrize("algorithm", ["rloo", pytest.param("grpo", marks=pytest.mark.full)])
def test_the_policy_gains_reward_and_nothing_is_left_behind(
    algorithm: str, policy: Policy, preferences: list[Preference], tmp_path: Path
) -> None:
    policy.save_weights(tmp_path / "reference")
    policy.set_reference(tmp_path / "reference")
    model, _ = fit(policy, preferences, tmp_path)
    score = trl_rlhf.reward_scorer(model, policy.tokenizer.pad_token_id)

    def rewards() -> torch.Tensor:
        drawn = generate(
            policy,
            [p.prompt for p in preferences],
            Decoding(max_new_tokens=4, batch_size=128),
            responses_per_prompt=8,
            round=1,
            seed=0,
            progress=Silent(),
        )
        return torch.tensor(score([[*r.prompt_token_ids, *r.token_ids] for r in drawn]))

    before = rewards()
    state = {n: p.requires_grad for n, p in policy.model.named_parameters()}
    config = RLHFConfig.model_validate({"algorithm": algorithm, "reward_model": REWARD, "train": POLICY})
    report = RLHF(config).train(policy, preferences, 0.01, 0, Silent())
    assert rewards().mean() > before.mean() + 0.5 * before.std()
    assert report["optimizer_steps"] == 20 and report["reward_model_agreement"] > 0.9
    assert {n: p.requires_grad for n, p in policy.model.named_parameters()} == state
    assert policy.reference_folder == tmp_path / "reference" and sorted(policy.model.peft_config) == ["default", "ref"]
    assert not any(p.grad is not None for p in policy.model.parameters())


@pytest.mark.parametrize("algorithm", first(1, ["grpo", "rloo"]))
def test_frozen_matrices_are_frozen_when_the_loss_is_differentiated(
    algorithm: str, policy: Policy, preferences: list[Preference], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also after the reference was asked: their gradients would enter the norm that gradients are clipped to."""
    for name, parameter in policy.model.named_parameters():
        if "lora_A" in name:
            parameter.requires_grad_(False)
    trained = {n for n, p in policy.model.named_parameters() if p.requires_grad}
    policy.save_weights(tmp_path / "reference")
    policy.set_reference(tmp_path / "reference")
    seen: list[set[str]] = []
    stock = transformers.Trainer.training_step

    def spy(self: Any, *args: Any, **kwargs: Any) -> Any:
        loss = stock(self, *args, **kwargs)
        if self.model is policy.model:
            seen.append({n for n, p in self.model.named_parameters() if p.grad is not None})
        return loss

    monkeypatch.setattr(transformers.Trainer, "training_step", spy)
    train = {**POLICY, "max_steps": 3}
    config = RLHFConfig.model_validate({"algorithm": algorithm, "reward_model": REWARD, "train": train})
    RLHF(config).train(policy, preferences, 0.01, 0, Silent())
    assert seen == [trained] * 3


def test_the_reward_is_of_the_tokens_that_were_drawn(
    policy: Policy, preferences: list[Preference], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, _ = fit(policy, preferences, tmp_path)
    scored: list[list[int]] = []

    def spy(*_: Any) -> Any:
        return lambda rows: (scored.extend(rows), [float(len(r)) for r in rows])[1]

    monkeypatch.setattr(trl_rlhf, "reward_scorer", spy)
    trl_rlhf.optimize_policy(
        policy,
        preferences,
        model,
        RLHFConfig.model_validate({"algorithm": "rloo", "train": {**POLICY, "max_steps": 1}}),
        beta=0.1,
        seed=0,
        scratch=str(tmp_path),
        progress=Silent(),
    )
    prompts = [list(p.chosen.prompt_token_ids) for p in preferences]
    assert scored and all(any(s[: len(p)] == p and len(p) < len(s) <= len(p) + 4 for p in prompts) for s in scored)


@pytest.mark.full
def test_equal_seeds_give_equal_weights(tiny_model: Path, preferences: list[Preference]) -> None:
    def weights(seed: int) -> list[torch.Tensor]:
        lora = {"r": 2, "target_modules": ["q_proj"]}
        policy = Policy.load(PolicyConfig(model=str(tiny_model), lora=lora, device="cpu"), seed=1)
        config = RLHFConfig.model_validate({"reward_model": REWARD, "train": {**POLICY, "max_steps": 2}})
        RLHF(config).train(policy, preferences, 0.1, seed, Silent())
        return [p.detach().clone() for n, p in policy.model.named_parameters() if ".default." in n]

    first, again, other = weights(0), weights(0), weights(1)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(first, other, strict=True))


def test_settings_that_are_decided_elsewhere_or_unknown_are_refused() -> None:
    for train in ({"beta": 0.3}, {"num_generation": 4}):
        with pytest.raises(RecipeError, match=next(iter(train))):
            Component.of(Trainer, {"name": "rlhf", "train": train})
    with pytest.raises(RecipeError, match="algorithm"):
        Component.of(Trainer, {"name": "rlhf", "algorithm": "ppo"})
    with pytest.raises(RecipeError, match=r"disable_tqdm.*shows its own progress"):
        Component.of(Trainer, {"name": "rlhf", "reward_model": {"train": {"disable_tqdm": False}}})


def test_each_algorithm_has_the_settings_of_its_own_trainer() -> None:
    for algorithm, other, key in (("grpo", "rloo", "scale_rewards"), ("rloo", "grpo", "normalize_advantages")):
        settings: dict[str, Any] = {"name": "rlhf", "train": {key: True}}
        assert Component.of(Trainer, {**settings, "algorithm": algorithm}).setting("train") == {key: True}
        with pytest.raises(RecipeError, match=f"`{key}` must be an argument of {other.upper()}Config"):
            Component.of(Trainer, {**settings, "algorithm": other})


def test_the_reward_models_adapter_has_peft_arguments() -> None:
    with pytest.raises(RecipeError, match="`rank` must be an argument of LoraConfig"):
        Component.of(Trainer, {"name": "rlhf", "reward_model": {"lora": {"rank": 8}}})


def test_the_reward_models_loss_has_the_pairs_weights(
    policy: Policy, preferences: list[Preference], tmp_path: Path
) -> None:
    weight = [0.25 * (i + 1) for i in range(len(preferences))]
    weighted = [replace(p, weight=w) for p, w in zip(preferences, weight, strict=True)]
    one = {"train": {"max_steps": 1, "per_device_train_batch_size": 16, "learning_rate": 1e-12}, "lora": None}
    config = RewardClassifierConfig.model_validate(one)
    seen: list[float] = []
    for some in (weighted, preferences):
        model, fitted = trl_rlhf.train_reward_classifier(policy, some, config, 0, str(tmp_path), Silent())
        scores = []
        for ids in sequences(preferences):  # the step was too small to see: these are the rewards before it
            with torch.no_grad():
                scores.append(float(model(input_ids=torch.tensor([ids])).logits[0, 0]))
        losses = [-math.log(1 / (1 + math.exp(b - a))) for a, b in zip(scores[::2], scores[1::2], strict=True)]
        shares = weight if some is weighted else [1.0] * len(losses)
        expected = sum(w * x for w, x in zip(shares, losses, strict=True)) / len(losses)
        assert fitted["reward_model_loss"] == pytest.approx(expected, rel=1e-4)
        seen.append(expected)
    assert abs(seen[0] - seen[1]) > 0.1


@pytest.mark.parametrize("algorithm", first(1, ["rloo", "grpo"]))
def test_all_parameters_are_trained_against_the_policys_own_reference(
    algorithm: str, tiny_model: Path, preferences: list[Preference], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Policy.load(PolicyConfig(model=str(tiny_model), adapter="none", device="cpu"), seed=1)
    base = {n: p.detach().clone() for n, p in whole.weights.reference_model.named_parameters()}  # type: ignore[union-attr]
    for module in ("rloo_trainer", "grpo_trainer"):  # TRL loads no reference of its own
        monkeypatch.setattr(f"trl.trainer.{module}.create_model_from_path", None)
    trainers: list[Any] = []
    stock = trl_rlhf.train_with_progress

    def spy(trainer: Any, *rest: Any) -> Any:
        trainers.append(trainer)
        return stock(trainer, *rest)

    monkeypatch.setattr(trl_rlhf, "train_with_progress", spy)
    settings = {"algorithm": algorithm, "reward_model": REWARD, "train": {**POLICY, "num_train_epochs": 2}}
    trainer = RLHF(RLHFConfig.model_validate(settings))
    report = trainer.train(whole, preferences, 0.05, 0, Silent())
    kl = [x["kl"] for x in trainers[-1].state.log_history if "kl" in x]
    assert report["optimizer_steps"] == len(kl) == 4
    assert abs(kl[0]) < 1e-6 < max(map(abs, kl[1:]))  # at first the policy is its reference
    after = dict(whole.weights.reference_model.named_parameters())  # type: ignore[union-attr]
    assert all(torch.equal(after[n], p) for n, p in base.items())
    assert all(not torch.equal(p, base[n]) for n, p in whole.model.named_parameters())
    assert not any("forward" in vars(m) for m in (whole.model, whole.weights.reference_model))
    trainer.keep(tmp_path)
    assert not (tmp_path / "reward_model").exists()  # it was not asked for


def test_the_reward_model_is_kept_whole_if_asked_for(
    policy: Policy, preferences: list[Preference], tmp_path: Path
) -> None:
    settings = {"reward_model": {**REWARD, "keep": True}, "train": {**POLICY, "max_steps": 1}}
    trainer = RLHF(RLHFConfig.model_validate(settings))
    trainer.train(policy, preferences, 0.05, 0, Silent())
    trainer.keep(tmp_path)
    rows = sequences(preferences)
    found = saved_rewards(tmp_path / "reward_model", rows, torch.device("cpu"))
    model, _ = fit(policy, preferences, tmp_path)  # the same labels and seed
    assert found == pytest.approx(trl_rlhf.reward_scorer(model, policy.tokenizer.pad_token_id)(rows), abs=1e-4)
