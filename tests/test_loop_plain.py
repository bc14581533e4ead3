"""The flat loop picks what a `Study` picks."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import torch

from duelist import Study, parse_recipe
from duelist.annotators.reward import RewardFunctionAnnotator, RewardFunctionConfig
from duelist.data.prompts import load_prompts
from duelist.models.policy.policy import Policy
from duelist.progress import Silent
from duelist.seeding import derived_seed

SCRIPT = Path(__file__).parents[1] / "recipes" / "loop_plain.py"


def test_the_flat_loop_picks_what_a_study_picks(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    specification = importlib.util.spec_from_file_location("loop_plain", SCRIPT)
    assert specification is not None and specification.loader is not None
    flat = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(flat)

    tiny_recipe |= {"pool": "fixed", "initial_random": 4, "rounds": 3, "seed": 7}
    tiny_recipe["trainer"] |= {"restart": "from_reference", "accumulate": "all"}
    recipe = parse_recipe(tiny_recipe)
    with Study.create(tmp_path / "study", recipe) as study:
        study.run()
        expected = [[x.question.id for x in study.store.asked(t)] for t in (1, 2, 3)]

    threads = torch.get_num_threads()
    torch.set_num_threads(recipe.torch_threads)
    annotator = RewardFunctionAnnotator(RewardFunctionConfig(function=tiny_recipe["annotator"]["function"]))
    picks = flat.active_dpo(
        Policy.load(recipe.policy, derived_seed(7, "lora")),
        load_prompts(recipe.prompts, 7),
        flat.Vanilla(flat.VanillaConfig(responses_per_prompt=3, max_new_tokens=6)),
        flat.Gradient(flat.GradientConfig(dimension=512)),
        flat.ActiveDPO(flat.ActiveDPOConfig()),
        lambda batch: annotator.annotate(batch, derived_seed(7, "annotate"), Silent()),
        flat.DPO(flat.DPOTrainerConfig(train=tiny_recipe["trainer"]["train"])),
        rounds=3,
        budget=6,
        initial_random=4,
        beta=0.5,
        seed=7,
    )
    torch.set_num_threads(threads)
    assert picks == expected


def test_it_stays_flat_and_short() -> None:
    text = SCRIPT.read_text(encoding="utf-8")
    assert len(text.splitlines()) < 150
    for word in ("Study(", "duelist.store", "duelist.recipe.re", "duelist.study.study", "load_recipe"):
        assert word not in text
