"""Studies whose responses are drawn two by two: what the samplers do within the loop, and what is known before it."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from duelist.cli.console import TerminalProgress
from duelist.errors import BudgetError
from duelist.preflight.examination import examine
from duelist.preflight.plan import plan
from duelist.progress import Advance, Progress
from duelist.recipe.reading import parse_recipe
from duelist.samplers.pilaf import NOTE
from duelist.store import codecs
from duelist.store.artifacts import read_jsonl
from duelist.study.study import Study


class Noting(Progress):
    """Keeps the notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    @contextmanager
    def stage(self, description: str, total: int) -> Iterator[Advance]:
        yield lambda steps: None

    def note(self, text: str) -> None:
        self.notes.append(text)


def test_pilaf_is_vanilla_in_the_first_round_says_so_and_mixes_in_the_second(
    tiny_recipe: dict[str, Any], tmp_path: Path
) -> None:
    tiny_recipe |= {"sampler": {"name": "pilaf", "max_new_tokens": 6}, "pairing": "as_drawn"}
    progress = Noting()
    with Study.create(tmp_path / "study", parse_recipe(tiny_recipe), progress) as study:
        study.run()
        stages = {(s.round, s.name): s for s in study.store.stages()}
        first, second = (study.folder.read(t, "sample", codecs.DRAWS) for t in (1, 2))
        assert stages[1, "sample"].info == {"notes": [NOTE]} and stages[2, "sample"].info == {"notes": []}
        assert progress.notes == [f"Round 1: {NOTE}"]
        assert set(first.drawn_from.values()) == {"policy"}
        assert set(second.drawn_from.values()) == {"policy", "plus", "minus"}
        for t, draws in ((1, first), (2, second)):
            assert len(draws.sets) == 24  # one for each training prompt
            drawn = {frozenset((s.a, s.b)) for s in draws.sets}
            pairs = read_jsonl(study.folder.round_folder(t) / "pairs.jsonl")
            assert len(pairs) > 12 and {frozenset((p["a"], p["b"])) for p in pairs} <= drawn
            assert {frozenset((x.question.a.id, x.question.b.id)) for x in study.store.asked(t)} <= drawn


def test_the_weights_of_t_pilaf_reach_the_preferences(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    sampler = {"name": "t_pilaf", "n": 4, "max_new_tokens": 5, "pairs_per_prompt": 2}
    tiny_recipe |= {"sampler": sampler, "beta": 5.0, "budget": 20}
    tiny_recipe["trainer"]["train"]["learning_rate"] = 1e-2
    with Study.create(tmp_path / "study", parse_recipe(tiny_recipe)) as study:
        study.run()
        weights = {p.pair_id: p.weight for p in study.store.decisions(2)}
        assert weights == {x.question.id: x.question.weight for x in study.store.asked(2)}
        assert len(set(weights.values())) > 5
        assert {p.weight for p in study.store.decisions(1)} == {1.0}


@pytest.mark.parametrize("sampler", ["vanilla", "pilaf", "t_pilaf", "best_of_n", "hybrid"])
@pytest.mark.parametrize("pairing", ["in_prompt", "as_drawn"])
def test_a_pool_that_is_too_small_is_found_before_anything_is_drawn(
    tiny_recipe: dict[str, Any], sampler: str, pairing: str
) -> None:
    """24 prompts and two sets to each: 48 pairs as drawn, 6 × 24 within a prompt."""
    count = {"responses_per_prompt": 4} if sampler == "vanilla" else {"pairs_per_prompt": 2}
    tiny_recipe |= {"sampler": {"name": sampler, "max_new_tokens": 6, **count}, "pairing": pairing}
    pairs = 48 if pairing == "as_drawn" else 144
    assert examine(parse_recipe({**tiny_recipe, "budget": pairs})).pairs == pairs
    with pytest.raises(BudgetError, match=f"{pairs} at most"):
        examine(parse_recipe({**tiny_recipe, "budget": pairs + 1}))
    found = plan(parse_recipe(tiny_recipe))
    decoded = {"best_of_n": 2 * 8, "t_pilaf": 64}.get(sampler, 4)
    assert found.candidate_pairs == pairs
    assert found.generations == 2 * 24 * decoded + 3 * 6  # two rounds; three evaluations of six prompts


def test_the_terminal_shows_a_note_as_it_is() -> None:
    console = Console(file=io.StringIO(), width=40)
    TerminalProgress(console).note(f"Round 1: [bold]{NOTE}")
    assert console.file.getvalue() == f"Round 1: [bold]{NOTE}\n"  # type: ignore[attr-defined]


@pytest.mark.full
@pytest.mark.parametrize("adapter", ["lora", "none"])
def test_t_pilaf_draws_by_the_reward_model_of_the_round_before(
    tiny_recipe: dict[str, Any], adapter: str, tmp_path: Path
) -> None:
    """PILAF's Appendix F: round 1 is vanilla; then the labels' reward model tilts the draws and weighs its own loss."""
    train = {"max_steps": 2, "per_device_train_batch_size": 4, "num_generations": 2, "max_completion_length": 4}
    reward = {"keep": True, "train": {"max_steps": 4, "learning_rate": 1e-2, "per_device_train_batch_size": 4}}
    policy = {"model": tiny_recipe["policy"]["model"], "adapter": adapter}
    recipe = {
        **tiny_recipe,
        "rounds": 2,
        "budget": 8,
        "pool": "regenerate",
        "policy": tiny_recipe["policy"] if adapter == "lora" else policy,
        "sampler": {"name": "t_pilaf", "reward": "explicit", "n": 8, "max_responses": 0, "max_new_tokens": 4},
        "pairing": "as_drawn",
        "acquisition": "random",
        "trainer": {"name": "rlhf", "reward_model": reward, "train": train},
    }
    folder = tmp_path / "study"
    with Study.create(folder, parse_recipe(recipe)) as study:
        study.run()
        first, second = ([x.question for x in study.store.asked(t)] for t in (1, 2))
    assert {q.weight for q in first} == {1.0} and len({q.weight for q in second}) > 1
    artifact = "adapter" if adapter == "lora" else "model"
    for t in (1, 2):
        assert (folder / f"rounds/00{t}" / artifact / "reward_model" / "model.safetensors").is_file()
