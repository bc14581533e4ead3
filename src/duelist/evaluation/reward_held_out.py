"""What a reward model is measured on: held-out responses, the pairs that people have labelled, and true rewards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit

from duelist.data.prompts import PromptsConfig
from duelist.data.rows import row_decision, row_prompt, row_responses
from duelist.data.sources import RowSource
from duelist.errors import RecipeError
from duelist.evaluation.reward_model import Floats, longer_wins, preference_metrics, ranking_metrics
from duelist.models.embeddings.embedder import Vectors
from duelist.models.policy.plain_tokens import plain_token_ids
from duelist.models.rewards.network import RewardModel
from duelist.types import Evaluation, Prompt, Response

SAMPLES = 200  # scored responses that an evaluation keeps, for people to look at


@dataclass(frozen=True)
class HeldOutResponses:
    """Responses to held-out prompts.

    Attributes:
        prompts: by id.
        responses: distinct responses, prompt by prompt.
        preferred: labelled pairs: positions of the preferred response and of the other; ties are left out.
    """

    prompts: Mapping[str, Prompt]
    responses: Sequence[Response]
    preferred: Sequence[tuple[int, int]]

    @property
    def groups(self) -> list[list[int]]:
        """The positions of each prompt's responses."""
        found: dict[str, list[int]] = {}
        for i, response in enumerate(self.responses):
            found.setdefault(response.prompt_id, []).append(i)
        return list(found.values())


def held_out_responses(config: PromptsConfig, prompts: Sequence[Prompt]) -> HeldOutResponses:
    """The responses and labels that the data set has for the held-out prompts.

    Args:
        config: where the prompts come from.
        prompts: those held out.

    Raises:
        DataError: if a row is not usable.
    """
    by_id = {p.id: p for p in prompts}
    position: dict[tuple[str, str], int] = {}
    responses: list[Response] = []
    preferred: list[tuple[int, int]] = []
    split = config.split if config.held_out_path is None else config.held_out_split
    for where, row in RowSource(config.held_out_path or config.path, split, config.config) if by_id else ():
        prompt = by_id.get(row_prompt(row, where).id)
        if prompt is None:
            continue
        texts = row_responses(row, where)
        for text in texts:
            if (prompt.id, text) not in position:
                position[prompt.id, text] = len(responses)
                tokens = plain_token_ids(str(prompt.messages[-1]["content"])), plain_token_ids(text)
                responses.append(Response.of(prompt, text, *tokens, "dataset", 0))
        decision = row_decision(row, where) if len(texts) == 2 and texts[0] != texts[1] else None
        if decision is not None and decision[0] in ("a", "b"):
            first, second = texts if decision[0] == "a" else texts[::-1]
            preferred.append((position[prompt.id, first], position[prompt.id, second]))
    return HeldOutResponses(by_id, responses, preferred)


def evaluate_reward_model(
    model: RewardModel, vectors_RE: Vectors, held: HeldOutResponses, truth_R: Floats | None
) -> Evaluation:
    """Measure a reward model on R held-out responses.

    Args:
        model: the reward model.
        vectors_RE: the responses' embeddings.
        held: the responses, one or more.
        truth_R: their true rewards; None where no reward is known.

    Raises:
        RecipeError: if there is nothing to measure by, neither labels nor true rewards.
    """
    score_R = model.rewards(vectors_RE)
    metrics: dict[str, Any] = {}
    if truth_R is not None:
        metrics |= ranking_metrics(held.groups, score_R, truth_R)
    if held.preferred:
        first_N, second_N = np.array(held.preferred).T
        sample_RK = model.samples(vectors_RE)
        margin_NK = sample_RK[first_N] - sample_RK[second_N]
        metrics |= preference_metrics(expit(margin_NK).mean(axis=1), score_R[first_N] - score_R[second_N])
        length_R = np.array([len(r.token_ids) for r in held.responses])
        metrics["longer_wins"] = longer_wins(length_R[first_N], length_R[second_N])
    if not metrics:
        raise RecipeError(
            "Held-out prompts must have labelled pairs, or responses with a known reward, but these have neither: "
            "add labels to the rows, set `reward`, or set `prompts.held_out` to 0."
        )
    samples = [
        {
            "prompt_id": r.prompt_id,
            "prompt": held.prompts[r.prompt_id].as_trl(),
            "response": r.text,
            "score": float(score_R[i]),
            "reward": None if truth_R is None else float(truth_R[i]),
        }
        for i, r in enumerate(held.responses[:SAMPLES])
    ]
    return Evaluation(metrics, samples)
