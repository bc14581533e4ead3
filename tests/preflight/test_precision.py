"""A half-precision policy whose weights could not move is refused; one whose weights can move is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoConfig

from duelist.errors import RecipeError
from duelist.preflight.examination import examine
from duelist.preflight.precision import half_spacing
from duelist.recipe.reading import parse_recipe


def whole(tiny_recipe: dict[str, Any], policy: dict[str, Any], train: dict[str, Any]) -> dict[str, Any]:
    own = {"model": tiny_recipe["policy"]["model"], "adapter": "none", "device": "cpu", **policy}
    return {**tiny_recipe, "acquisition": "random", "policy": own, "trainer": {"name": "dpo", "train": train}}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_step_of_half_the_spacing_is_the_largest_that_is_lost(dtype: torch.dtype) -> None:
    for weight in torch.tensor([0.0135, 0.02, 0.3, 1.0, 1.99, 7.0]).to(dtype).double().tolist():
        least = half_spacing(weight, dtype)
        start = torch.tensor(weight, dtype=dtype)
        assert (start.double() + 0.99 * least).to(dtype) == start
        assert (start.double() + 1.01 * least).to(dtype) != start


@pytest.mark.parametrize(
    ("policy", "train"),
    [
        ({"dtype": "bfloat16"}, {"learning_rate": 5e-7}),
        ({"dtype": "bfloat16"}, {"learning_rate": 5e-7, "bf16": True}),
        ({"dtype": "bfloat16"}, {}),  # TRL's own 1e-6
        ({"dtype": "bfloat16"}, {"learning_rate": 1e-5, "optim": "adamw_torch"}),
        ({"load": {"dtype": "float16"}}, {"learning_rate": 5e-7}),
        ({"load": {"dtype": "bfloat16"}}, {"learning_rate": 5e-7}),
    ],
)
def test_weights_that_could_not_move_are_refused(
    tiny_recipe: dict[str, Any], policy: dict[str, Any], train: dict[str, Any]
) -> None:
    with pytest.raises(RecipeError, match=r"must be able to move.*`policy\.dtype: float32` and `trainer\.train\.bf16"):
        examine(parse_recipe(whole(tiny_recipe, policy, train)))


@pytest.mark.parametrize(
    ("policy", "train"),
    [
        ({"dtype": "float32"}, {"learning_rate": 5e-7}),
        ({"dtype": "float32"}, {"learning_rate": 5e-7, "bf16": True}),
        ({"dtype": "bfloat16"}, {"learning_rate": 1e-4}),
        ({"dtype": "bfloat16", "load": {"dtype": "float32"}}, {"learning_rate": 5e-7}),
        ({"load": {"dtype": "float16"}}, {"learning_rate": 1e-5}),
        ({"dtype": "bfloat16", "adapter": "lora"}, {"learning_rate": 5e-7}),  # adapters are in float32
        ({"dtype": "bfloat16"}, {"learning_rate": 5e-7, "optim": "sgd"}),  # its step depends on the gradient
    ],
)
def test_weights_that_can_move_are_not(
    tiny_recipe: dict[str, Any], policy: dict[str, Any], train: dict[str, Any]
) -> None:
    examine(parse_recipe(whole(tiny_recipe, policy, train)))


def test_the_typical_weight_is_that_of_the_models_initializer(
    tiny_recipe: dict[str, Any], tiny_model: Path, tmp_path: Path
) -> None:
    """The rule by a brute force: half of normal weights of this scale move by the learning rate, or fewer."""
    weights = torch.tensor(np.random.default_rng(0).normal(size=20_000))
    for scale in (0.002, 0.02, 0.3):
        config = AutoConfig.from_pretrained(tiny_model)
        config.initializer_range = scale
        config.save_pretrained(tmp_path)
        for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
            (tmp_path / name).write_bytes((tiny_model / name).read_bytes())
        start = (scale * weights).bfloat16()
        for learning_rate in (5e-7, 1e-6, 1e-5, 1e-4, 1e-3):
            share = float(((start.double() + learning_rate).bfloat16() != start).double().mean())
            content = whole(
                tiny_recipe, {"dtype": "bfloat16", "model": str(tmp_path)}, {"learning_rate": learning_rate}
            )
            if share < 0.4:
                with pytest.raises(RecipeError, match="must be able to move"):
                    examine(parse_recipe(content))
            elif share > 0.7:
                examine(parse_recipe(content))


def test_what_is_out_of_reach_is_judged_by_its_architecture(tiny_recipe: dict[str, Any]) -> None:
    shape = {"model_type": "llama", "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    for scale, is_refused in ((0.02, True), (1e-4, False)):
        policy = {"model": "someone/away", "dtype": "bfloat16", "architecture": {**shape, "initializer_range": scale}}
        content = parse_recipe(whole(tiny_recipe, policy, {"learning_rate": 5e-7}))
        if is_refused:
            with pytest.raises(RecipeError, match="must be able to move"):
                examine(content, offline_ok=True)
        else:
            examine(content, offline_ok=True)
