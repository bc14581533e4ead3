"""Studies whose pairs are drawn with known probabilities: what is recorded, and what is trained on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from duelist import Label, Study, load_recipe, parse_recipe
from duelist.audit.labels import audit_labels
from duelist.choice_models.levelled_risk import lure_weights
from duelist.errors import RecipeError
from duelist.recipe.recipe import recipe_content
from duelist.report.record import read_arm
from duelist.store import codecs
from duelist.store.export import csv_text, label_rows
from duelist.trainers.bradley_terry import BradleyTerry


def recipe_of(*changes: str) -> dict[str, Any]:
    small = ["rounds=2", "budget=10", "initial_random=4", "compare={}", "trainer.steps=5"]
    lure = ["acquisition={name: pa_d_opt, lure: {uniform: 0.3}}", "control_fraction=0.2"]
    return recipe_content(load_recipe("reward-quickstart", [*small, *lure, *changes]))


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The data of each training."""
    found: list[Any] = []
    train = BradleyTerry.train

    def watched(self: BradleyTerry, model: Any, data: Any, *rest: Any) -> Any:
        found.append(data)
        return train(self, model, data, *rest)

    monkeypatch.setattr(BradleyTerry, "train", watched)
    return found


def expected_weights(asked: list[Any]) -> dict[str, float]:
    """v of one stratum, by the formula of the paper."""
    m_total, n = len(asked), max(x.candidates_left for x in asked)
    found = {}
    for x in asked:
        m = n - x.candidates_left + 1
        found[x.question.id] = 1 + (n - m_total) / (n - m) * (1 / ((n - m + 1) * x.propensity) - 1)
    return found


@pytest.mark.parametrize("pool", ["regenerate", "fixed"])
def test_propensities_are_recorded_and_weight_the_loss(pool: str, trained: list[Any], tmp_path: Path) -> None:
    with Study.create(tmp_path / "study", parse_recipe(recipe_of(f"pool={pool}"))) as study:
        reports = []
        for _ in range(2):
            pairs = study.ask().pairs
            skipped = pairs[3].id  # drawn, but without a decision
            study.tell([Label(p.id, "ann", "skip" if p.id == skipped else "a", id=f"label {p.id}") for p in pairs])
            reports.append(study.update().training)
        asked = study.store.asked()
        rounds = [[x for x in asked if x.round == t] for t in (1, 2)]
        for t, (of_round, uniform) in enumerate(zip(rounds, (4, 2), strict=True), start=1):
            draws = study.folder.read(1 if pool == "fixed" else t, "sample", codecs.DRAWS)
            size = len(study.folder.read(t, "pair", codecs.questions(draws)))
            assert sorted(x.candidates_left for x in of_round) == list(range(size - 9, size + 1))
            control = [x for x in of_round if x.control]
            assert len(control) == uniform and all(x.candidates_left > size - uniform for x in control)
            assert all(x.propensity == pytest.approx(1 / x.candidates_left) and x.score == 0 for x in control)
            assert [x.candidates_left for x in of_round] != sorted((x.candidates_left for x in of_round), reverse=True)
            assert all(x.inclusion is None and 0 < x.propensity <= 1 for x in of_round)
        strata = [asked] if pool == "fixed" else rounds
        v = {i: w for stratum in strata for i, w in expected_weights(stratum).items()}
        items = sorted(i for i in v if i not in {rounds[0][3].question.id, rounds[1][3].question.id})
        used = np.array([v[i] for i in items])
        assert trained[1].weight_P == pytest.approx(used)
        assert reports[1]["effective_sample_size"] == pytest.approx(used.sum() ** 2 / (used**2).sum())
        assert used.std() > 0.05
        # The first round trained on its own stratum alone.
        alone = expected_weights(rounds[0])
        assert trained[0].weight_P == pytest.approx([alone[i] for i in sorted(alone) if i in items])

        row = next(iter(label_rows(study.store)))
        assert (row["propensity"], row["candidates_left"]) == (asked[0].propensity, asked[0].candidates_left)
        assert "inclusion" not in row and csv_text(study.store).splitlines()[0].endswith("propensity,candidates_left")
        picks = json.loads((tmp_path / "study/rounds/002/selection.json").read_text())["picks"]
        assert [p["propensity"] for p in picks] == [x.propensity for x in rounds[1]]


@pytest.mark.parametrize("fraction", [0, 0.1])
def test_random_picks_of_a_mixed_round_are_told_from_the_rule_s(fraction: float, tmp_path: Path) -> None:
    changes = ("acquisition=v_opt", "initial_random=8", f"control_fraction={fraction}")
    with Study.create(tmp_path / "study", parse_recipe(recipe_of(*changes))) as study:
        study.ask()
        asked = study.store.asked()
        if fraction == 0:
            assert [x.control for x in asked] == [True] * 8 + [False] * 2  # in the order of the picks
            assert [x.score == 0 for x in asked] == [True] * 8 + [False] * 2
        assert all(x.control == (x.score == 0) for x in asked if x.inclusion == 1) and len(asked) == 10
        study.tell([Label(x.question.id, "ann", "a") for x in asked])
        labels = audit_labels(read_arm(tmp_path / "study"))
        # The slice replaces the rule's last pick, or overlaps with the random ones.
        assert labels.active == sum(x.score != 0 for x in asked) and 8 <= labels.control <= 9


def test_equal_weights_leave_the_loss_as_it_is(trained: list[Any], tmp_path: Path) -> None:
    changes = "acquisition={name: v_opt, lure: {weights: equal}}"
    with Study.create(tmp_path / "study", parse_recipe(recipe_of(changes, "rounds=1", "initial_random=0"))) as study:
        study.tell([Label(p.id, "ann", "a") for p in study.ask().pairs])
        report = study.update().training
        assert (trained[0].weight_P == 1).all() and "effective_sample_size" not in report
        assert all(x.propensity is not None for x in study.store.asked())


def test_a_batch_drawn_wholly_at_random_has_the_weights_of_a_uniform_draw(tmp_path: Path) -> None:
    with Study.create(tmp_path / "study", parse_recipe(recipe_of("initial_random=10"))) as study:
        study.ask()
        asked = study.store.asked()
        left = np.array([x.candidates_left for x in asked])
        assert all(x.control for x in asked) and [x.propensity for x in asked] == pytest.approx(1 / left)
        assert lure_weights(1 / left, left) == pytest.approx(np.ones(10))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["stop={below_nats: 0.1}"], "`stop` reads the gain"),
        (["acquisition={name: coreset, lure: {}}"], "a gain for each pair by itself"),
        (["acquisition={name: v_opt, lure: {uniform: 0}}"], "greater than 0"),
    ],
)
def test_what_cannot_be_drawn_is_refused(changes: list[str], message: str, tmp_path: Path) -> None:
    with (
        pytest.raises(RecipeError, match=message),
        Study.create(tmp_path / "study", parse_recipe(recipe_of(*changes))) as study,
    ):
        study.ask()


def test_draws_of_sets_are_refused(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    content = {
        **tiny_recipe,
        "acquisition": {"name": "activedpo", "lure": {}},
        "pairing": {"name": "in_prompt", "sets_of": 3, "asks": "best_of_k"},
        "sampler": {**tiny_recipe["sampler"], "responses_per_prompt": 3},
    }
    with (
        pytest.raises(RecipeError, match="draws pairs, but questions have up to 3 responses"),
        Study.create(tmp_path / "study", parse_recipe(content)) as study,
    ):
        study.ask()
