"""ActiveDPO as one flat loop, to read: the loop that `duelist.Study` runs, without abstractions.

    python recipes/loop_plain.py                # the quickstart's environment, model and settings

The loop calls only public functions, in the order of the paper's algorithm (Lin et al., ICLR 2026, arXiv 2505.19241).
Everything is in memory: no store, no recipe, no resuming. With equal settings and seed, it picks exactly the pairs that
a `Study` picks.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

from duelist import Batch, Label, Preference, Question, choose
from duelist.acquisition import ActiveDPO, ActiveDPOConfig, InitialRandom
from duelist.data import PromptSet
from duelist.evaluation import EvaluationConfig, evaluate
from duelist.featurizers import FeatureJob, Gradient, GradientConfig, featurize
from duelist.models import Models, Policy, PolicyConfig
from duelist.pairing import InPrompt, InPromptConfig
from duelist.progress import Silent
from duelist.samplers import SampleJob, Vanilla, VanillaConfig
from duelist.seeding import derived_seed, generator
from duelist.trainers import DPO, DPOTrainerConfig


def active_dpo(
    policy: Policy,
    prompts: PromptSet,
    sampler: Vanilla,
    featurizer: Gradient,
    acquisition: ActiveDPO,
    annotate: Callable[[Batch], list[Label]],
    trainer: DPO,
    *,
    rounds: int,
    budget: int,
    initial_random: int,
    beta: float,
    seed: int,
    after_round: Callable[[int], None] = lambda t: None,
) -> list[list[str]]:
    """Run the loop on a fixed pool. Each round retrains from the reference on all labels.

    Returns:
        The ids of the pairs picked in each round, in pick order.
    """
    silent, by_id = Silent(), {p.id: p for p in prompts.train}
    past: list[Question] = []
    preferences: list[Preference] = []
    picks: list[list[str]] = []
    with tempfile.TemporaryDirectory() as folder:
        policy.save_weights(Path(folder))  # π_0, the start of every round's training

        # Line 3: draw responses, and form every pair of responses to the same prompt.
        draw = SampleJob(Models(policy), prompts.train, prompts.given, 1, beta, derived_seed(seed, "sample", 1), silent)
        pool = InPrompt(InPromptConfig()).pairs(sampler.sample(draw), prompts.given, 1)

        for t in range(1, rounds + 1):
            # Lines 5-9: gradients of the current policy's implicit reward, then greedy selection of argmax ‖φ‖ in V⁻¹.
            asked = {p.id for p in past}
            candidates = [p for p in pool if p.id not in asked]
            rule = InitialRandom(acquisition, max(0, initial_random - (t - 1) * budget), budget)
            job = FeatureJob(Models(policy), candidates, past, by_id, beta, derived_seed(seed, "projection"), silent)
            features = featurize([featurizer], rule.needs, job)
            selection = choose(rule, features, budget, generator(seed, "select", t))
            chosen = [candidates[i] for i in selection.indices_B]
            past += chosen
            picks.append([p.id for p in chosen])

            # Line 10: ask for labels. Only preferences are trained on, no other outcome.
            batch = Batch(t, tuple(chosen), by_id, tuple(selection.scores_B.tolist()), selection.unit)
            pairs = {p.id: p for p in chosen}
            for label in annotate(batch):
                pair = pairs[label.pair_id]
                if label.outcome in ("a", "b"):
                    winner, loser = (pair.a, pair.b) if label.outcome == "a" else (pair.b, pair.a)
                    preferences.append(Preference(by_id[winner.prompt_id], winner, loser, pair.id, label.annotator))

            # Line 11: train DPO on all labels so far. Sorting makes the result independent of the order of labels.
            preferences.sort(key=lambda p: (p.pair_id, p.annotator))
            policy.load_weights(Path(folder))
            trainer.train(policy, preferences, beta, derived_seed(seed, "train", t), silent)
            after_round(t)
    return picks


def main() -> None:
    """Run the quickstart as a flat loop."""
    from duelist.annotators import RewardFunctionAnnotator, RewardFunctionConfig
    from duelist.data import PromptsConfig, load_prompts
    from duelist.recipe import prepare

    options = argparse.ArgumentParser(description=main.__doc__)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--rounds", type=int, default=8)
    arguments = options.parse_args()
    seed, beta = arguments.seed, 0.5
    torch.set_num_threads(1)

    world = prepare("duelist.world:prepare", {"seed": seed, "prompts": 200}, Silent())
    places = PromptsConfig(path=str(world / "prompts.jsonl"), held_out_path=str(world / "held_out.jsonl"))
    prompts = load_prompts(places, seed)
    lora = {"r": 8, "lora_alpha": 16, "target_modules": "all-linear"}
    policy = Policy.load(PolicyConfig(model=str(world / "model"), lora=lora), derived_seed(seed, "lora"))
    oracle = RewardFunctionAnnotator(
        RewardFunctionConfig(
            function="duelist.world:reward", arguments={"world": str(world)}, choice="bradley_terry", temperature=0.125
        )
    )
    eight = EvaluationConfig(responses_per_prompt=8, max_new_tokens=8, batch_size=512)
    train = {"learning_rate": 1e-3, "num_train_epochs": 6, "per_device_train_batch_size": 16}

    def report(t: int) -> None:
        measured = evaluate(
            policy, prompts.held_out, oracle.reward, None, eight, beta=beta,
            seed=derived_seed(seed, "evaluate"), progress=Silent(), label_temperature=oracle.label_temperature,
        )  # fmt: skip
        print(f"round {t}: mean reward {measured.metrics['mean_reward']:.4f}")

    report(0)
    active_dpo(
        policy,
        prompts,
        Vanilla(VanillaConfig(responses_per_prompt=3, max_new_tokens=8, batch_size=512)),
        Gradient(GradientConfig()),
        ActiveDPO(ActiveDPOConfig()),
        lambda batch: oracle.annotate(batch, derived_seed(seed, "annotate"), Silent()),
        DPO(DPOTrainerConfig(train={**train, "lr_scheduler_type": "constant"})),
        rounds=arguments.rounds,
        budget=16,
        initial_random=16,
        beta=beta,
        seed=seed,
        after_round=report,
    )


if __name__ == "__main__":
    main()
