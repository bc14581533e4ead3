"""Plan and cost of a study, computed without side effects: `duelist run RECIPE --dry-run`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

from duelist.errors import ModelError
from duelist.models.policy.config import PolicyConfig
from duelist.models.rewards.config import RewardModelConfig
from duelist.preflight.examination import Findings, examine
from duelist.preflight.pool import prompts_in_rounds
from duelist.preflight.precision import architecture_config
from duelist.preflight.work import BATCH
from duelist.recipe.recipe import Recipe, policy_of
from duelist.recipe.round_plan import budgets, is_checkpoint, is_evaluated, listed, total_budget

BYTES = {"float32": 4, "bfloat16": 2, "float64": 8}
GIB = 2**30
EMBEDDING_DIMENSION = 768  # assumed width of an embedding before the first one is computed
PROMPT_TOKENS = 128  # assumed length of a prompt in the bound on gradient tokens


@dataclass(frozen=True)
class Plan:
    """Cost of a study. A field is None if it cannot be known yet; `notes` says why.

    Attributes:
        labels: questions asked in the whole study.
        prompts_per_round: prompts that get responses in each round; one number per round if they differ.
        generations: responses drawn in the whole study, including the evaluation's.
        candidate_pairs: maximum number of questions in one round's pool.
        gradient_tokens: upper bound on the tokens run forward and backward for features in the whole study.
        base_parameters: number of parameters of the base model.
        trained_parameters: number of trained parameters: of the adapter, of the reward model, or all.
        memory_bytes: peak memory of model, optimizer and features, without activations.
        activation_bytes: activations and logits of one training step, as if every sequence had full length.
        feature_bytes: one round's features and gradients on disk, which are deleted after the selection.
        disk_bytes: the study folder at the end, plus `feature_bytes`.
        notes: what is not known, and why.
    """

    labels: int
    prompts_per_round: int | tuple[int, ...] | None
    generations: int | None
    candidate_pairs: int | None
    gradient_tokens: int | None
    base_parameters: int | None
    trained_parameters: int | None
    memory_bytes: int | None
    activation_bytes: int | None
    feature_bytes: int | None
    disk_bytes: int | None
    notes: tuple[str, ...]


def plan(recipe: Recipe, *, libraries: bool = True) -> Plan:
    """Return the cost of `recipe`, reading only what is available.

    Args:
        recipe: the recipe.
        libraries: if False, the plan is made in about a second, without torch: the model's size and what needs it stay
            unknown.

    Raises:
        DuelistError: if something is available but not usable.
    """
    return plan_of(examine(recipe, offline_ok=True, libraries=libraries), libraries=libraries)


def plan_of(found: Findings, *, libraries: bool = True) -> Plan:
    """Return the plan of a recipe that was examined; see `plan`."""
    notes = list(found.notes)
    ready = found.recipe
    in_rounds = prompts_in_rounds(ready, found.prompts)
    counts = ready.sampler.build().counts
    m = 2 if counts is None else counts.responses
    pairs = found.pairs
    if ready.reward_model is not None and ready.policy is None:
        return _reward_plan(ready, ready.reward_model, found, notes)
    generations = tokens = None
    if in_rounds is not None:
        pairs = max(in_rounds) * (m * (m - 1) // 2) if pairs is None else pairs
        answered = in_rounds[0] if ready.pool == "fixed" else sum(in_rounds)
        generations = 0 if counts is None else answered * counts.decoded
        tokens = _gradient_tokens(ready, sum(in_rounds) * m, found.sets_of)
    of_rounds = range(1, ready.rounds + 1)
    # A reward model is evaluated on the same responses every time, because the policy that writes them is not trained.
    again = ready.reward_model is None
    evaluated = 1 + again * sum(is_evaluated(ready, t, ready.rounds) for t in of_rounds)
    kept = 1 + sum(is_checkpoint(ready, t, ready.rounds) for t in of_rounds)
    held_out = (ready.prompts.held_out or None) if found.prompts is None else len(found.prompts.held_out)
    if generations is not None and held_out is not None:
        generations += held_out * ready.evaluation.responses_per_prompt * evaluated
    policy = policy_of(ready)
    base, adapter = _parameter_counts(policy, found, notes) if libraries else (None, None)
    if ready.reward_model is not None:
        adapter = 0  # the policy only generates
    gradient = ready.featurizers.get("gradient")
    dimension = (gradient and gradient.setting("dimension")) or adapter
    if ready.reward_model is not None or "gradient_ND" not in ready.acquisition.build().needs:
        tokens, dimension = 0, 0
    elif tokens is not None:
        notes.append(f"Gradient tokens are counted with {PROMPT_TOKENS} tokens a prompt and responses of full length.")
    features = 0 if dimension == 0 else None
    rows = _feature_rows(ready, found, pairs)
    if rows is not None and dimension is not None:
        features = rows * dimension * 4
    memory = disk = activations = None
    if base is not None:
        activations = _activation_bytes(ready, policy, found)
    if base is not None and adapter is not None and features is not None:
        # The base model or reference; the trained weights (an adapter in float32) with gradient and Adam's two moments;
        # features as computed and as reordered.
        each = BYTES["float32" if policy.adapter == "lora" else policy.dtype]
        memory = base * BYTES[policy.dtype] + max(adapter * 4 * each, adapter * each + features * 2)
        # The saved weights and a copy of the latest (online, each with Adam's moments); one round's features and their
        # gradients, at most two per row; every token as JSON.
        disk = adapter * each * (3 if ready.online else 1) * (kept + 1) + 3 * features + (tokens or 0) * 8
    sft = None if ready.initial is None else ready.initial.sft
    if sft is not None and base is not None and memory is not None and disk is not None:
        disk += base * BYTES[policy.dtype]
        if sft.lora is None:  # all weights in float32, with gradient and Adam's two moments
            memory = max(memory, base * 4 * 4)
        notes.append("Memory and disk include the supervised fine-tuning before round 1.")
    return Plan(
        labels=total_budget(ready),
        prompts_per_round=_told(in_rounds),
        generations=generations,
        candidate_pairs=pairs,
        gradient_tokens=tokens,
        base_parameters=base,
        trained_parameters=adapter,
        memory_bytes=memory,
        activation_bytes=activations,
        feature_bytes=None if features is None else 3 * features,
        disk_bytes=disk,
        notes=tuple(notes),
    )


def _reward_plan(recipe: Recipe, config: RewardModelConfig, found: Findings, notes: list[str]) -> Plan:
    """Return the plan of a study without a language model: nothing is generated, and the reward model is small."""
    pairs, in_rounds = found.pairs, prompts_in_rounds(recipe, found.prompts)
    inputs = EMBEDDING_DIMENSION
    notes.append(f"Sizes are those of embeddings of {inputs} dimensions; the embedding model comes on top.")
    members = config.members if config.posterior == "ensemble" else 1
    sizes = [inputs, *config.hidden]
    trained = members * (sum(a * b + b for a, b in pairwise(sizes)) + sizes[-1])
    needs = recipe.acquisition.build().needs
    width = sizes[-1] * members * ("gradient_ND" in needs) + inputs * ("embedding_ND" in needs)
    rows = _feature_rows(recipe, found, pairs)
    features = None if rows is None else rows * width * 8
    memory = disk = None
    if features is not None:
        memory, disk = trained * 16 + 2 * features, trained * 4 * (recipe.rounds + 2) + features
    return Plan(
        labels=total_budget(recipe),
        prompts_per_round=_told(in_rounds),
        generations=0,
        candidate_pairs=pairs,
        gradient_tokens=0,
        base_parameters=0,
        trained_parameters=trained,
        memory_bytes=memory,
        activation_bytes=0,
        feature_bytes=features,
        disk_bytes=disk,
        notes=tuple(notes),
    )


def plan_rows(plan: Plan) -> Mapping[str, str]:
    """Return the plan as text, for a table."""

    def count(value: int | None) -> str:
        return "not known yet" if value is None else f"{value:,}"

    def size(value: int | None) -> str:
        return "not known yet" if value is None else f"{value / GIB:.2f} GiB"

    each = plan.prompts_per_round if isinstance(plan.prompts_per_round, tuple) else (plan.prompts_per_round,)
    return {
        "labels": count(plan.labels),
        "prompts per round": listed([count(n) for n in each]),
        "generations": count(plan.generations),
        "candidate questions per round, at most": count(plan.candidate_pairs),
        "gradient tokens, at most": count(plan.gradient_tokens),
        "base model parameters": count(plan.base_parameters),
        "trained parameters": count(plan.trained_parameters),
        "memory beside activations": size(plan.memory_bytes),
        "activations of a training step, at most": size(plan.activation_bytes),
        "disk": size(plan.disk_bytes),
    }


def _activation_bytes(recipe: Recipe, policy: PolicyConfig, found: Findings) -> int | None:
    """Return the bytes of a training step's activations, and of its logits and their gradient in float32.

    Each layer keeps 34 bytes per token and unit of width in 16 bits, and with gradient checkpointing its input only
    (Korthikanti et al., arXiv 2205.05198, equation 2, without the attention's scores).
    """
    config = found.model if found.model is not None else policy.architecture and architecture_config(policy)
    settings = recipe.trainer.build().trl_settings
    longest = recipe.sampler.setting("max_new_tokens") or recipe.evaluation.max_new_tokens
    if not config or not settings or not hasattr(config, "hidden_size"):
        return None
    width, layers, vocabulary = config.hidden_size, config.num_hidden_layers, config.vocab_size
    on_cpu = policy.device == "cpu"
    most = 0
    for of_trl in settings:
        sequences = 2 * int(of_trl.train.get("per_device_train_batch_size", BATCH))
        checkpoints = of_trl.train.get("gradient_checkpointing", not on_cpu)
        of_layer = (1 if checkpoints else 17) * BYTES[policy.dtype]
        tokens = sequences * (int(longest) + PROMPT_TOKENS)
        most = max(most, tokens * (layers * width * of_layer + 2 * 4 * vocabulary))
    return most


def _told(in_rounds: tuple[int, ...] | None) -> int | tuple[int, ...] | None:
    """Return one number if every round has the same, else the number of each round."""
    return in_rounds[0] if in_rounds is not None and len(set(in_rounds)) == 1 else in_rounds


def _feature_rows(recipe: Recipe, found: Findings, pairs: int | None) -> int | None:
    """Return the rows of a round's features, past questions included: one per pair, or per response of larger ones."""
    k = found.sets_of
    rows = pairs if k == 2 else found.responses
    return None if rows is None else rows + (1 if k == 2 else k) * total_budget(recipe)


def _gradient_tokens(recipe: Recipe, responses: int, k: int) -> int | None:
    """Return an upper bound: responses of all rounds at full length, and the k of past questions again in each."""
    longest = recipe.sampler.setting("max_new_tokens")
    if longest is None:
        return None
    past = k * sum(accumulate(budgets(recipe)[:-1]))
    return (responses + past) * (int(longest) + PROMPT_TOKENS)


def _parameter_counts(policy: PolicyConfig, found: Findings, notes: list[str]) -> tuple[int | None, int | None]:
    import torch
    from peft import LoraConfig, PeftConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    config = found.model
    if config is None and policy.architecture is not None:
        notes.append("Parameters, memory and disk are those of `policy.architecture`.")
        config = architecture_config(policy)
    if config is None:
        return None, None
    start = policy.initial_adapter
    with torch.device("meta"):  # shapes without data: nothing is allocated
        base: Any = AutoModelForCausalLM.from_config(config)
        count = sum(p.numel() for p in base.parameters())
        if policy.adapter == "none":
            return count, count
        if start is not None and not (Path(start).expanduser() / "adapter_config.json").is_file():
            notes.append(f"The adapter {start} is out of reach here: sizes are those of `policy.lora`.")
            start = None
        try:
            fresh = LoraConfig(task_type="CAUSAL_LM", **policy.lora)
            lora = fresh if start is None else PeftConfig.from_pretrained(str(Path(start).expanduser()))
            model = get_peft_model(base, lora)
        except (TypeError, ValueError) as error:
            raise ModelError(f"policy.lora must fit {policy.model}, but it does not: {error}") from error
    return count, sum(p.numel() for n, p in model.named_parameters() if "lora_" in n)
