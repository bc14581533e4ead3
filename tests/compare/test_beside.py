"""A study, its arms, and both on further seeds: where they lie, and what is said of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from duelist.compare.arms import PlannedStudy
from duelist.compare.beside import ahead, headline_metrics, studies_of
from duelist.recipe.reading import load_recipe


def finished(study: PlannedStudy, *values: float | None, metric: str = "j") -> None:
    study.folder.mkdir(parents=True, exist_ok=True)
    rows = [
        {"round": t, "labels": 16 * t, "mean_reward": 0.5, metric: value, "seconds": {"evaluate": 1.0}}
        for t, value in enumerate(values)
    ]
    (study.folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def test_further_seeds_are_complete_studies_with_their_arms(tmp_path: Path) -> None:
    recipe = load_recipe("quickstart", ["seed=7", "compare_seeds=2"])
    studies = studies_of(tmp_path, recipe)
    own = recipe.acquisition.name
    assert [(s.arm, s.seed, str(s.folder.relative_to(tmp_path))) for s in studies] == [
        (own, 7, "."),
        ("random", 7, "compare/random"),
        (own, 8, "seeds/seed-008"),
        ("random", 8, "seeds/seed-008/compare/random"),
    ]
    assert [s.recipe.seed for s in studies] == [7, 7, 8, 8] and studies[0].recipe is recipe
    assert [s.recipe.compare_seeds for s in studies[1:]] == [1, 1, 1]
    assert all(s.recipe.compare == {} for s in studies if s.arm == "random")
    assert len(studies_of(tmp_path, load_recipe("quickstart", ["compare={}", "compare_seeds=1"]))) == 1


@pytest.mark.parametrize(("finals", "on"), [((0.3, 0.1, 0.9), 2), ((0.1, 0.1, 0.2), 0)])
def test_the_sentence_counts_the_seeds_on_which_the_study_ends_ahead(
    tmp_path: Path, finals: tuple[float, ...], on: int
) -> None:
    recipe = load_recipe("quickstart")
    studies = studies_of(tmp_path, recipe)
    for study in studies:
        finished(study, 0.0, finals[study.seed] if study.arm != "random" else 0.2)
    (found,) = ahead(studies)
    assert (found.ahead, found.seeds, found.metric.name, found.labels) == (on, 3, "j", 16)
    assert found.sentence == (
        f"{recipe.acquisition.name} is ahead of random on {on} of 3 worlds, by J after 16 labels; what that is worth: "
        "docs/evidence.md. Fewer than 8 seeds cannot establish a difference."
    )


def test_seeds_without_worlds_of_their_own_are_called_seeds(tmp_path: Path) -> None:
    content: Any = load_recipe("quickstart", ["prepare.settings.seed=1", "compare_seeds=1"])
    studies = studies_of(tmp_path, content)
    for study in studies:
        finished(study, 0.5, None if study.arm == "random" else 0.5)  # the last round was not measured
    assert ahead(studies)[0].seeds == 0
    for study in studies:
        finished(study, 0.5, 0.1 if study.arm == "random" else 0.5)
    assert "on 1 of 1 seed, by J" in ahead(studies)[0].sentence


def test_the_table_s_metrics_are_the_first_two_that_were_measured() -> None:
    assert [m.name for m in headline_metrics([{"mean_reward": 1.0, "j": None, "pair_accuracy": 0.5}])] == [
        "mean_reward",
        "pair_accuracy",
    ]
    assert headline_metrics([{"kl": 1.0}]) == []
