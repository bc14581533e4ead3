"""Figures of studies and selections: their lines are the record's numbers."""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib as mpl
import pytest

import made_by_hand
import small_study
from duelist import plot
from duelist.errors import RecipeError
from duelist.selection.choice import Pick, Picks
from duelist.store.opening import open_folder
from duelist.study.study import Study
from duelist.types import Label, Prompt


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A study of four pairs: Ada and Grace agree on two of three, Alan agrees with one of both on one."""
    prompt = Prompt.of("Say yes.")
    asked = made_by_hand.pairs_on(prompt, 4)
    made_by_hand.make_study(tmp_path / "study", asked, [prompt])
    folder = open_folder(tmp_path / "study")
    ids = [x.question.id for x in asked]
    said = [("ada", "aaa"), ("grace", "aab"), ("alan", "a")]
    answers = [Label(ids[i], who, outcome) for who, all_of in said for i, outcome in enumerate(all_of)]  # type: ignore[arg-type]
    folder.store.add_answers([*answers, Label(ids[3], "ada", "tie"), Label(ids[3], "grace", "skip")])
    small_study.close(folder, 1)
    folder.close()
    return tmp_path / "study"


def test_the_curve_is_the_metric_over_labels(study: Path) -> None:
    before = dict(mpl.rcParams)
    metrics = [json.loads(line) for line in (study / "metrics.jsonl").read_text().splitlines()]
    with Study.open(study) as opened:
        (axes,) = plot.curve(opened).axes
    (line,) = [x for x in axes.lines if x.get_linestyle() == "-"]
    assert line.get_xydata().tolist() == [[m["labels"], m["mean_reward"]] for m in metrics]
    two = plot.curve(study, study, metric="kl")
    assert len(two.axes[0].lines) == 2
    assert [t.get_text() for t in two.axes[0].get_legend().get_texts()] == ["study: random"] * 2
    assert dict(mpl.rcParams) == before
    with pytest.raises(RecipeError, match="mean_reward"):
        plot.curve(study, metric="mean_rewards")
    with pytest.raises(RecipeError, match=r"Measured: .*kl.*mean_reward"):
        plot.curve(study, metric="brier")


def test_margins_count_every_question_once(study: Path) -> None:
    (axes,) = plot.margins(study, bins=4).axes
    (outline,) = axes.patches
    assert max(outline.get_xy()[:, 1]) == 4  # all four have the margin 0.1
    assert [t.get_text() for t in axes.get_legend().get_texts()] == ["round 1"]


def test_agreement_of_all_and_of_each_with_the_others(study: Path) -> None:
    """Pair 1: three agree, three pairs of votes. Pair 2: two agree. Pair 3: two disagree. Pair 4: a skip is no vote."""
    (axes,) = plot.agreement(study).axes
    shares = {}
    for tick, line in zip(axes.get_yticklabels(), axes.lines[1::2], strict=True):
        shares[tick.get_text()] = line.get_xdata()[0]
    assert shares == pytest.approx({"all (5)": 4 / 5, "ada (4)": 3 / 4, "alan (2)": 1.0, "grace (4)": 3 / 4})


def test_picks_are_drawn_in_their_order() -> None:
    found = [Pick(i + 1, i, {}, "p", "x" * (i + 1), "yy", 1 / (i + 1), "nats: 1") for i in range(3)]
    left, right, _ = plot.picks(Picks(found, {})).axes
    assert left.lines[0].get_xydata().tolist() == [[1, 1.0], [2, 0.5], [3, pytest.approx(1 / 3)]]
    assert left.get_ylabel() == "nats"
    assert right.collections[0].get_offsets().tolist() == [[1, 2], [2, 2], [3, 2]]
    with pytest.raises(RecipeError, match="it is empty"):
        plot.picks(Picks([], {}))
