"""J of every round's policy of a comparison, on the same responses of the initial model.

    python benchmarks/kept_policies.py COMPARISON -o values.csv [--prompts 48] [--responses 8]

A study's own evaluation draws responses anew from every policy, so that arms differ by the luck of the draws. Here the
initial model draws `--responses` answers to each of `--prompts` held-out prompts, once for all studies, and every kept
policy is judged on them by importance weights w = π_θ(y|x)/π_ref(y|x), whose mean is 1:

    E_π[r]    mean of r + (w − 1)(r − b),   b the mean reward of the prompt's other answers
    KL        mean of w log w − (w − 1)     (no term is negative)
    J         E_π[r]/T − β KL

Both means are unbiased, and the draws are the same for all arms. `effective` is (Σw)²/(R Σw²), the share of the answers
that count: far from the initial model it falls, and the numbers say little.

Layers below the first adapted one compute the same in all policies: what they return is computed once.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console

from duelist.cli.console import TerminalProgress
from duelist.models.decoding.generation import generate
from duelist.models.policy.logprobs import sequence_log_probs
from duelist.models.policy.policy import Policy
from duelist.models.policy.response_batches import tokenized
from duelist.progress import quiet_libraries
from duelist.recipe.recipe import load_recipe
from duelist.study.components import StudyComponents, prepared
from duelist.types import Response

Floats = NDArray[np.float64]
MAX_TOKENS = 2048  # of a forward pass


@final
class FrozenLayers(torch.nn.Module):
    """Layers below the first adapted one: what they return is computed in a first pass and remembered."""

    def __init__(self, layers: Sequence[torch.nn.Module]) -> None:
        super().__init__()
        self._layers = torch.nn.ModuleList(layers)
        self._known: list[torch.Tensor] = []
        self._next = 0

    @property
    def count(self) -> int:
        """Number of layers."""
        return len(self._layers)

    def again(self) -> None:
        """Begin another pass over the same batches."""
        self._next = 0

    def forward(self, hidden: torch.Tensor, *arguments: Any, **options: Any) -> torch.Tensor:
        if self._next == len(self._known):
            for layer in self._layers:
                hidden = layer(hidden, *arguments, **options)
            self._known.append(hidden)
        self._next += 1
        return self._known[self._next - 1]


def log_probs(policy: Policy, responses: Sequence[Response], frozen: FrozenLayers) -> Floats:
    """Return log π_θ(y|x) of each response, in nats; `frozen` remembers the layers that it has."""
    body = policy.model.get_base_model().model
    layers = body.layers
    frozen.again()
    if frozen.count:  # outside of this function, weights are loaded by the layers' own names
        body.layers = torch.nn.ModuleList([frozen, *layers[frozen.count :]])
    try:
        return sequence_log_probs(policy.model, tokenized(responses), max_tokens=MAX_TOKENS)
    finally:
        body.layers = layers


def values(log_ratio_R: Floats, reward_R: Floats, per_prompt: int) -> dict[str, float]:
    """Return the mean reward and KL of a policy from R answers of the reference, `per_prompt` to each prompt."""
    w_R = np.exp(log_ratio_R)
    reward_PK = reward_R.reshape(-1, per_prompt)
    others_R = ((reward_PK.sum(1, keepdims=True) - reward_PK) / (per_prompt - 1)).ravel()
    return {
        "mean_reward": float(np.mean(reward_R + (w_R - 1) * (reward_R - others_R))),
        "kl": float(np.mean(w_R * log_ratio_R - (w_R - 1))),
        "effective": float(w_R.sum() ** 2 / (w_R**2).sum() / len(w_R)),
    }


def main() -> None:
    """Draw the answers, judge every kept policy, and write one row for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder of a comparison")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--prompts", type=int, default=48)
    parser.add_argument("--responses", type=int, default=8, help="answers to each prompt, at least 2")
    options = parser.parse_args()
    quiet_libraries()
    progress = TerminalProgress(Console(stderr=True))
    studies = sorted(options.folder.glob("studies/*/seed-*"))
    recipe = load_recipe(studies[0] / "recipe.yaml", [f"prompts.held_out={options.prompts}"])
    if "{seed}" in str(recipe.prepare) and len({study.name for study in studies}) > 1:
        raise SystemExit("All studies must align the same model, but `prepare` makes one for each seed.")
    torch.set_num_threads(recipe.torch_threads or torch.get_num_threads())
    parts = StudyComponents(prepared(recipe, progress))
    config, temperature = parts.recipe.policy, parts.label_temperature
    if config is None or parts.reward is None or temperature is None:
        raise SystemExit("A study of a policy, whose annotator has a known reward and temperature, is required.")
    policy = Policy.load(config, seed=0)  # a fresh adapter changes nothing
    prompts = parts.prompts.held_out
    how = recipe.evaluation.decoding
    responses = generate(
        policy, prompts, how, responses_per_prompt=options.responses, round=0, seed=0, progress=progress
    )
    reward_R = parts.reward.score([p for p in prompts for _ in range(options.responses)], responses)

    first = min(config.lora.get("layers_to_transform") or [0])
    frozen = FrozenLayers(policy.model.get_base_model().model.layers[:first])
    initial_R = log_probs(policy, responses, frozen)
    rows = []
    with progress.stage("Policies", len(studies)) as advance:
        for study in studies:
            own = load_recipe(study / "recipe.yaml")
            for adapter in sorted(study.glob("rounds/*/adapter")):
                policy.load_weights(adapter)
                found = values(log_probs(policy, responses, frozen) - initial_R, reward_R, options.responses)
                j = found["mean_reward"] / temperature - recipe.beta * found["kl"]
                round = int(adapter.parent.name)
                of = {"arm": study.parent.name, "seed": own.seed, "round": round, "labels": round * own.budget}
                rows.append(of | found | {"j": j})
            advance(1)
    with options.output.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
