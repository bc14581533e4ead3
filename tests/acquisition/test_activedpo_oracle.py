"""ActiveDPO's picks against an independent brute force: float64, full gradients by autograd, V inverted explicitly.

The oracle reads only what a study leaves on disk (pairs, responses, the adapters before each round) and plain PEFT; it
shares no code with the package.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, PretrainedConfig, Qwen3Config

from duelist import Study, parse_recipe
from tiers import first

SMALL = {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8}
MODELS: dict[str, tuple[type[PretrainedConfig], dict[str, Any], list[str]]] = {
    "llama": (LlamaConfig, {"hidden_size": 32, "intermediate_size": 48, **SMALL}, ["q_proj", "down_proj"]),
    "qwen3": (Qwen3Config, {"hidden_size": 32, "intermediate_size": 48, **SMALL}, ["q_proj", "down_proj"]),
    "gpt2": (GPT2Config, {"n_embd": 32, "n_layer": 2, "n_head": 4, "resid_pdrop": 0.1}, ["c_attn"]),
}


@pytest.fixture(scope="module", params=first(2, ["llama", "gpt2", "qwen3"]))
def family(request: pytest.FixtureRequest, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A random model of one family with the tiny tokenizer, and the modules to adapt."""
    config_class, sizes, targets = MODELS[request.param]
    folder = tmp_path_factory.mktemp(request.param)
    for file in tiny_model.glob("*token*"):
        shutil.copy(file, folder)
    for file in tiny_model.glob("chat_template*"):
        shutil.copy(file, folder)
    config = config_class(
        vocab_size=46, max_position_embeddings=64, bos_token_id=1, eos_token_id=2, pad_token_id=0, **sizes
    )
    with torch.random.fork_rng():
        torch.manual_seed(3)
        AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder, targets


def brute_force_scores(
    study: Path, t: int, model_folder: Path, normalize: str, beta: float, picks: list[str]
) -> list[dict[str, float]]:
    """The score of every candidate still left, by equations (3) and (4), before each of the picks of round t."""
    rows = [json.loads(line) for line in (study / "rounds/001/responses.jsonl").read_text().splitlines()]
    responses = {r["id"]: r for r in rows}
    candidates = [json.loads(line) for line in (study / f"rounds/{t:03d}/pairs.jsonl").read_text().splitlines()]
    everything = {p["id"]: p for p in map(json.loads, (study / "rounds/001/pairs.jsonl").read_text().splitlines())}
    past = [
        everything[pick["pair_id"]]
        for earlier in range(1, t)
        for pick in json.loads((study / f"rounds/{earlier:03d}/selection.json").read_text())["picks"]
    ]
    base = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float64)
    adapter = study / f"rounds/{t - 1:03d}/adapter"
    model = PeftModel.from_pretrained(base, adapter, is_trainable=True).double().eval()
    parameters = [p for n, p in model.named_parameters() if "lora_" in n]

    def gradient(response: dict[str, Any]) -> np.ndarray:
        ids = torch.tensor([response["prompt_token_ids"] + response["token_ids"]])
        log_p = model(input_ids=ids).logits[0, :-1].log_softmax(-1)
        start = len(response["prompt_token_ids"])
        total = sum(log_p[i - 1, ids[0, i]] for i in range(start, ids.shape[1]))
        flat = torch.cat([g.flatten() for g in torch.autograd.grad(total, parameters)]).numpy()
        return flat / np.linalg.norm(flat) if normalize == "response" else flat

    gradients = {i: gradient(r) for i, r in responses.items()}

    def phi(pair: dict[str, Any]) -> np.ndarray:
        difference = gradients[pair["a"]] - gradients[pair["b"]]
        if normalize == "pair":
            return difference / np.linalg.norm(difference)
        return beta * difference if normalize == "none" else difference

    phi_ND = np.stack([phi(p) for p in candidates])
    v = 0.05 * np.mean((phi_ND**2).sum(axis=1)) * np.eye(phi_ND.shape[1])
    for p in past:
        v += np.outer(phi(p), phi(p))
    row = {p["id"]: i for i, p in enumerate(candidates)}
    steps: list[dict[str, float]] = []
    for step, pick in enumerate(picks):
        inverse = np.linalg.inv(v)
        left = [i for i in row if i not in picks[:step]]
        steps.append({i: float(phi_ND[row[i]] @ inverse @ phi_ND[row[i]]) for i in left})
        v += np.outer(phi_ND[row[pick]], phi_ND[row[pick]])
    return steps


@pytest.mark.parametrize(
    "normalize", ["response", *(pytest.param(x, marks=pytest.mark.full) for x in ("pair", "none"))]
)
def test_picks_equal_brute_force(family: Any, normalize: str, tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    model_folder, targets = family
    recipe = {
        **tiny_recipe,
        "pool": "fixed",
        "policy": {
            "model": str(model_folder),
            "dtype": "float64",
            "lora": {"r": 2, "lora_alpha": 4, "lora_dropout": 0.1, "target_modules": targets},
        },
        "featurizers": {"margin": {}, "gradient": {"dimension": None, "normalize": normalize}},
        "acquisition": {"name": "activedpo", "lambda": 0.05},
        "prompts": {**tiny_recipe["prompts"], "limit": 8},
        "evaluation": {"max_new_tokens": 4},
    }
    recipe["trainer"]["train"]["learning_rate"] = 1e-2
    with Study.create(tmp_path / "study", parse_recipe(recipe)) as study:
        study.run()
        clear = 0
        for t in (1, 2):
            asked = study.store.asked(t)
            picks = [x.question.id for x in asked]
            steps = brute_force_scores(tmp_path / "study", t, model_folder, normalize, 0.5, picks)
            for x, scores in zip(asked, steps, strict=True):
                best, second = sorted(scores.values(), reverse=True)[:2]
                assert x.score == pytest.approx(scores[x.question.id] ** 0.5, rel=1e-6)
                assert scores[x.question.id] >= best * (1 - 1e-9)  # the pick is an argmax ...
                if second < best * (1 - 1e-9):  # ... and where it is the only one, it is that one
                    assert x.question.id == max(scores, key=scores.__getitem__)
                    clear += 1
        assert clear >= 10  # unit pair gradients tie exactly at the first pick of the first round, nothing else does
