"""Picks of a study of rankings of several sizes against a brute force that reads only what the study left on disk.

Float64, full gradients by autograd over plain PEFT, information by enumerating orders, temperature and scales by
minimising the written-down posterior, and dense matrices whose determinants are taken anew for every candidate.
"""

from __future__ import annotations

import json
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel
from question_oracle import logdet, matrix_of
from scipy.optimize import minimize
from transformers import AutoModelForCausalLM

from duelist import Answer, Study, parse_recipe

BETA = 0.5


class Artifacts:
    """The responses, candidates and past questions of round t, as files."""

    def __init__(self, study: Path, t: int, base: Path) -> None:
        def read(name: str, of: int = t) -> list[dict[str, Any]]:
            return [json.loads(line) for line in (study / f"rounds/{of:03d}/{name}").read_text().splitlines()]

        self.candidates = read("pairs.jsonl")
        self.past: list[dict[str, Any]] = []
        rows: list[dict[str, Any]] = []
        for earlier in range(1, t + 1):
            rows += read("responses.jsonl", earlier)
            if earlier < t:
                pool = {q["id"]: q for q in read("pairs.jsonl", earlier)}
                picks = json.loads((study / f"rounds/{earlier:03d}/selection.json").read_text())["picks"]
                self.past += [pool[p["pair_id"]] for p in picks]
        used = {r for q in [*self.candidates, *self.past] for r in members(q)}
        plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float64)
        self.model = PeftModel.from_pretrained(plain, study / f"rounds/{t - 1:03d}/adapter", is_trainable=True)
        self.model.double().eval()
        self.parameters = [p for n, p in self.model.named_parameters() if "lora_" in n]
        self.gradient: dict[str, np.ndarray] = {}
        self.reward: dict[str, float] = {}
        for row in rows:
            if row["id"] in used:
                self.gradient[row["id"]], self.reward[row["id"]] = self.numbers(row)

    def numbers(self, row: dict[str, Any]) -> tuple[np.ndarray, float]:
        """∇ log π of a response, of length 1, and its implicit reward."""
        ids, start = torch.tensor([row["prompt_token_ids"] + row["token_ids"]]), len(row["prompt_token_ids"])

        def log_prob() -> torch.Tensor:
            log_p = self.model(input_ids=ids).logits[0, :-1].log_softmax(-1)
            return sum(log_p[i - 1, ids[0, i]] for i in range(start, ids.shape[1]))  # type: ignore[return-value]

        total = log_prob()
        flat = torch.cat([g.flatten() for g in torch.autograd.grad(total, self.parameters)]).numpy()
        with torch.no_grad(), self.model.disable_adapter():
            reward = BETA * float(total - log_prob())
        return flat / np.linalg.norm(flat), reward

    def information(self, question: dict[str, Any], tau: float, scales: list[float], weighted: bool) -> np.ndarray:
        own = members(question)
        reward = np.array([self.reward[r] for r in own]) / tau
        m = matrix_of(reward, "ranking", scales) if weighted else 4 * matrix_of(np.zeros(len(own)), "ranking")
        g = np.stack([self.gradient[r] for r in own])
        return np.asarray(g.T @ m @ g)


def members(question: dict[str, Any]) -> list[str]:
    return question.get("responses") or [question["a"], question["b"]]


def fitted(answers: list[tuple[np.ndarray, list[int]]], stages: int) -> tuple[float, list[float]]:
    """τ and the scales of the stages, by the most likely ones of the documented posterior.

    Args:
        answers: the rewards of a question's responses when it was asked, and their order, best first.
        stages: the number of stages of the largest question.
    """

    def loss(log_X: np.ndarray) -> float:
        value = log_X[0] ** 2 / 2 + sum(log_X[1:] ** 2) / (2 * 0.5**2)
        scale = np.exp([0.0, *log_X[1:]])
        for reward, order in answers:
            for j in range(len(order) - 1):
                logit = scale[j] * reward[order[j:]] / np.exp(log_X[0])
                value += np.log(np.exp(logit - logit.max()).sum()) + logit.max() - logit[0]
        return float(value)

    starts = [np.array([x, *[0.0] * (stages - 1)]) for x in (-6.0, -4.0, -2.0, 0.0, 2.0)]
    options = {"xatol": 1e-10, "fatol": 1e-12, "maxiter": 20_000, "maxfev": 20_000}
    found = [minimize(loss, start, method="Nelder-Mead", options=options) for start in starts]
    best = min(found, key=lambda f: f.fun).x
    return float(np.exp(best[0])), [1.0, *np.exp(best[1:]).tolist()]


