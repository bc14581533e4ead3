"""J of every round's policy of a comparison, on the same responses of the initial model.

    python benchmarks/kept_policies.py COMPARISON -o values.csv [--prompts 48] [--responses 4]

A study's own evaluation draws answers anew from every policy, so that arms differ by the luck of the draws. Here the
initial model draws `--responses` answers to each of `--prompts` held-out prompts, once for all studies of a seed, and
every kept policy is judged on them by importance weights w = π_θ(y|x)/π_ref(y|x), whose mean is 1:

    E_π[r]    mean of r + (w − 1)(r − b),   b the mean reward of the prompt's other answers
    KL        mean of w log w − (w − 1)     (no term is negative)
    J         E_π[r]/T − β KL

Both means are unbiased, and arms are paired: within a seed they have the same answers. `effective` is (Σw)²/(R Σw²),
the share of the answers that count: far from the initial model it falls, and the numbers say little.

Layers below the first adapted one compute the same in all policies: what they return is computed once.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console

from duelist.cli.console import TerminalProgress
from duelist.compare.comparison import is_finished, study_in
from duelist.models.decoding.generation import generate
from duelist.models.policy.logprobs import sequence_log_probs
from duelist.models.policy.policy import Policy
from duelist.models.policy.response_batches import tokenized
from duelist.progress import Progress, quiet_libraries
from duelist.recipe.reading import load_recipe
from duelist.recipe.recipe import Recipe
from duelist.recipe.round_plan import asked_before
from duelist.store.layout import RECIPE
from duelist.study.components import StudyComponents, prepared
from duelist.types import Response

Floats = NDArray[np.float64]
MAX_TOKENS = 2048  # of a forward pass
INITIAL = "rounds/000/adapter"


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


def drawing(study: Path, prompts: int, progress: Progress) -> StudyComponents:
    """Return the components of a study with this many held-out prompts, if its policies can be judged here."""
    parts = StudyComponents(prepared(load_recipe(study / RECIPE, [f"prompts.held_out={prompts}"]), progress))
    how = parts.recipe.evaluation.decoding
    if parts.recipe.policy is None or parts.reward is None or parts.label_temperature is None:
        raise SystemExit(f"{study} must train a policy on an annotator of known reward and temperature.")
    if (how.temperature, how.top_p, how.top_k) != (1.0, 1.0, None):
        raise SystemExit("The evaluation must draw from the whole distribution at temperature 1, or w is another.")
    return parts


def of_one_seed(
    policy: Policy, parts: StudyComponents, studies: Mapping[Path, Recipe], per_prompt: int, progress: Progress
) -> list[dict[str, Any]]:
    """Return a row for each round of the studies of a seed, all judged on the same answers of the initial model."""
    recipe, prompts = parts.recipe, parts.prompts.held_out
    assert recipe.policy is not None and parts.reward is not None and parts.label_temperature is not None
    policy.load_weights(next(iter(studies)) / INITIAL)  # it changes nothing yet
    responses = generate(
        policy,
        prompts,
        recipe.evaluation.decoding,
        responses_per_prompt=per_prompt,
        round=0,
        seed=recipe.seed,
        progress=progress,
    )
    reward_R = parts.reward.score([p for p in prompts for _ in range(per_prompt)], responses)
    first = min(recipe.policy.lora.get("layers_to_transform") or [0])
    frozen = FrozenLayers(policy.model.get_base_model().model.layers[:first])
    initial_R = log_probs(policy, responses, frozen)
    rows = []
    for study, own in studies.items():
        for adapter in sorted(study.glob("rounds/*/adapter")):
            policy.load_weights(adapter)
            found = values(log_probs(policy, responses, frozen) - initial_R, reward_R, per_prompt)
            round = int(adapter.parent.name)
            of = {"arm": study.parent.name, "seed": own.seed, "round": round, "labels": asked_before(own, round + 1)}
            rows.append(of | found | {"j": found["mean_reward"] / parts.label_temperature - own.beta * found["kl"]})
    return rows


def main() -> None:
    """Judge every kept policy, and write one row for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder of a comparison")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--prompts", type=int, default=48)
    parser.add_argument("--responses", type=int, default=4, help="answers to each prompt, at least 2")
    options = parser.parse_args()
    if options.responses < 2:
        parser.error(
            f"`--responses` must be at least 2, for an answer's baseline is the others', not {options.responses}"
        )
    quiet_libraries()
    progress = TerminalProgress(Console(stderr=True))
    of_seed: dict[int, dict[Path, Recipe]] = {}
    for study in sorted(options.folder.glob("studies/*/seed-*")):
        begun = study_in(study)
        if not is_finished(begun):
            print(f"Left out, not finished: {study}")
            continue
        recipe = begun.recipe
        if "{seed}" in str(recipe.prepare) and of_seed.keys() - {recipe.seed}:
            raise SystemExit("All studies must align the same model, but `prepare` makes one for each seed.")
        of_seed.setdefault(recipe.seed, {})[study] = recipe
    if not of_seed:
        raise SystemExit(f"A comparison's folder has finished studies, but {options.folder} has none: run it first.")
    policy, rows = None, []
    with progress.stage("Seeds", len(of_seed)) as advance:
        for studies in of_seed.values():
            parts = drawing(next(iter(studies)), options.prompts, progress)
            torch.set_num_threads(parts.recipe.torch_threads or torch.get_num_threads())
            if policy is None:
                assert parts.recipe.policy is not None  # `drawing` looked
                policy = Policy.load(parts.recipe.policy, seed=0)
            rows += of_one_seed(policy, parts, studies, options.responses, progress)
            advance(1)
    with options.output.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
