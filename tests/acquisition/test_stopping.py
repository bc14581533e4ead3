"""The rule that ends a study before its budget is spent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from duelist import Study, parse_recipe
from duelist.acquisition.activedpo import ActiveDPO
from duelist.acquisition.base import Acquisition
from duelist.acquisition.stopping import StopConfig, stop_reason, study_end
from duelist.cli.console import status_rows
from duelist.compare.arms import PlannedStudy
from duelist.compare.comparison import is_finished
from duelist.errors import RecipeError, RoundStateError
from duelist.preflight.examination import examine
from duelist.preflight.plan import plan
from duelist.report.page import write_report
from duelist.report.status import status
from duelist.types import Features, Selection
from outcomes import smaller


class Halving(Acquisition):
    """Tells a gain that halves with every round: 1/2 after round 1, 1/4 after round 2, ..."""

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"margin_N", "past"})

    def select(self, features: Features, budget: int, rng: np.random.Generator) -> Selection:
        assert features.past is not None
        gain = 0.5 ** (features.past.n // budget + 1)
        return Selection(np.arange(budget), np.zeros(budget), "none", {"gain_nats": gain})


@pytest.mark.parametrize(
    ("gain", "below", "said"),
    [
        (0.125, 0.2, "0.125 nats, under `stop.below_nats` of 0.2"),
        (4.7963, 4.8, "4.796 nats, under `stop.below_nats` of 4.8"),
        (4.79999, 4.8, "4.79999 nats, under `stop.below_nats` of 4.8"),
        (0.999999999, 1, "0.999999999 nats, under `stop.below_nats` of 1"),
        (1.0, 1.0000001, "1 nats, under `stop.below_nats` of 1.0000001"),
        (1e-9, 2e-9, "1e-09 nats, under `stop.below_nats` of 2e-09"),
        (0.1 + 0.2 - 2**-53, 0.1 + 0.2, "0.2999999999999999 nats, under `stop.below_nats` of 0.3"),
    ],
)
def test_the_reason_is_true_as_it_is_printed(gain: float, below: float, said: str) -> None:
    reason = stop_reason(StopConfig(below_nats=below), {"gain_nats": gain})
    assert reason == f"the best remaining label was worth {said}"


@pytest.mark.parametrize(
    ("selected", "gain", "last"),
    [(0, None, 6), (1, None, 6), (2, 0.5, 6), (2, 0.1, 2), (5, 0.1, 5), (6, 0.1, 6), (7, 0.1, 6)],
)
def test_a_study_ends_with_the_round_that_tells_too_little_and_never_after_the_recipes_last(
    selected: int, gain: float | None, last: int
) -> None:
    end = study_end(StopConfig(below_nats=0.2), 6, selected, {"gain_nats": gain})
    assert end.round == last and (end.reason is None) == (last == 6)
    assert study_end(None, 6, selected, {"gain_nats": gain}) == (6, None)


@pytest.fixture
def halving(tiny_recipe: dict[str, Any]) -> dict[str, Any]:
    return {**smaller(tiny_recipe), "rounds": 6, "budget": 2, "acquisition": {"name": f"{__name__}:Halving"}}


def test_a_study_ends_with_the_batch_whose_last_pick_is_worth_too_little(
    halving: dict[str, Any], tmp_path: Path
) -> None:
    recipe = parse_recipe({**halving, "stop": {"below_nats": 0.2}})
    folder = tmp_path / "study"
    with Study.create(folder, recipe) as study:
        for t in (1, 2):
            study.tell(study.stages.components.annotator.annotate(study.ask(), 0, study.progress))
            assert study.update().round == t and study.rounds_left == 6 - t and study.stopped is None
        study.ask()  # gain 1/8: the last
        assert (study.rounds_left, study.last_round) == (1, 3)
        assert study.stopped == "the best remaining label was worth 0.125 nats, under `stop.below_nats` of 0.2"
        assert status(folder)["round"] == 3 and "the last: the best" in status_rows(status(folder))["in progress"]
    with Study.open(folder) as study:  # what was asked is answered and trained on
        assert study.rounds_left == 1
        study.run()
        assert (study.rounds_left, study.round) == (0, 4)
        assert [m["labels"] for m in study.store.metrics()] == [0, 2, 4, 6]
        with pytest.raises(RoundStateError, match=r"stopped after round 3: the best remaining label was worth 0\.125"):
            study.ask()
    assert is_finished(PlannedStudy("halving", 0, folder, recipe))  # a comparison does not wait for more rounds
    with Study.open(folder) as study:
        study.run()  # nothing more to do
        assert study.round == 4
    state = status(folder)
    assert state["round"] is None and "0.125 nats" in state["stopped"]
    assert status_rows(state)["in progress"].startswith("nothing: stopped, the best remaining label")
    assert "stopped after 3 of 6 rounds" in write_report(folder).read_text("utf-8")


def test_a_threshold_that_is_never_reached_changes_nothing(halving: dict[str, Any], tmp_path: Path) -> None:
    with Study.create(
        tmp_path / "study", parse_recipe({**halving, "rounds": 2, "stop": {"below_nats": 1e-9}})
    ) as study:
        study.run()
        assert study.round == 3 and study.stopped is None
    assert status(tmp_path / "study")["stopped"] is None


def test_random_picks_end_nothing_and_a_silent_rule_is_refused_before_it_asks(
    tiny_recipe: dict[str, Any], tmp_path: Path
) -> None:
    recipe = {**tiny_recipe, "initial_random": 6, "stop": {"below_reward": 0.1}}
    with Study.create(tmp_path / "study", parse_recipe(recipe)) as study:
        with pytest.raises(RecipeError, match=r"`gain_reward`\), but activedpo does not: use `stop.below_nats`"):
            study.run()
        assert len(study.store.asked()) == 6 and study.round == 2  # the random batch had no gain to tell


@pytest.mark.parametrize("name", ["random", "activedpo"])
def test_preflight_refuses_a_rule_that_does_not_tell_the_gain(tiny_recipe: dict[str, Any], name: str) -> None:
    """Before anything is asked: a study keeps its recipe once labels have been paid for."""
    with pytest.raises(RecipeError, match=f"`gain_reward`\\), but {name} does not"):
        examine(parse_recipe({**tiny_recipe, "acquisition": name, "stop": {"below_reward": 0.1}}))


def test_preflight_takes_a_rule_that_does(tiny_recipe: dict[str, Any], halving: dict[str, Any]) -> None:
    examine(parse_recipe({**tiny_recipe, "stop": {"below_nats": 0.1}}))
    examine(parse_recipe({**halving, "stop": {"below_nats": 0.1}}))


class ForRealPools(Acquisition):
    """Chooses from pools of its own kind only."""

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"margin_N"})

    def select(self, features: Features, budget: int, rng: np.random.Generator) -> Selection:
        raise LookupError("no such prompts")


def test_preflight_says_what_it_could_not_check_of_a_rule_of_ones_own(
    tiny_recipe: dict[str, Any], halving: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = {**tiny_recipe, "acquisition": f"{__name__}:ForRealPools", "stop": {"below_nats": 0.1}}
    (note,) = examine(parse_recipe(own)).notes
    assert "ForRealPools" in note and "could not be checked" in note and note.endswith("no such prompts")
    assert note in plan(parse_recipe(own)).notes
    assert examine(parse_recipe({**halving, "stop": {"below_nats": 0.1}})).notes == ()

    def fail(*_: Any) -> Selection:
        raise LookupError("a mistake in a shipped rule")

    monkeypatch.setattr(ActiveDPO, "select", fail)
    with pytest.raises(LookupError, match="a mistake in a shipped rule"):
        examine(parse_recipe({**tiny_recipe, "acquisition": "activedpo", "stop": {"below_nats": 0.1}}))


def test_a_random_rule_is_refused_when_it_first_chooses(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    recipe = parse_recipe({**tiny_recipe, "acquisition": "random", "stop": {"below_nats": 0.1}})
    with Study.create(tmp_path / "study", recipe) as study:
        with pytest.raises(RecipeError, match="but random does not: remove `stop`"):
            study.ask()
        assert study.store.asked() == []


def test_activedpo_tells_what_its_last_pick_gained(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    with Study.create(tmp_path / "study", parse_recipe(tiny_recipe)) as study:
        last = study.ask().scores_B[-1]
        stage = study.folder.stage(1, "select")
        assert stage is not None and stage.info["gain_nats"] == pytest.approx(np.log1p(last**2))


def test_either_threshold_ends_it_and_one_is_needed() -> None:
    both = StopConfig(below_nats=0.1, below_reward=0.5)
    assert stop_reason(both, {"gain_nats": 0.2, "gain_reward": 0.6}) is None
    assert "expected reward" in (stop_reason(both, {"gain_nats": 0.2, "gain_reward": 0.4}) or "")
    assert stop_reason(both, {"gain_nats": 0.1}) is None  # not under it
    assert stop_reason(None, {"gain_nats": 0.0}) is None
    with pytest.raises(ValueError, match="says neither"):
        StopConfig()