@pytest.mark.parametrize("rule", [pytest.param("activedpo", marks=pytest.mark.full), "information"])
def test_picks_of_questions_of_several_sizes_equal_brute_force(
    rule: str, tiny_model: Path, tiny_recipe: dict[str, Any], tmp_path: Path
) -> None:
    recipe = {
        **tiny_recipe,
        "budget": 4,
        "beta": BETA,
        "rounds": 3,
        "policy": {
            "model": str(tiny_model),
            "dtype": "float64",
            "lora": {"r": 2, "lora_alpha": 4, "target_modules": ["q_proj"]},
        },
        "prompts": {**tiny_recipe["prompts"], "per_round": 6, "held_out": 2},
        "sampler": {"name": "vanilla", "responses_per_prompt": 5, "max_new_tokens": 2, "top_k": 2},
        "pairing": {"sets_of": 4},
        "featurizers": {"gradient": {"dimension": None, "normalize": "response"}},
        "acquisition": {"name": rule, "lambda": 0.05},
        "annotator": {**tiny_recipe["annotator"], "choice": "bradley_terry", "temperature": 0.05},
        "evaluation": {"max_new_tokens": 2},
    }
    train = {"num_train_epochs": 3, "learning_rate": 3e-2, "per_device_train_batch_size": 4}
    recipe["trainer"] = {"name": "dpo", "train": train}
    folder, weighted = tmp_path / "study", rule == "information"
    with Study.create(folder, parse_recipe(recipe)) as study:
        study.run()
        asked, answers = study.store.asked(), study.store.answers()
        told = {stage.round: stage.info for stage in study.store.stages() if stage.name == "select"}
    clear, sizes = 0, set()
    for t in (2, 3):
        left = Artifacts(folder, t, tiny_model)
        answered = []
        past = {x.question.id: x for x in asked if x.round < t}
        for answer in answers:
            x = past.get(answer.question_id if isinstance(answer, Answer) else answer.pair_id)
            if x is not None:
                ids = [r.id for r in x.question.responses]
                places = [ids.index(r) for (r,) in answer.groups] if isinstance(answer, Answer) else [0, 1]
                if not isinstance(answer, Answer) and answer.outcome == "b":
                    places = [1, 0]
                answered.append((np.array(x.rewards), places))
        sizes |= {len(members(q)) for q in left.past}
        tau, scales = fitted(answered, max(len(members(q)) for q in left.past) - 1) if weighted else (1.0, [1.0])
        if weighted:
            assert told[t]["temperature"] == pytest.approx(tau, rel=1e-4)
            assert [told[t][f"scale_of_stage_{j}"] for j in range(2, len(scales) + 1)] == pytest.approx(
                scales[1:], rel=1e-3
            )
            tau, scales = (
                told[t]["temperature"],
                [1.0, *(told[t][f"scale_of_stage_{j}"] for j in range(2, len(scales) + 1))],
            )
        one = {q["id"]: left.information(q, tau, scales, weighted) for q in left.candidates}
        v = 0.05 * np.mean([np.trace(m) for m in one.values()]) * np.eye(len(next(iter(one.values()))))
        v += sum(left.information(q, tau, scales, weighted) for q in left.past)
        taken: list[str] = []
        for x in (x for x in asked if x.round == t):
            gain = {i: logdet(v + m) - logdet(v) for i, m in one.items() if i not in taken}
            best, second = sorted(gain.values(), reverse=True)[:2]
            own = gain[x.question.id]
            score = own if weighted else np.sqrt(np.expm1(own))
            assert x.score == pytest.approx(score, rel=1e-6)
            assert own >= best * (1 - 1e-9)
            if second < best * (1 - 1e-9):
                assert x.question.id == max(gain, key=gain.__getitem__)
                clear += 1
            taken.append(x.question.id)
            v = v + one[x.question.id]
    assert clear >= 6 and len(sizes) >= 2
    if weighted:
        assert told[3]["temperature"] != 1.0 and told[3]["scale_of_stage_2"] != 1.0


def test_the_oracles_enumeration_adds_up() -> None:
    """The information of a ranking of three at equal rewards: the covariance of the first choice and of the second."""
    found = matrix_of(np.zeros(3), "ranking")
    first = np.eye(3) / 3 - 1 / 9
    second = np.mean([np.outer(a - b, a - b) / 4 for a, b, _ in permutations(np.eye(3))], axis=0)
    np.testing.assert_allclose(found, first + second, atol=1e-12)
